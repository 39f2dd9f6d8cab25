//! What the user sees: which view of which reading, sorted and filtered how. Pure: readings and keys come in.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::details::details;
use super::reading::{ProcessStatus, Reading};
use super::readings::{Readings, Since};
use super::row::{Row, RowId};
use super::summary::{Totals, problems};
use super::view::View;

/// What a key leads to outside of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Continue,
    /// The program ends.
    Quit,
    /// The program stops, as by a job control signal.
    Suspend,
}

/// What covers the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlay {
    None,
    Help,
    /// The details of a row, from this line on.
    Details(RowId, u16),
}

/// How a view is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sort {
    /// Index of the column.
    pub(super) column: usize,
    pub(super) is_descending: bool,
}

/// What the user sees.
#[derive(Debug)]
pub(crate) struct State {
    now: Option<Reading>,
    before: Option<Reading>,
    pub(super) view: View,
    /// By view.
    sorts: [Sort; View::ALL.len()],
    pub(super) since: Since,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    pub(super) overlay: Overlay,
    /// Of the view, sorted and filtered.
    pub(super) rows: Vec<Row>,
    /// How many rows the filter left out.
    pub(super) hidden: usize,
    pub(super) cursor: usize,
    /// What the cursor is on and follows; none while it is on the first row and was not moved.
    followed: Option<RowId>,
    /// The first row that is shown.
    pub(super) offset: usize,
    /// Rows that are shown at once.
    page: usize,
}

impl Default for State {
    fn default() -> Self {
        let sort = Sort {
            column: 0,
            is_descending: true,
        };
        Self {
            now: None,
            before: None,
            view: View::Methods,
            sorts: [sort; View::ALL.len()],
            since: Since::LastReading,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            overlay: Overlay::None,
            rows: Vec::new(),
            hidden: 0,
            cursor: 0,
            followed: None,
            offset: 0,
            page: 1,
        }
    }
}

impl State {
    /// Shows a new reading. Of a process that can no longer be read, what was counted before stays.
    pub(crate) fn apply(&mut self, mut reading: Reading) {
        let before = self.now.take();
        if let Some(before) = &before {
            for process in &mut reading.processes {
                if process.status != ProcessStatus::Read
                    && let Some(before) = before.process(process.key)
                {
                    process.snapshot.taken_ns = before.snapshot.taken_ns;
                    process
                        .snapshot
                        .methods
                        .clone_from(&before.snapshot.methods);
                    process.latencies.clone_from(&before.latencies);
                }
            }
        }
        self.before = before;
        self.now = Some(reading);
        self.update();
    }

    /// Whether no further reading is wanted.
    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Shows that many rows at once.
    pub(crate) fn set_page(&mut self, rows: usize) {
        self.page = rows.max(1);
        self.scroll();
    }

