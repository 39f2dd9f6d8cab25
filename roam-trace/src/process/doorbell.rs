//! Who waits for a doorbell: a thread in `epoll_wait` on an instance that watches its descriptor.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use roam_dump::decode::printable;
use roam_dump::model::WaitingThread;
use rustix::fs::{Dir, OFlags, readlinkat};

use super::proc::{Process, entries, open_at, read_file};

/// Descriptors and threads of a process that are looked at.
const DESCRIPTORS: usize = 16_384;
const THREADS: usize = 1_024;

/// The system calls that wait for an epoll instance, whose descriptor is their first argument.
const EPOLL_WAITS: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
];

/// Returns a thread of a process that waits for a descriptor in `epoll_wait`; `None` if none does, or it cannot be read.
pub(super) fn waiting_thread(process: &Process, descriptor: i32) -> Option<WaitingThread> {
    let found = process.ask(move |directory| {
        let watching = watching(directory, descriptor)?;
        for thread in entries(directory, "task")?.iter().take(THREADS) {
            // A thread that ended meanwhile has no files.
            let Ok(call) = read_file(directory, &format!("task/{thread}/syscall")) else {
                continue;
            };
            if epoll_waited_for(&call).is_some_and(|epoll| watching.contains(&epoll)) {
                let name = read_file(directory, &format!("task/{thread}/comm"))?;
                let name: Arc<str> = printable(name.trim_ascii_end()).into();
                return Ok(thread.parse().ok().map(|tid| WaitingThread { tid, name }));
            }
        }
        Ok(None)
    });
    found.ok().flatten()
}

/// The epoll instances of a process that watch a descriptor, by their descriptors.
fn watching(directory: &OwnedFd, descriptor: i32) -> io::Result<Vec<i32>> {
    let list = open_at(directory, "fd", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut watching = Vec::new();
    for entry in Dir::read_from(&list)?.take(DESCRIPTORS) {
        let entry = entry?;
        let Some(epoll) = entry
            .file_name()
            .to_str()
            .ok()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let link = readlinkat(&list, entry.file_name(), Vec::new());
        if link.is_ok_and(|link| link.as_bytes() == b"anon_inode:[eventpoll]") {
            // One that was closed meanwhile watches nothing.
            let info = read_file(directory, &format!("fdinfo/{epoll}")).unwrap_or_default();
            if watched(&info).any(|watched| watched == descriptor) {
                watching.push(epoll);
            }
        }
    }
    Ok(watching)
}

/// The descriptors that an epoll instance watches: `tfd:        5 events:       1d data: …`.
fn watched(info: &[u8]) -> impl Iterator<Item = i32> {
    info.split(|&byte| byte == b'\n').filter_map(|line| {
        let line = std::str::from_utf8(line.strip_prefix(b"tfd:")?).ok()?;
        line.split_ascii_whitespace().next()?.parse().ok()
    })
}

/// The epoll instance that a thread waits for, by `/proc/PID/task/TID/syscall`: a number and arguments in hex.
fn epoll_waited_for(call: &[u8]) -> Option<i32> {
    let mut fields = std::str::from_utf8(call).ok()?.split_ascii_whitespace();
    let number: libc::c_long = fields.next()?.parse().ok()?;
    let first = fields.next()?.strip_prefix("0x")?;
    let is_wait = EPOLL_WAITS.contains(&number);
    is_wait.then(|| i32::from_str_radix(first, 16).ok())?
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn files_of_a_process() {
        let info = b"pos:\t0\nflags:\t02\ntfd:        5 events:       1d data:  7 pos:0\ntfd: 12 events: 19\n";
        assert_eq!(watched(info).collect::<Vec<_>>(), [5, 12]);
        let number = libc::SYS_epoll_pwait;
        let call = format!("{number} 0x1f 0x7f 0x400 0xffffffff 0x0 0x8 0x7ff 0x7f1");
        assert_eq!(epoll_waited_for(call.as_bytes()), Some(31));
        assert_eq!(epoll_waited_for(b"202 0x1f 0x7f"), None);
        assert_eq!(epoll_waited_for(b"running\n"), None);
        assert_eq!(epoll_waited_for(b"-1 0x7ffd 0x7f\n"), None);
    }

    #[test]
    fn nobody_waits_for_a_socket_that_is_not_watched() {
        use std::os::fd::AsRawFd;

        let (socket, _peer) = UnixDatagram::pair().unwrap();
        let own = Process::open(std::process::id()).unwrap();
        assert_eq!(waiting_thread(&own, socket.as_raw_fd()), None);
    }
}
