//! The standard output of a stream that may end while nobody takes it.

use std::io::{self, ErrorKind, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::stdio::stdout;

use super::stop::Stop;

/// Bytes that a pipe which is ready takes without waiting (`PIPE_BUF`).
const CHUNK_BYTES: usize = 4_096;

/// How long a reader may take nothing when the stream is to end.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Lines on their way to standard output.
pub(crate) struct Output<'a, W> {
    out: &'a mut W,
    stop: Stop,
    lines: Vec<u8>,
    /// Whether lines were left out because nobody took them, and the stream was to end.
    is_cut: bool,
}

impl<'a, W: Write> Output<'a, W> {
    pub(crate) fn new(out: &'a mut W, stop: Stop) -> Self {
        Self {
            out,
            stop,
            lines: Vec::new(),
            is_cut: false,
        }
    }

    /// Returns where lines are put.
    pub(crate) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// Writes the lines. If the stream is to end while nobody takes them, the rest is left out.
    ///
    /// # Errors
    ///
    /// They cannot be written; [`ErrorKind::BrokenPipe`] if nobody will take them any more.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        for chunk in self.lines.chunks(CHUNK_BYTES) {
            while !self.is_cut && !is_writable(&PATIENCE)? {
                self.is_cut = self.stop.is_due();
            }
            if self.is_cut {
                break;
            }
            self.out.write_all(chunk)?;
            self.out.flush()?;
        }
        self.lines.clear();
        Ok(())
    }

    /// Returns whether lines were left out.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Fails if nobody will take lines any more.
    ///
    /// # Errors
    ///
    /// As [`Self::flush`].
    pub(crate) fn check(&self) -> io::Result<()> {
        is_writable(&NO_TIME).map(|_| ())
    }
}

/// Waits until standard output takes a chunk.
fn is_writable(patience: &Timespec) -> io::Result<bool> {
    let stdout = stdout();
    let mut ready = [PollFd::new(&stdout, PollFlags::OUT)];
    // The reader has that long once more after a signal.
    retry_on_intr(|| poll(&mut ready, Some(patience)))?;
    let events = ready[0].revents();
    match events.intersects(PollFlags::ERR | PollFlags::HUP) {
        true => Err(ErrorKind::BrokenPipe.into()),
        false => Ok(events.contains(PollFlags::OUT)),
    }
}
