//! How a process was started, and when.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use roam_dump::decode::printable;
use roam_dump::model::ProcessDetails;
use rustix::time::{ClockId, clock_gettime};

use super::proc::Process;

/// Characters of a command line that are shown.
const COMMAND_CHARACTERS: usize = 300;

/// Bytes of `/etc/passwd` that are read at the most.
const PASSWD_BYTES: u64 = 1 << 20;

/// Microseconds of a clock tick in `/proc`, the same on every Linux that runs Rust.
const TICK_US: u64 = 10_000;

/// The users in `/etc/passwd`. Other sources of names, which a library for them would have to be loaded for, are not
/// asked.
#[derive(Debug, Default)]
pub struct UserNames(HashMap<u32, Arc<str>>);

impl UserNames {
    /// Reads the names; none if the file cannot be read.
    pub fn read() -> Self {
        let mut content = Vec::new();
        match File::open("/etc/passwd")
            .and_then(|file| file.take(PASSWD_BYTES).read_to_end(&mut content))
        {
            Ok(_) => Self::parse(&content),
            Err(_) => Self::default(),
        }
    }

    fn parse(content: &[u8]) -> Self {
        let mut names = HashMap::new();
        for line in content.split(|&byte| byte == b'\n') {
            let mut fields = line.split(|&byte| byte == b':');
            let (name, _password, uid) = (fields.next(), fields.next(), fields.next());
            let uid = uid.and_then(|uid| std::str::from_utf8(uid).ok()?.parse().ok());
            if let (Some(name), Some(uid)) = (name, uid) {
                names.entry(uid).or_insert_with(|| printable(name).into());
            }
        }
        Self(names)
    }
}

impl Process {
    /// Returns how it was started, and when.
    pub fn details(&self, users: &UserNames) -> ProcessDetails {
        let now = clock_gettime(ClockId::Boottime);
        let now_us = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000;
        let arguments = self.read_file("cmdline").unwrap_or_default();
        ProcessDetails {
            command_line: command_line(&arguments).map(Into::into),
            uid: self.user(),
            user_name: users.0.get(&self.user()).cloned(),
            uptime_us: now_us.saturating_sub(self.start_ticks() * TICK_US),
        }
    }
}

/// The arguments of a process, each of which ends with a zero byte, as a person reads them.
fn command_line(arguments: &[u8]) -> Option<String> {
    // An escape has no fewer characters than what it stands for has bytes.
    let arguments = &arguments[..arguments.len().min(4 * COMMAND_CHARACTERS)];
    let arguments = arguments.strip_suffix(b"\0").unwrap_or(arguments);
    let arguments = arguments.split(|&byte| byte == 0).map(printable);
    let mut line = arguments.collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(COMMAND_CHARACTERS) {
        line.truncate(end);
        line.push('…');
    }
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_command(arguments: &[u8], expected: Option<&str>) {
        assert_eq!(command_line(arguments).as_deref(), expected);
    }

    #[test]
    fn command_lines() {
        check_command(b"", None);
        check_command(b"\0", None);
        check_command(b"/bin/a\0--b\0", Some("/bin/a --b"));
        check_command(b"a\0\x1b[31m\n\0", Some("a \\u{1b}[31m\\n"));
        let cut = format!("{}…", "é".repeat(COMMAND_CHARACTERS));
        check_command("é".repeat(COMMAND_CHARACTERS + 1).as_bytes(), Some(&cut));
    }

    #[test]
    fn user_names() {
        let users = UserNames::parse(b"root:x:0:0:root:/root:/bin/sh\nother:x:0::\nx\nbad:x:y\n");
        let names: Vec<_> = users.0.iter().map(|(&uid, name)| (uid, &**name)).collect();
        assert_eq!(names, [(0, "root")]);
    }

    #[test]
    fn own_process() {
        let process = Process::open(std::process::id()).unwrap();
        let details = process.details(&UserNames::read());
        assert!(details.command_line.is_some());
        assert!(details.uptime_us < 3_600_000_000, "{details:?}");
    }
}
