//! Runs the tool and measures it.

use std::io;
use std::process::Stdio;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use procfs::process::Process;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::run::{Run, command};

/// What the release build of the tool may use at the most.
const LIMIT_KILOBYTES: u64 = 64 << 10;
/// Of a processor: what else the machine does is not counted, and the tool waits for nothing.
const LIMIT: Duration = Duration::from_secs(2);

/// When it is ended, for the sake of whoever else uses the machine.
const DEADLINE: Duration = Duration::from_secs(60);
const KILLED_KILOBYTES: u64 = 256 << 10;

/// Runs the tool, and checks what it takes and that all it prints is printable.
pub(crate) fn check(arguments: &[&str]) -> Run {
    if cfg!(debug_assertions) {
        panic!("what these tests check holds for release builds: use --release");
    }
    let (run, kilobytes, time) = measure(arguments);
    println!("{arguments:?}: {kilobytes} KiB, {time:?}");
    assert!(kilobytes <= LIMIT_KILOBYTES && time <= LIMIT);
    check_printable(&run.stdout);
    check_printable(&run.stderr);
    run
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

/// The run, the kilobytes of memory it had at the most, and how long a processor worked for it.
fn measure(arguments: &[&str]) -> (Run, u64, Duration) {
    let started = Instant::now();
    let mut child = command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let stdout = spawn(|| io::read_to_string(stdout));
    let stderr = spawn(|| io::read_to_string(stderr));
    let process = Process::new(child.id().cast_signed()).unwrap();
    // The kernel forgets its memory when it ends, and its time when it is waited for.
    let mut kilobytes = 0;
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let id = WaitId::Pid(Pid::from_child(&child));
    while waitid(id.clone(), ended).unwrap().is_none() {
        kilobytes = kilobytes.max(process.status().unwrap().vmhwm.unwrap_or(0));
        if started.elapsed() > DEADLINE || kilobytes > KILLED_KILOBYTES {
            child.kill().unwrap();
            panic!("{arguments:?}: {kilobytes} KiB, {:?}", started.elapsed());
        }
        sleep(Duration::from_millis(1));
    }
    let stat = process.stat().unwrap();
    let ticks = (stat.utime + stat.stime) as f64;
    let time = Duration::from_secs_f64(ticks / procfs::ticks_per_second() as f64);
    let run = Run {
        status: child.wait().unwrap().code().unwrap_or(-1),
        stdout: stdout.join().unwrap().unwrap(),
        stderr: stderr.join().unwrap().unwrap(),
    };
    (run, kilobytes, time)
}
