//! One process as `/proc` shows it.
//!
//! Holds the process's directory open, so that everything read belongs to the
//! same process however soon its pid is given to another. What a process may
//! choose, such as its name, is bytes until [`printable`] made it text. Never
//! opens what could block.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use procfs::FromRead;
use procfs::process::{Stat, StatFlags};
use roam_dump::decode::printable;
use roam_dump::model::ProcessState;
use rustix::fs::{CWD, Dir, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::deadline::within_deadline;
use crate::error::TargetError;
use crate::privilege::{self, Capability};

/// Bytes of a `/proc` file that are read at the most.
const FILE_BYTES: u64 = 1 << 20;

/// A process that existed when it was opened.
#[derive(Debug)]
pub struct Process {
    directory: Arc<OwnedFd>,
    pid: u32,
    user: u32,
    name: String,
    namespace_pid: u32,
    start_ticks: u64,
    /// Whether it kept this process waiting for too long: then it is asked no more.
    is_silent: Cell<bool>,
}

/// What a process is opened with.
struct Opened {
    directory: OwnedFd,
    status: Vec<u8>,
    comm: Vec<u8>,
    stat: Stat,
}

impl Process {
    /// Opens a process. The pid of any of its threads opens the process.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if there is no such process, it has ended, does not answer, or is a kernel thread.
    pub fn open(pid: u32) -> Result<Self, TargetError> {
        let directory = open_directory(pid)?;
        let opened = within_deadline(move || Opened::read(directory));
        let opened = opened.map_err(|error| process_error(pid, "", "read the status of", error))?;
        let status = opened.status;
        let tgid = status_number(&status, "Tgid").unwrap_or(pid);
        if tgid != pid {
            log::info!("{pid} is a thread of process {tgid}: reading that process");
            return Self::open(tgid);
        }
        let name = printable(trimmed(&opened.comm));
        if StatFlags::from_bits_truncate(opened.stat.flags).contains(StatFlags::PF_KTHREAD) {
            return Err(TargetError::KernelThread { pid, name });
        }
        if is_dead(&opened.stat) {
            return Err(TargetError::Zombie { pid, name });
        }
        Ok(Self {
            namespace_pid: status_number(&status, "NSpid").unwrap_or(pid),
            user: status_number(&status, "Uid").unwrap_or(0),
            directory: Arc::new(opened.directory),
            pid,
            name,
            start_ticks: opened.stat.starttime,
            is_silent: Cell::new(false),
        })
    }

    /// Returns its pid in this process's namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the uid that it acts as.
    pub fn user(&self) -> u32 {
        self.user
    }

    /// Returns its name, printable.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its pid in its own namespace.
    pub fn namespace_pid(&self) -> u32 {
        self.namespace_pid
    }

    /// Returns when it started: clock ticks since boot in this process's time namespace.
    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// Returns whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.state() != ProcessState::Dead
    }

    /// Returns whether it runs, is stopped, or is dead.
    pub fn state(&self) -> ProcessState {
        match self.stat() {
            Ok(stat) if is_dead(&stat) => ProcessState::Dead,
            Ok(stat) if matches!(stat.state, 'T' | 't') => ProcessState::Stopped,
            Ok(_) => ProcessState::Alive,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::SRCH | Errno::NOENT) => ProcessState::Dead,
                // That this process may open no more files is no sign of anybody's end.
                _ => ProcessState::Alive,
            },
        }
    }

    /// Returns the pid of its parent.
    pub fn parent(&self) -> Option<u32> {
        u32::try_from(self.stat().ok()?.ppid).ok()
    }

    /// Returns the pids of its child processes; none on a kernel that does not list them.
    pub fn children(&self) -> Vec<u32> {
        let children = self.ask(|directory| {
            let mut children = Vec::new();
            for thread in entries(directory, "task")? {
                let of_thread = read_file(directory, &format!("task/{thread}/children"));
                let of_thread = of_thread.unwrap_or_default();
                let pids = of_thread.split(|&byte| byte == b' ');
                let pid = |pid| std::str::from_utf8(pid).ok()?.parse::<u32>().ok();
                children.extend(pids.filter_map(pid));
            }
            Ok(children)
        });
        children.unwrap_or_default()
    }

    /// Counts its threads by state; those that end meanwhile are not counted.
    pub fn thread_states(&self) -> BTreeMap<char, u32> {
        let counted = self.ask(|directory| {
            let mut states = BTreeMap::new();
            for thread in entries(directory, "task")? {
                let stat = read_file(directory, &format!("task/{thread}/stat"));
                if let Ok(Ok(stat)) = stat.map(|stat| Stat::from_read(&stat[..])) {
                    *states.entry(stat.state).or_default() += 1;
                }
            }
            Ok(states)
        });
        counted.unwrap_or_default()
    }

    /// Returns whether one of its threads has that name.
    pub fn has_thread(&self, name: &'static str) -> bool {
        let is_found = self.ask(move |directory| {
            let is_named = |thread: &String| {
                let comm = read_file(directory, &format!("task/{thread}/comm"));
                comm.is_ok_and(|comm| trimmed(&comm) == name.as_bytes())
            };
            Ok(entries(directory, "task")?.iter().any(is_named))
        });
        is_found.unwrap_or_default()
    }

    fn stat(&self) -> io::Result<Stat> {
        self.ask(|directory| stat(directory))
    }

    /// Does something with its directory in `/proc` that the process could keep waiting.
    ///
    /// # Errors
    ///
    /// That of `work`; [`ErrorKind::TimedOut`] if the process does not answer, now or before.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&OwnedFd) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        if self.is_silent.get() {
            return Err(ErrorKind::TimedOut.into());
        }
        let directory = Arc::clone(&self.directory);
        let answer = within_deadline(move || work(&directory));
        let is_timeout = |error: &io::Error| error.kind() == ErrorKind::TimedOut;
        self.is_silent.set(answer.as_ref().is_err_and(is_timeout));
        answer
    }

    /// Returns whether a seccomp filter decides on its system calls.
    pub fn has_seccomp_filter(&self) -> bool {
        const FILTER: u32 = 2;
        let status = self.read_file("status").unwrap_or_default();
        status_number(&status, "Seccomp") == Some(FILTER)
    }

    /// Opens one of its `/proc` files.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn open_file(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let path = path.to_owned();
        self.ask(move |directory| open_at(directory, &path, flags))
    }

    /// Reads the first mebibyte of one of its `/proc` files.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn read_file(&self, path: &str) -> io::Result<Vec<u8>> {
        let path = path.to_owned();
        self.ask(move |directory| read_file(directory, &path))
    }

    /// Returns where one of its `/proc` links points to.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn read_link(&self, path: &str) -> io::Result<Vec<u8>> {
        Ok(readlinkat(&self.directory, path, Vec::new())?.into_bytes())
    }

    /// Returns the error for a system call that failed during `action`, for example `read the mappings of`.
    pub fn error(&self, action: &'static str, error: io::Error) -> TargetError {
        if !self.is_alive() {
            return TargetError::Ended { pid: self.pid };
        }
        process_error(self.pid, &self.name, action, error)
    }
}

