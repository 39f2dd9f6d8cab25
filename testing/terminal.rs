//! Runs a command on a terminal of its own.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroU16;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// A terminal that no dump fits on.
pub(crate) const SHORT: Size = Size {
    rows: 10,
    columns: 100,
};
/// A terminal that every dump fits on.
pub(crate) const TALL: Size = Size {
    rows: 500,
    columns: 100,
};
/// The same, as wide as the text in a file.
pub(crate) const AS_WIDE_AS_A_FILE: Size = Size {
    rows: 500,
    columns: 120,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// The size of a terminal.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

impl Size {
    fn window(self) -> Winsize {
        Winsize {
            ws_row: self.rows,
            ws_col: self.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        }
    }
}

/// What is seen of a terminal that does not know its size.
fn nonzero(size: u16, usual: u16) -> NonZeroU16 {
    NonZeroU16::new(size)
        .or(NonZeroU16::new(usual))
        .expect("a usual size")
}

/// What a command showed, and how it ended.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) status: i32,
    /// Whether the terminal was left as it was: with the screen that it had, its cursor, and lines that are edited.
    pub(crate) is_restored: bool,
}

/// A command that runs on a terminal.
pub(crate) struct Terminal {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    child: Child,
    text: Vec<u8>,
    parsed: vt100::Parser,
}

/// Runs a command to its end on a terminal of that size.
pub(crate) fn on_terminal(command: &Command, size: Size) -> Shown {
    Terminal::start(command, size).finish()
}

impl Terminal {
    /// Starts the command, with its environment, on a terminal that controls it.
    pub(crate) fn start(command: &Command, size: Size) -> Self {
        let Size { rows, columns } = size;
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let controller = controller.unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        tcsetwinsize(&controller, size.window()).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let path = OsStr::from_bytes(name.to_bytes());
        let user = File::options().read(true).write(true).open(path).unwrap();

        let mut on_terminal = Command::new("setsid");
        on_terminal
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .envs([("TERM", "xterm"), ("PATH", "/usr/bin:/bin")])
            .env_remove("COLUMNS")
            .stdin(user.try_clone().unwrap())
            .stdout(user.try_clone().unwrap())
            .stderr(user);
        let child = on_terminal.spawn().unwrap();
        // Otherwise this process would keep the terminal open.
        drop(on_terminal);

        let keyboard = File::from(controller);
        let mut shown = keyboard.try_clone().unwrap();
        let (sender, screen) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match shown.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(read) => sender.send(buffer[..read].to_vec()).unwrap_or(()),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // EIO: nobody has the terminal open any more.
                    Err(_) => return,
                }
            }
        });
        Self {
            keyboard,
            screen,
            child,
            text: Vec::new(),
            parsed: vt100::Parser::new(nonzero(rows, 24), nonzero(columns, 80), 0),
        }
    }

    /// The process that runs on the terminal.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the screen has shown a text.
    pub(crate) fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |terminal| terminal.shown().contains(text));
    }

    /// Waits until the screen shows something.
    pub(crate) fn wait_for_screen(
        &mut self,
        what: &str,
        is_shown: impl Fn(&vt100::Screen) -> bool,
    ) {
        self.wait_until(what, |terminal| is_shown(terminal.parsed.screen()));
    }

    fn wait_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(more) => self.add(&more),
                Err(error) => panic!("{error}: no {what} in:\n{}", self.contents()),
            }
        }
    }

    fn add(&mut self, more: &[u8]) {
        self.text.extend(more);
        self.parsed.process(more);
    }

    /// What the screen shows now.
    pub(crate) fn screen(&self) -> &vt100::Screen {
        self.parsed.screen()
    }

    /// The text that the screen shows now.
    pub(crate) fn contents(&self) -> String {
        self.parsed.screen().contents()
    }

    /// Changes its size.
    pub(crate) fn resize(&mut self, size: Size) {
        tcsetwinsize(&self.keyboard, size.window()).unwrap();
        let Size { rows, columns } = size;
        self.parsed
            .screen_mut()
            .set_size(nonzero(rows, 24), nonzero(columns, 80));
    }

    /// Whether keys are shown as they are typed, and taken line by line: what a shell expects.
    pub(crate) fn is_as_shells_expect(&self) -> bool {
        let modes = match tcgetattr(&self.keyboard) {
            Ok(attributes) => attributes.local_modes,
            // Emulators of processors lack the call; there nothing changes it either.
            Err(Errno::NOSYS) => return true,
            Err(error) => panic!("{error}"),
        };
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the command has ended.
    pub(crate) fn finish(mut self) -> Shown {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(more) => self.add(&more),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _ = self.child.kill();
                    panic!("it does not end: {}", self.shown());
                }
            }
        }
        let screen = self.screen();
        Shown {
            is_restored: !screen.alternate_screen()
                && !screen.hide_cursor()
                && self.is_as_shells_expect(),
            status: self.child.wait().unwrap().code().unwrap_or(-1),
            text: self.shown(),
        }
    }

    fn shown(&self) -> String {
        // The terminal ends lines with a carriage return as well.
        String::from_utf8_lossy(&self.text).replace("\r\n", "\n")
    }
}
