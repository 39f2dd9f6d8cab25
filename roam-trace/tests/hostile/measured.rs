//! Runs the tool and measures it.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::{Run, command};

/// Names a release build of the tool, whose limits are those that are promised: `cargo xtask test` does.
const RELEASE: &str = "ROAM_TRACE_RELEASE";

/// What the tool may use at the most, of memory and of time.
fn limits() -> (u64, Duration) {
    match std::env::var_os(RELEASE) {
        Some(_) => (64, Duration::from_secs(2)),
        None => (80, Duration::from_secs(30)),
    }
}

fn tool(arguments: &[&str]) -> Command {
    let ours = command(arguments);
    let Some(program) = std::env::var_os(RELEASE) else {
        return ours;
    };
    let mut release = Command::new(program);
    release.args(arguments).env_clear().stdin(Stdio::null());
    release
}

/// When it is ended, for the sake of whoever else uses the machine.
const DEADLINE: Duration = Duration::from_secs(60);
const BYTES_KILLED: u64 = 256 << 20;

/// A machine that does something else can only make a run slower, never faster: one of these must do.
const RUNS: usize = 5;

/// Runs the tool as often as it takes to be fast enough, and checks everything else each time. What it
/// watches for takes that much longer.
pub(crate) fn check(arguments: &[&str], watched: Duration) -> Run {
    let (megabytes, limit) = limits();
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let (run, kilobytes, time) = measure(arguments);
        assert!(
            kilobytes <= megabytes << 10,
            "{arguments:?}: {kilobytes} KiB"
        );
        check_printable(&run.stdout);
        check_printable(&run.stderr);
        println!("{arguments:?}: {kilobytes} KiB, {time:?}");
        if time <= limit + watched {
            return run;
        }
        times.push(time);
    }
    panic!("{arguments:?}: {times:?}");
}

/// Nothing that is no text, and neither escapes nor characters that turn the direction of writing.
fn check_printable(text: &str) {
    let strange = text.chars().find(|&character| {
        character != '\n'
            && (character.is_control()
                || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e0fff}'))
    });
    assert_eq!(strange, None);
}

/// The run, the most memory it had, and how long it took.
fn measure(arguments: &[&str]) -> (Run, u64, Duration) {
    let started = Instant::now();
    let mut child = tool(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let stdout = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let stderr = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    // The kernel forgets it with the program, so it is looked at while that runs.
    let mut kilobytes = 0;
    let status = loop {
        kilobytes = kilobytes.max(peak_kilobytes(&child));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > DEADLINE || kilobytes > BYTES_KILLED >> 10 {
            child.kill().unwrap();
            panic!("{arguments:?}: {kilobytes} KiB, {:?}", started.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let time = started.elapsed();
    let run = Run {
        status: status.code().unwrap_or(-1),
        stdout: stdout.join().unwrap().unwrap(),
        stderr: stderr.join().unwrap().unwrap(),
    };
    (run, kilobytes, time)
}

fn peak_kilobytes(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0)
}