/// Lists the pids of all processes, in order.
///
/// # Errors
///
/// The error of the system call.
pub fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        if let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            pids.push(pid);
        }
    }
    pids.sort_unstable();
    Ok(pids)
}

/// Lists the parent of every process. Those that end meanwhile are left out.
///
/// # Errors
///
/// The error of the system call.
pub fn parents() -> io::Result<HashMap<u32, u32>> {
    let parent = |pid| Some((pid, Process::open(pid).ok()?.parent()?));
    Ok(pids()?.into_iter().filter_map(parent).collect())
}

/// Lists the descendants of processes, by pid, without the processes themselves.
///
/// # Errors
///
/// The error of the system call.
pub fn descendants(ancestors: &[u32]) -> io::Result<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, parent) in parents()? {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut open = ancestors.to_vec();
    while let Some(pid) = open.pop() {
        for child in children.remove(&pid).unwrap_or_default() {
            if !ancestors.contains(&child) {
                found.push(child);
            }
            open.push(child);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn open_directory(pid: u32) -> Result<OwnedFd, TargetError> {
    let path = format!("/proc/{pid}");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(CWD, path, flags, Mode::empty()) {
        Ok(directory) => Ok(directory),
        Err(Errno::NOENT) if !Path::new("/proc/self").exists() => Err(TargetError::NoProc { pid }),
        // A /proc mounted with hidepid does not show what belongs to others.
        Err(Errno::NOENT) if is_hidden(pid) => Err(TargetError::NoPermission {
            pid,
            name: "hidden by the hidepid option of /proc".to_owned(),
            action: "read",
            missing: privilege::missing(&[Capability::SYS_PTRACE]),
        }),
        Err(Errno::NOENT) => Err(TargetError::NoSuchProcess { pid }),
        Err(error) => Err(process_error(pid, "", "open", error.into())),
    }
}

fn is_hidden(pid: u32) -> bool {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .is_some_and(|pid| !matches!(test_kill_process(pid), Err(Errno::SRCH)))
}

fn process_error(pid: u32, name: &str, action: &'static str, error: io::Error) -> TargetError {
    match Errno::from_io_error(&error) {
        Some(Errno::SRCH | Errno::NOENT) => TargetError::Ended { pid },
        Some(Errno::ACCESS | Errno::PERM) => TargetError::NoPermission {
            pid,
            name: name.to_owned(),
            action: "read",
            missing: privilege::missing_to_inspect(),
        },
        _ if error.kind() == ErrorKind::TimedOut => TargetError::Silent {
            pid,
            name: name.to_owned(),
        },
        _ => TargetError::Io {
            pid,
            name: name.to_owned(),
            action,
            error,
        },
    }
}

impl Opened {
    fn read(mut directory: OwnedFd) -> io::Result<Self> {
        let [status, comm] = ["status", "comm"].map(|name| read_file(&directory, name));
        let (status, comm, stat) = (status?, comm?, stat(&directory)?);
        // The first thread has ended, others go on: they have what it has no more.
        if matches!(stat.state, 'Z' | 'X') && !is_dead(&stat) {
            let is_live = |thread: &String| {
                let stat = read_file(&directory, &format!("task/{thread}/stat"));
                let stat = stat.map(|stat| Stat::from_read(&stat[..]));
                matches!(stat, Ok(Ok(stat)) if !matches!(stat.state, 'Z' | 'X'))
            };
            if let Some(thread) = entries(&directory, "task")?.into_iter().find(is_live) {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                directory = openat(&directory, format!("task/{thread}"), flags, Mode::empty())?;
            }
        }
        Ok(Self {
            directory,
            status,
            comm,
            stat,
        })
    }
}

/// Whether no thread of the process runs any more.
fn is_dead(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X') && stat.num_threads <= 1
}

fn stat(directory: impl AsFd) -> io::Result<Stat> {
    let stat = read_file(directory, "stat")?;
    Stat::from_read(&stat[..]).map_err(io::Error::other)
}

/// Lists the names in a directory.
pub(super) fn entries(directory: impl AsFd, path: &str) -> io::Result<Vec<String>> {
    let directory = open_at(directory, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&directory)? {
        if let Ok(name) = entry?.file_name().to_str()
            && !name.starts_with('.')
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Opens a file in a directory.
pub(super) fn open_at(directory: impl AsFd, path: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::CLOEXEC;
    Ok(openat(directory, path, flags, Mode::empty())?.into())
}

pub(super) fn read_file(directory: impl AsFd, path: &str) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open_at(directory, path, OFlags::RDONLY)?
        .take(FILE_BYTES)
        .read_to_end(&mut content)?;
    Ok(content)
}

/// Reads a field of `/proc/PID/status`: of several numbers, such as those of `NSpid`, the last. Read as bytes: a
/// name need not be UTF-8, be it because the kernel cut it within a character.
pub fn status_number(status: &[u8], field: &str) -> Option<u32> {
    let value = status
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(field.as_bytes())?.strip_prefix(b":"))?;
    std::str::from_utf8(value)
        .ok()?
        .split_ascii_whitespace()
        .last()?
        .parse()
        .ok()
}

/// Without the line break that `/proc` puts behind a value.
fn trimmed(value: &[u8]) -> &[u8] {
    value.strip_suffix(b"\n").unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_field(status: &[u8], name: &str, expected: Option<u32>) {
        assert_eq!(status_number(status, name), expected);
    }

    #[test]
    fn status_fields() {
        let status = b"Name:\ta\\nTgid:\t9\nUmask:\t0022\nTgid:\t17\nPid:\t18\nNSpid:\t17\t4\t1\n";
        check_field(status, "Tgid", Some(17));
        check_field(status, "NSpid", Some(1));
        check_field(status, "NStgid", None);
        check_field(b"Name:\t\xff\xfe\nNSpid:\t7\n", "NSpid", Some(7));
        check_field(b"NSpid:\t\n", "NSpid", None);
        check_field(b"", "NSpid", None);
    }

    #[test]
    fn own_process() {
        let process = Process::open(std::process::id()).unwrap();
        assert_eq!(process.pid(), std::process::id());
        assert!(process.is_alive());
        assert!(process.start_ticks() > 0);
    }
}