    pub(super) fn readings(&self) -> Option<Readings<'_>> {
        Some(Readings {
            now: self.now.as_ref()?,
            before: self.before.as_ref(),
        })
    }

    pub(super) fn totals(&self) -> Totals {
        self.readings().map(Totals::of).unwrap_or_default()
    }

    pub(super) fn problems(&self) -> Vec<String> {
        self.readings().map(problems).unwrap_or_default()
    }

    /// The lines of the details that are shown.
    pub(super) fn details(&self, id: RowId) -> Vec<String> {
        let lines = self.readings().map(|readings| details(readings, id));
        match lines {
            Some(lines) if !lines.is_empty() => lines,
            _ => vec!["It is gone.".to_owned()],
        }
    }

    pub(super) fn sort(&self) -> Sort {
        self.sorts[self.view as usize]
    }

    /// Whether there is more than one process to tell apart.
    pub(super) fn has_several_processes(&self) -> bool {
        (self.now.as_ref()).is_some_and(|reading| reading.processes.len() > 1)
    }

    /// Makes the rows anew.
    fn update(&mut self) {
        let Some(readings) = self.readings() else {
            return;
        };
        let mut rows = self.view.rows(readings, self.since);
        let all = rows.len();
        let needle = self.filter.to_lowercase();
        rows.retain(|row| row.contains(&needle));
        self.hidden = all - rows.len();
        let Sort {
            column,
            is_descending,
        } = self.sort();
        rows.sort_by(|a, b| {
            let order = a.cells[column].compare(&b.cells[column]);
            match is_descending {
                true => order.reverse(),
                false => order,
            }
            // Rows without a difference keep their places from one reading to the next.
            .then_with(|| a.name().compare(b.name()))
            .then_with(|| a.id.cmp(&b.id))
        });
        self.rows = rows;
        let place = |id| self.rows.iter().position(|row| Some(row.id) == id);
        let last = self.rows.len().saturating_sub(1);
        self.cursor = match self.followed {
            None => 0,
            followed => place(followed).unwrap_or(self.cursor.min(last)),
        };
        self.scroll();
    }

    /// Keeps the cursor on the page.
    fn scroll(&mut self) {
        let last_offset = self.rows.len().saturating_sub(self.page);
        let first = (self.cursor + 1).saturating_sub(self.page);
        self.offset = self
            .offset
            .clamp(first, self.cursor.max(first))
            .min(last_offset);
    }

    fn move_to(&mut self, cursor: usize) {
        self.cursor = cursor.min(self.rows.len().saturating_sub(1));
        self.followed = match self.cursor {
            0 => None,
            cursor => Some(self.rows[cursor].id),
        };
        self.scroll();
    }

    /// Takes a key.
    pub(crate) fn press(&mut self, key: KeyEvent) -> Step {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Step::Quit,
                KeyCode::Char('z') => return Step::Suspend,
                _ => {}
            }
        }
        if self.is_typing {
            self.type_filter(key);
            return Step::Continue;
        }
        if key.code == KeyCode::Char('q') {
            return Step::Quit;
        }
        match self.overlay {
            Overlay::None => return self.press_in_table(key.code),
            Overlay::Help => self.overlay = Overlay::None,
            Overlay::Details(id, line) => self.press_in_details(key.code, id, line),
        }
        Step::Continue
    }

    fn type_filter(&mut self, key: KeyEvent) {
        match key.code {
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char('u') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                self.filter.clear();
            }
            KeyCode::Char(character) if !key.modifiers.contains(KeyModifiers::CONTROL) => {
                self.filter.push(character);
            }
            _ => return,
        }
        self.update();
    }

    fn press_in_details(&mut self, key: KeyCode, id: RowId, line: u16) {
        self.overlay = match key {
            KeyCode::Esc | KeyCode::Enter => Overlay::None,
            KeyCode::Up | KeyCode::Char('k') => Overlay::Details(id, line.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => {
                let last = self.details(id).len() as u16;
                Overlay::Details(id, (line + 1).min(last))
            }
            _ => self.overlay,
        };
    }

    fn press_in_table(&mut self, key: KeyCode) -> Step {
        let page = self.page;
        match key {
            KeyCode::Esc if self.filter.is_empty() => return Step::Quit,
            KeyCode::Esc => {
                self.filter.clear();
                self.update();
            }
            KeyCode::Char('?') => self.overlay = Overlay::Help,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('t') => {
                self.since = match self.since {
                    Since::LastReading => Since::Start,
                    Since::Start => Since::LastReading,
                };
                self.update();
            }
            KeyCode::Char(digit @ '1'..='5') => {
                self.show(View::ALL[digit as usize - '1' as usize]);
            }
            KeyCode::Tab | KeyCode::Right => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(View::ALL.len() - 1),
            KeyCode::Char('s') => self.sort_by_next(1),
            KeyCode::Char('S') => self.sort_by_next(self.view.columns().len() - 1),
            KeyCode::Char('r') => {
                let sort = &mut self.sorts[self.view as usize];
                sort.is_descending = !sort.is_descending;
                self.update();
            }
            KeyCode::Up | KeyCode::Char('k') => self.move_to(self.cursor.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.move_to(self.cursor + 1),
            KeyCode::PageUp => self.move_to(self.cursor.saturating_sub(page)),
            KeyCode::PageDown => self.move_to(self.cursor + page),
            KeyCode::Home | KeyCode::Char('g') => self.move_to(0),
            KeyCode::End | KeyCode::Char('G') => self.move_to(usize::MAX),
            KeyCode::Enter => {
                if let Some(row) = self.rows.get(self.cursor) {
                    self.overlay = Overlay::Details(row.id, 0);
                }
            }
            _ => {}
        }
        Step::Continue
    }

    fn turn(&mut self, by: usize) {
        self.show(View::ALL[(self.view as usize + by) % View::ALL.len()]);
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.followed = None;
        self.offset = 0;
        self.update();
    }

    /// Sorts by another column; text from A, numbers from the largest.
    fn sort_by_next(&mut self, by: usize) {
        let columns = self.view.columns();
        let sort = &mut self.sorts[self.view as usize];
        sort.column = (sort.column + by) % columns.len();
        sort.is_descending = columns[sort.column].is_number();
        self.update();
    }
}
