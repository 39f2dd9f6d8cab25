//! What keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::sample::{crowd, reading, reading_after_the_end};
use crate::top::state::Overlay;
use crate::top::{State, Step, View};

/// A state after two readings, with room for five rows.
pub(crate) fn state() -> State {
    let mut state = State::default();
    state.apply(reading(0));
    state.apply(reading(1));
    state.set_page(5);
    state
}

/// Presses keys: characters, or one key by its name in angle brackets.
pub(crate) fn press(state: &mut State, keys: &str) -> Step {
    let key = |code, modifiers| KeyEvent::new(code, modifiers);
    let plain = |code| vec![key(code, KeyModifiers::NONE)];
    let keys = match keys {
        "<Enter>" => plain(KeyCode::Enter),
        "<Esc>" => plain(KeyCode::Esc),
        "<Down>" => plain(KeyCode::Down),
        "<Up>" => plain(KeyCode::Up),
        "<End>" => plain(KeyCode::End),
        "<Tab>" => plain(KeyCode::Tab),
        "<BackTab>" => plain(KeyCode::BackTab),
        "<PageDown>" => plain(KeyCode::PageDown),
        "<Backspace>" => plain(KeyCode::Backspace),
        "<Ctrl-C>" => vec![key(KeyCode::Char('c'), KeyModifiers::CONTROL)],
        "<Ctrl-Z>" => vec![key(KeyCode::Char('z'), KeyModifiers::CONTROL)],
        text => (text.chars())
            .map(|character| key(KeyCode::Char(character), KeyModifiers::NONE))
            .collect(),
    };
    let mut step = Step::Continue;
    for key in keys {
        step = state.press(key);
    }
    step
}

/// The cells of a column.
fn column(state: &State, title: &str) -> Vec<String> {
    let columns = state.view.columns();
    let index = columns.iter().position(|column| column.title == title);
    let index = index.expect("a column of that title");
    (state.rows.iter())
        .map(|row| row.cells[index].to_string())
        .collect()
}

#[track_caller]
fn check(state: &State, title: &str, expected: &[&str]) {
    assert_eq!(column(state, title), expected, "{title}");
}

#[test]
fn numbers_are_of_the_last_reading_or_since_the_start() {
    let mut state = state();
    check(&state, "RATE/S", &["50000", "100.0", "100.0", "0.0"]);
    check(&state, "COUNT", &["50000", "100", "100", "0"]);
    check(&state, "ERRORS", &["500", "1", "1", "0"]);
    check(&state, "IN FLIGHT", &["1", "0", "1", "0"]);
    check(&state, "MAX", &["331 us", "8.8 ms", "9.0 ms", "-"]);
    press(&mut state, "t");
    check(&state, "COUNT", &["50000", "1000", "1000", "7"]);
    check(&state, "MAX", &["331 us", "8.8 ms", "9.0 ms", "61.0s"]);
}

#[test]
fn the_first_reading_shows_no_rates() {
    let mut state = State::default();
    state.apply(reading(0));
    check(&state, "RATE/S", &["-"; 4]);
    press(&mut state, "3");
    check(&state, "SENT/S", &["-"]);
}

#[test]
fn traffic_is_counted_by_the_second() {
    let mut state = state();
    press(&mut state, "3");
    check(&state, "SENT/S", &["12.3 kB"]);
    check(&state, "MSGS IN/S", &["123.0"]);
    check(&state, "QUEUE", &["3"]);
    press(&mut state, "4");
    check(&state, "BYTES/S", &["1.2 MB"]);
    check(&state, "UNREAD", &["600"]);
}

#[test]
fn full_tables_come_first() {
    let mut state = state();
    press(&mut state, "5");
    check(&state, "TABLE", &["channels", "connections", "requests"]);
    check(&state, "USE", &["89%", "50%", "0%"]);
    check(&state, "STATUS", &["warning", "ok", "ok"]);
    check(&state, "LOST", &["3", "0", "0"]);
}

#[test]
fn s_sorts_by_the_next_column_and_r_reverses() {
    let mut state = state();
    press(&mut state, "S");
    check(
        &state,
        "METHOD",
        &[
            "← ContentService.compile",
            "← Markdown.convert",
            "→ Markdown.convert",
            "→ 数据.读取",
        ],
    );
    press(&mut state, "r");
    assert_eq!(column(&state, "METHOD")[0], "→ 数据.读取");
    press(&mut state, "s");
    check(&state, "RATE/S", &["50000", "100.0", "100.0", "0.0"]);
    // Each view has its own.
    press(&mut state, "2s");
    assert_eq!(state.sort().column, 1);
    press(&mut state, "1");
    assert_eq!(state.sort().column, 0);
}

