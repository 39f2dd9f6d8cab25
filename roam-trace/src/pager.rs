//! The terminal that text goes to: its size, and the user's pager for what is longer.

use std::env;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write, stdout};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use roam_dump::render::text::Options;
use rustix::termios::tcgetwinsize;
use signal_hook::consts::{SIGINT, SIGQUIT};

use crate::privilege;

/// The pager of a user who has chosen none, if it is installed.
const DEFAULT: &str = "command -v less >/dev/null || exit 127; exec less";

/// What less is told unless the user tells it something else: to end at once where everything fits, to show colors, and
/// to leave what it showed on the screen.
const LESS: &str = "FRX";

/// Exit statuses of a shell that could not execute its command.
const NOT_EXECUTED: [i32; 2] = [126, 127];

/// Returns how many columns the text on stdout may take: as many as the user says in `COLUMNS`, or the terminal has.
pub(crate) fn text_width() -> usize {
    let columns = env::var("COLUMNS").ok();
    let columns = columns.and_then(|columns| columns.parse().ok());
    let of_terminal = || tcgetwinsize(stdout()).map_or(0, |size| usize::from(size.ws_col));
    match (columns, stdout().is_terminal()) {
        (Some(columns), _) => Options::MIN_WIDTH.max(columns),
        (None, true) => Options::MIN_WIDTH.max(of_terminal()),
        (None, false) => Options::FILE_WIDTH,
    }
}

/// A pager for text that is longer than the terminal.
#[derive(Debug)]
pub(crate) struct Pager {
    /// A command of the shell.
    command: String,
    /// Lines that the terminal has.
    rows: usize,
}

impl Pager {
    /// Returns the pager of the user; none if stdout is no terminal, if the user wants none, or if this program may do
    /// more than its user.
    pub(crate) fn of_user() -> Option<Self> {
        if !stdout().is_terminal() || privilege::is_elevated() {
            return None;
        }
        let command = env::var("PAGER").unwrap_or_else(|_| DEFAULT.to_owned());
        let rows = usize::from(tcgetwinsize(stdout()).ok()?.ws_row);
        let is_wanted = rows > 0 && !matches!(command.trim(), "" | "cat");
        is_wanted.then_some(Self { command, rows })
    }

    /// Starts the pager.
    ///
    /// # Errors
    ///
    /// There is no shell, or no room for a process.
    fn start(&self) -> io::Result<Child> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &self.command]).stdin(Stdio::piped());
        // The text has characters beyond ASCII, whatever the locale is.
        for (name, value) in [("LESS", LESS), ("LESSCHARSET", "utf-8")] {
            if env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
        // Who may run only this program as another user is not to get a shell of that user's.
        if env::var_os("SUDO_UID").is_some() {
            command.env("LESSSECURE", "1");
        }
        let child = command.spawn()?;
        // They are meant for the pager, which ends when it is told to.
        for signal in [SIGINT, SIGQUIT] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        Ok(child)
    }
}

/// Text that goes to a writer, or to a pager if it is longer than the terminal.
pub(crate) struct Paged<'a, W: Write> {
    out: &'a mut W,
    /// None if it has been started, or could not be.
    pager: Option<Pager>,
    /// What was written so far, as long as it fits on the terminal.
    held: Vec<u8>,
    lines: usize,
    running: Option<(Child, BufWriter<ChildStdin>)>,
}

impl<'a, W: Write> Paged<'a, W> {
    pub(crate) fn new(pager: Option<Pager>, out: &'a mut W) -> Self {
        Self {
            out,
            pager,
            held: Vec::new(),
            lines: 0,
            running: None,
        }
    }

    /// Writes what is left, and waits until the user has left the pager. Returns whether the text was shown: not if there
    /// is no such pager.
    ///
    /// # Errors
    ///
    /// That of the writer. A pager that ends early is none.
    pub(crate) fn finish(mut self) -> io::Result<bool> {
        let Some((mut child, mut input)) = self.running.take() else {
            self.out.write_all(&self.held)?;
            return Ok(true);
        };
        match input.flush() {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
            _ => drop(input.into_parts()),
        }
        let code = child.wait()?.code();
        Ok(!code.is_some_and(|code| NOT_EXECUTED.contains(&code)))
    }

    /// Starts the pager; where that fails, the text goes on to the terminal.
    fn start(&mut self, pager: &Pager) -> io::Result<()> {
        match pager.start() {
            Ok(mut child) => {
                let input = child.stdin.take().expect("its stdin is a pipe");
                self.running = Some((child, BufWriter::new(input)));
            }
            Err(error) => log::info!("cannot start the pager `{}`: {error}", pager.command),
        }
        let held = std::mem::take(&mut self.held);
        self.write_all(&held)
    }
}

impl<W: Write> Write for Paged<'_, W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Some((_, input)) = &mut self.running {
            return input.write(text);
        }
        let Some(rows) = self.pager.as_ref().map(|pager| pager.rows) else {
            return self.out.write(text);
        };
        self.held.extend_from_slice(text);
        self.lines += text.iter().filter(|&&byte| byte == b'\n').count();
        // The shell's prompt needs a line.
        if self.lines >= rows
            && let Some(pager) = self.pager.take()
        {
            self.start(&pager)?;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.running {
            Some((_, input)) => input.flush(),
            None => self.out.flush(),
        }
    }
}
