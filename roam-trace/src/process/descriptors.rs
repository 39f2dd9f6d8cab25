//! The descriptors of a process: how many there are, and which are sockets.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use procfs::FromBufRead;
use procfs::process::{LimitValue, Limits};
use rustix::fs::{Dir, OFlags, fstat, readlinkat};

use super::allowance::Allowance;
use super::proc::{Process, open_at};

/// Standard input, output and error, which lead to terminals and logs.
const STANDARD_DESCRIPTORS: i32 = 3;

/// A process can have millions of descriptors.
static READING: Allowance = Allowance::new(Duration::from_millis(600));

/// What a process has open.
#[derive(Debug, Default)]
pub struct Descriptors {
    /// How many; if there are more than were looked at, that many at least.
    pub count: u64,
    /// Descriptors and inodes of its sockets, but for the standard descriptors.
    pub sockets: Vec<(i32, u64)>,
    /// Whether there are more than were looked at.
    pub is_cut: bool,
}

impl Descriptors {
    /// Lists what a process has open, and looks at the first `limit` of it.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn of(process: &Process, limit: usize) -> io::Result<Self> {
        let user = process.user();
        process.ask(move |directory| Self::read(directory, limit, user))
    }

    fn read(directory: &OwnedFd, limit: usize, user: u32) -> io::Result<Self> {
        let turn = READING.turn(user);
        let list = open_at(directory, "fd", OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut descriptors = Self::default();
        for entry in Dir::read_from(&list)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(descriptor) = name.to_str().ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if descriptors.count == limit as u64 || turn.is_spent() {
                descriptors.is_cut = true;
                // Since Linux 6.2 the size of the directory is their number.
                descriptors.count = fstat(&list)?.st_size.unsigned_abs().max(descriptors.count);
                break;
            }
            descriptors.count += 1;
            if descriptor < STANDARD_DESCRIPTORS {
                continue;
            }
            // A descriptor that was closed meanwhile has no link.
            let Ok(link) = readlinkat(&list, name, Vec::new()) else {
                continue;
            };
            if let Some(inode) = socket_inode(link.as_bytes()) {
                descriptors.sockets.push((descriptor, inode));
            }
        }
        Ok(descriptors)
    }

    /// Returns the inodes of its sockets, each once: a process may have any number of descriptors of one.
    pub fn socket_inodes(&self) -> HashSet<u64> {
        self.sockets.iter().map(|&(_, inode)| inode).collect()
    }
}

/// Returns how many descriptors a process may have open; `None` if there is no limit or it cannot be read.
pub fn limit(process: &Process) -> Option<u64> {
    let limits = process.read_file("limits").ok()?;
    match Limits::from_buf_read(&limits[..])
        .ok()?
        .max_open_files
        .soft_limit
    {
        LimitValue::Value(limit) => Some(limit),
        LimitValue::Unlimited => None,
    }
}

/// Parses the link of a socket: `socket:[17]` is the one with inode 17.
pub fn socket_inode(link: &[u8]) -> Option<u64> {
    let inode = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(inode).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn own_descriptors() {
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let own = Process::open(std::process::id()).unwrap();
        let descriptors = Descriptors::of(&own, 1_000).unwrap();
        let is_listed = |&(descriptor, _): &(i32, u64)| descriptor == socket.as_raw_fd();
        assert!(descriptors.sockets.iter().any(is_listed));
        assert!(descriptors.count > descriptors.sockets.len() as u64);
        let _again = socket.try_clone().unwrap();
        let descriptors = Descriptors::of(&own, 1_000).unwrap();
        assert!(descriptors.socket_inodes().len() < descriptors.sockets.len());
        assert!(limit(&own).unwrap() >= descriptors.count);
    }

    #[test]
    fn links_of_sockets() {
        for (link, expected) in [
            (&b"socket:[17]"[..], Some(17)),
            (b"socket:[x]", None),
            (b"socket:[17", None),
            (b"pipe:[17]", None),
            (b"/tmp/socket:[17]", None),
            (b"\xff", None),
        ] {
            assert_eq!(socket_inode(link), expected);
        }
    }
}
