//! The descriptors of a process: how many there are, and which are sockets.

use std::collections::HashSet;
use std::io;

use procfs::FromBufRead;
use procfs::process::{LimitValue, Limits};

use super::proc::Process;

/// Standard input, output and error, which lead to terminals and logs.
const STANDARD_DESCRIPTORS: i32 = 3;

/// What a process has open.
#[derive(Debug, Default)]
pub struct Descriptors {
    /// How many.
    pub count: u64,
    /// Descriptors and inodes of its sockets, but for the standard descriptors.
    pub sockets: Vec<(i32, u64)>,
}

impl Descriptors {
    /// Lists what a process has open.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn of(process: &Process) -> io::Result<Self> {
        let mut descriptors = Self::default();
        for name in process.entries("fd")? {
            descriptors.count += 1;
            let Ok(descriptor) = name.parse() else {
                continue;
            };
            if descriptor < STANDARD_DESCRIPTORS {
                continue;
            }
            // A descriptor that was closed meanwhile has no link.
            let Ok(link) = process.read_link(&format!("fd/{name}")) else {
                continue;
            };
            if let Some(inode) = socket_inode(&link) {
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
        let descriptors = Descriptors::of(&own).unwrap();
        let is_listed = |&(descriptor, _): &(i32, u64)| descriptor == socket.as_raw_fd();
        assert!(descriptors.sockets.iter().any(is_listed));
        assert!(descriptors.count > descriptors.sockets.len() as u64);
        let _again = socket.try_clone().unwrap();
        let descriptors = Descriptors::of(&own).unwrap();
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