#[test]
fn a_filter_is_text_in_any_cell() {
    let mut state = state();
    press(&mut state, "/MARK");
    check(
        &state,
        "METHOD",
        &["← Markdown.convert", "→ Markdown.convert"],
    );
    assert_eq!(state.hidden, 2);
    // While it is typed, a key is a character.
    press(&mut state, "q");
    assert!(state.rows.is_empty());
    press(&mut state, "<Backspace>");
    press(&mut state, "<Enter>");
    press(&mut state, "2");
    check(
        &state,
        "METHOD",
        &["→ Markdown.convert", "← ContentService.compile"],
    );
    press(&mut state, "/worker");
    assert!(state.rows.is_empty());
    press(&mut state, "<Esc>");
    assert_eq!(state.rows.len(), 2);
}

#[test]
fn the_cursor_follows_its_row() {
    let mut state = state();
    press(&mut state, "<End>");
    let followed = state.rows[3].id;
    press(&mut state, "r");
    assert_eq!((state.cursor, state.rows[0].id), (0, followed));
    press(&mut state, "r");
    assert_eq!(state.cursor, 3);
    // On the first row it stays, whatever that is.
    press(&mut state, "gr");
    assert_eq!(state.cursor, 0);
}

#[test]
fn the_cursor_stays_on_the_page() {
    let mut state = State::default();
    state.apply(crowd(100));
    state.set_page(10);
    let place = |state: &State| (state.cursor, state.offset);
    press(&mut state, "<End>");
    assert_eq!(place(&state), (99, 90));
    press(&mut state, "<Up>");
    assert_eq!(place(&state), (98, 90));
    press(&mut state, "g");
    assert_eq!(place(&state), (0, 0));
    press(&mut state, "<PageDown>");
    assert_eq!(place(&state), (10, 1));
    state.set_page(3);
    assert_eq!(place(&state), (10, 8));
    state.apply(crowd(2));
    assert_eq!(place(&state), (1, 0));
    state.apply(crowd(0));
    assert_eq!(place(&state), (0, 0));
    press(&mut state, "<Enter>");
    assert_eq!(state.overlay, Overlay::None);
}

#[test]
fn escape_closes_what_is_open_and_then_quits() {
    let mut state = state();
    press(&mut state, "<Enter>");
    assert!(matches!(state.overlay, Overlay::Details(..)));
    assert_eq!(press(&mut state, "<Esc>"), Step::Continue);
    press(&mut state, "?");
    assert_eq!(press(&mut state, "<Esc>"), Step::Continue);
    assert_eq!(state.overlay, Overlay::None);
    assert_eq!(press(&mut state, "<Esc>"), Step::Quit);
    assert_eq!(press(&mut state, "q"), Step::Quit);
    assert_eq!(press(&mut state, "<Ctrl-C>"), Step::Quit);
    assert_eq!(press(&mut state, "<Ctrl-Z>"), Step::Suspend);
    press(&mut state, "/text");
    assert_eq!(press(&mut state, "<Ctrl-C>"), Step::Quit);
}

#[test]
fn space_pauses() {
    let mut state = state();
    press(&mut state, " ");
    assert!(state.is_paused());
    press(&mut state, " ");
    assert!(!state.is_paused());
}

#[test]
fn tab_turns_around() {
    let mut state = state();
    press(&mut state, "<BackTab>");
    assert_eq!(state.view, View::Tables);
    press(&mut state, "<Tab>");
    assert_eq!(state.view, View::Methods);
}

#[test]
fn details_have_the_wait_chain_and_say_when_their_row_is_gone() {
    let mut state = state();
    press(&mut state, "2");
    press(&mut state, "<Enter>");
    let Overlay::Details(id, _) = state.overlay else {
        panic!("no details");
    };
    insta::assert_snapshot!(state.details(id).join("\n"));
    state.apply(crowd(0));
    assert_eq!(state.details(id), ["It is gone."]);
}

#[test]
fn what_was_counted_stays_when_the_process_ends() {
    let mut state = state();
    press(&mut state, "t/host");
    press(&mut state, "<Enter>");
    state.apply(reading_after_the_end());
    check(&state, "RATE/S", &["-"; 3]);
    check(&state, "COUNT", &["50000", "1000", "7"]);
    check(&state, "IN FLIGHT", &["0", "0", "0"]);
    assert_eq!(state.problems(), ["host[4001] has ended"]);
    // And with every further reading.
    state.apply(reading_after_the_end());
    assert_eq!(state.rows.len(), 3);
    press(&mut state, "2");
    assert!(state.rows.is_empty());
}
