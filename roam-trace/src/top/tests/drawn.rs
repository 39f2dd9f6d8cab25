//! What is drawn, by the size of the terminal.

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};

use super::keys::{press, state};
use super::sample::crowd;
use crate::top::{State, Theme, body_rows, draw};

fn drawn(state: &mut State, width: u16, height: u16, color: bool) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            let area = frame.area();
            state.set_page(body_rows(area, state));
            draw(state, Theme { color }, area, frame.buffer_mut());
        })
        .unwrap();
    terminal.backend().clone()
}

/// Every view, and what covers it, at one size.
fn check(width: u16, height: u16) {
    for (name, keys) in [
        ("methods", &["1"][..]),
        ("calls", &["2"]),
        ("connections", &["3"]),
        ("channels", &["4"]),
        ("tables", &["5"]),
        ("filter", &["/conv"]),
        ("details", &["2", "<Enter>"]),
        ("help", &["?"]),
    ] {
        let mut state = state();
        for keys in keys {
            press(&mut state, keys);
        }
        let name = format!("{name}_at_{width}x{height}");
        insta::assert_snapshot!(name, drawn(&mut state, width, height, false));
    }
}

#[test]
fn a_small_terminal() {
    check(20, 10);
}

#[test]
fn a_usual_terminal() {
    check(80, 24);
}

#[test]
fn a_large_terminal() {
    check(200, 60);
}

#[test]
fn nothing_was_read_yet() {
    let mut state = State::default();
    let screen = drawn(&mut state, 40, 6, false).to_string();
    assert!(screen.contains("(reading)"), "{screen}");
}

#[test]
fn what_is_stuck_is_red_and_the_cursor_reversed() {
    let mut state = state();
    press(&mut state, "2");
    let of = |state: &mut State, color| {
        let screen = drawn(state, 80, 24, color);
        let cell = screen.buffer()[(20, 3)].clone();
        (cell.fg, cell.modifier.contains(Modifier::REVERSED))
    };
    assert_eq!(of(&mut state, true), (Color::Red, true));
    assert_eq!(of(&mut state, false), (Color::Reset, true));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_size_and_any_keys_are_drawn(
        width in 1_u16..=300,
        height in 1_u16..=100,
        rows in 0_u64..200,
        keys in "[1-5sSrtgGjk/?a ]{0,20}",
        key in prop::sample::select(&["<Enter>", "<End>", "<PageDown>", "<Tab>", "<Esc>"][..]),
    ) {
        let mut state = state();
        drawn(&mut state, width, height, true);
        press(&mut state, &keys);
        press(&mut state, key);
        drawn(&mut state, width, height, true);
        state.apply(crowd(rows));
        drawn(&mut state, width, height, false);
        drawn(&mut state, 1, 1, false);
    }
}
