//! The terminal while it is drawn on. However the program leaves it, the terminal is as it was before.

use std::io::{self, Stdout, stdout};
use std::mem::ManuallyDrop;
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use nix::sys::signal::{Signal, raise};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};

use crate::top::{State, Theme, body_rows, draw};

/// What is drawn on of a terminal that does not know its size, as a serial line does not.
const USUAL: Rect = Rect::new(0, 0, 80, 24);

/// The terminal, drawn on until this is dropped.
pub(super) struct Screen {
    /// Never dropped: it would report that a terminal which is gone has no cursor, and panic where it cannot.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
    theme: Theme,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    ///
    /// That of the system; the terminal is as it was.
    pub(super) fn enter(theme: Theme) -> io::Result<Self> {
        restore_on_panic();
        // Whoever asked for colors gets them, whatever the environment says.
        crossterm::style::force_color_output(theme.color);
        let terminal = terminal()?;
        // From here on, dropping it restores the terminal.
        let screen = Self { terminal, theme };
        take()?;
        Ok(screen)
    }

    /// Draws the state.
    ///
    /// # Errors
    ///
    /// That of the terminal.
    pub(super) fn draw(&mut self, state: &mut State) -> io::Result<()> {
        let theme = self.theme;
        self.terminal.draw(|frame| {
            let area = frame.area();
            state.set_page(body_rows(area, state));
            draw(state, theme, area, frame.buffer_mut());
        })?;
        Ok(())
    }

    /// Gives the terminal back and stops the program, as a shell expects it; draws again once it goes on.
    ///
    /// # Errors
    ///
    /// That of the terminal.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        restore()?;
        // The handler of SIGTSTP is for asking; this one cannot be caught.
        raise(Signal::SIGSTOP)?;
        take()?;
        // One that takes the screen for empty, as it is.
        self.terminal = terminal()?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = restore();
    }
}

fn terminal() -> io::Result<ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>> {
    let viewport = match size()? {
        (0, _) | (_, 0) => Viewport::Fixed(USUAL),
        _ => Viewport::Fullscreen,
    };
    let backend = CrosstermBackend::new(stdout());
    let terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
    Ok(ManuallyDrop::new(terminal))
}

/// Whether the terminal is drawn on: restored twice, it would have the cursor where it was before the message of a panic.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

fn take() -> io::Result<()> {
    IS_TAKEN.store(true, Ordering::Relaxed);
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, Hide)
}

fn restore() -> io::Result<()> {
    if !IS_TAKEN.swap(false, Ordering::Relaxed) {
        return Ok(());
    }
    let shown = execute!(stdout(), LeaveAlternateScreen, Show);
    disable_raw_mode()?;
    shown
}

/// A panic prints its message before the screen is dropped, and nobody would see it.
fn restore_on_panic() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let _ = restore();
            report(panic);
        }));
    });
}
