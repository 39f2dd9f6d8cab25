//! Starts the tool and makes its output comparable.

#[path = "../../../testing/watchdog.rs"]
pub(crate) mod watchdog;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Until the tool must have ended.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

const TOOL: &str = env!("CARGO_BIN_EXE_roam-trace");

/// How the tool ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the tool, which must end within a few seconds.
pub(crate) fn roam_trace(arguments: &[&str]) -> Run {
    run(command(arguments))
}

/// The same as another user, without capabilities.
pub(crate) fn roam_trace_as(user: u32, arguments: &[&str]) -> Run {
    let tool = PublicCopy::of_tool();
    let mut command = tool.command(arguments);
    command.uid(user).gid(user);
    run(command)
}

/// The tool with nothing in its environment that changes what it prints.
pub(crate) fn command(arguments: &[&str]) -> Command {
    command_of(TOOL.as_ref(), arguments)
}

fn command_of(tool: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .env_clear()
        .env("TZ", "UTC")
        // Where a line is wrapped depends on the length of pids.
        .env("COLUMNS", "1000")
        .stdin(Stdio::null());
    command
}

/// A copy of a program that every user can run: cargo may build below a directory that only one may enter.
pub(crate) struct PublicCopy {
    pub(crate) program: PathBuf,
    /// Removed with this value.
    _directory: TempDir,
}

impl PublicCopy {
    pub(crate) fn new(program: impl AsRef<Path>) -> Self {
        // Not `/tmp`, where a mount option may take capabilities on files away.
        let directory = TempDir::new_in("/var/tmp").unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let copy = directory.path().join(program.as_ref().file_name().unwrap());
        // By another process: one that is started while this one had the copy open for writing would keep it
        // open, and nobody may execute such a file.
        let copied = Command::new("cp").arg(program.as_ref()).arg(&copy).status();
        assert!(copied.unwrap().success());
        Self {
            program: copy,
            _directory: directory,
        }
    }

    /// Of the tool.
    pub(crate) fn of_tool() -> Self {
        Self::new(TOOL)
    }

    /// The tool, if it is one of that, as [`command`] has it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        command_of(&self.program, arguments)
    }
}

/// Runs a command, which must end within a few seconds.
pub(crate) fn run(mut command: Command) -> Run {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let (done, is_done) = std::sync::mpsc::channel();
    let mut streams = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reader = std::thread::spawn(move || {
        let stderr = std::thread::spawn(move || std::io::read_to_string(&mut streams.1).unwrap());
        let stdout = std::io::read_to_string(&mut streams.0).unwrap();
        let _ = done.send(());
        (stdout, stderr.join().unwrap())
    });
    if is_done.recv_timeout(DEADLINE).is_err() {
        let _ = child.kill();
        panic!("process {id} hangs");
    }
    let (stdout, stderr) = reader.join().unwrap();
    let status = child.wait().unwrap();
    Run {
        status: status.code().unwrap_or(-1),
        stdout,
        stderr,
    }
}

impl Run {
    /// Both streams and the status, with what differs from run to run made equal.
    pub(crate) fn redacted(&self, redactions: &[(&str, &str)]) -> String {
        let mut text = format!(
            "{}--- stderr\n{}--- status {}\n",
            self.stdout, self.stderr, self.status
        );
        for (from, to) in redactions {
            text = text.replace(from, to);
        }
        redact_time(&text)
    }
}

/// Replaces what differs from run to run, keeping that it is there. Columns are as wide as what is in them: of the spaces
/// between them, two are left.
fn redact_time(text: &str) -> String {
    text.lines().map(|line| redact_line(line) + "\n").collect()
}

fn redact_line(line: &str) -> String {
    if line.starts_with("command: ") {
        return "command: [command]".to_owned();
    }
    if let Some((pid, facts)) = line.split_once(" · 20")
        && pid.starts_with("pid ")
    {
        let facts = facts.split(" · ").skip(1).map(|fact| {
            let (what, _) = fact.split_once(' ').unwrap_or((fact, ""));
            format!(" · {what} [{what}]")
        });
        return format!("{pid} · [time]{}", facts.collect::<String>());
    }
    let (indent, line) = line.split_at(line.len() - line.trim_start().len());
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let bare = word.trim_end_matches([',', ')', ':', ';']);
        // "45.2s" and its like; everything the fixtures do happens within minutes.
        let is_age = bare
            .strip_suffix('s')
            .is_some_and(|age| age.contains('.') && age.parse::<f64>().is_ok());
        let is_time = words.last().is_some_and(|word| word == "(since");
        if is_age || is_time {
            let what = if is_age { "[age]" } else { "[time]" };
            words.push(format!("{what}{}", &word[bare.len()..]));
        } else if !(word.is_empty() && words.last().is_some_and(String::is_empty)) {
            words.push(word.to_owned());
        }
    }
    format!("{indent}{}", words.join(" "))
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
