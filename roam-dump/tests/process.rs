//! What the registry and the signal handler do to whole processes.
//!
//! Every test starts this binary again, in a role that the environment names.

#[path = "../../testing/watchdog.rs"]
mod watchdog;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use roam_diagnostic::registry::{
    Connection, ConnectionOpen, ConnectionState, Direction, Phase, Request, RequestKind,
    RequestStart, Role,
};
use roam_dump::read::read_own;
use roam_dump::sigusr1;
use watchdog::Watchdog;

const DEADLINE: Duration = Duration::from_secs(20);
/// Longer than any test needs a process.
const LIFETIME: Duration = Duration::from_secs(120);
const ROLE: &str = "ROAM_DIAGNOSTIC_TEST_ROLE";

fn command(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "play_a_role", "--ignored", "--nocapture"])
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs a role to its end and returns what it printed.
fn output_of(command: &mut Command) -> String {
    let child = command.spawn().unwrap();
    let _watchdog = Watchdog::of(&child, DEADLINE);
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A role that is running and said so.
struct Running {
    _watchdog: Watchdog,
    child: Child,
    stderr: Receiver<String>,
}

impl Running {
    fn start(role: &str) -> Self {
        let mut child = command(role).spawn().unwrap();
        let watchdog = Watchdog::of(&child, LIFETIME);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("ready") {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "{role} ended");
        }
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in stderr.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        Self {
            _watchdog: watchdog,
            child,
            stderr: receiver,
        }
    }

    /// What it wrote to descriptor 2 up to a line that contains `last`.
    fn read_up_to(&self, last: &str) -> String {
        let mut text = String::new();
        while !text.contains(last) {
            match self.stderr.recv_timeout(DEADLINE) {
                Ok(line) => writeln!(text, "{line}").unwrap(),
                Err(error) => panic!("{error} while waiting for {last:?} after {text}"),
            }
        }
        text
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the child was started here and has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Asks it to end.
    fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.close_stdin();
        let _ = self.child.wait();
    }
}

fn has_region() -> bool {
    std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .contains("/memfd:roam-diagnostic")
}

fn start_request() -> Request {
    let connection = Connection::open(&ConnectionOpen {
        link: Connection::NONE,
        conn_id: 0,
        group: Connection::NONE,
        role: Role::Acceptor,
        state: ConnectionState::Open,
        observes_writes: true,
        name: "peer",
    });
    Request::start(&RequestStart {
        connection,
        request_id: 93,
        method_id: 1,
        direction: Direction::Incoming,
        phase: Phase::Running,
        kind: RequestKind::Call,
        payload_bytes: 0,
        arguments: Some("\"x\""),
        parent: Request::NONE,
    })
}

/// Waits for the tests to close stdin, with every standard lock held by a blocked thread.
fn wait_with_locks_held() {
    let ready = Arc::new(Barrier::new(3));
    for hold in [
        (|ready: &Barrier| {
            let _lock = std::io::stderr().lock();
            ready.wait();
            thread::park();
        }) as fn(&Barrier),
        |ready| {
            let mut lock = std::io::stdout().lock();
            writeln!(lock, "ready").unwrap();
            lock.flush().unwrap();
            ready.wait();
            thread::park();
        },
    ] {
        let ready = Arc::clone(&ready);
        thread::spawn(move || hold(&ready));
    }
    ready.wait();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

#[test]
#[ignore = "the other tests run it as a process of its own"]
fn play_a_role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    match role.as_str() {
        "report" => {
            let request = start_request();
            let rows = read_own().map(|image| image.unwrap().requests.len());
            println!(
                "recorded={} rows={rows:?} region={}",
                request.is_live(),
                has_region()
            );
        }
        "fork" => {
            let before = start_request();
            // SAFETY: the child calls nothing that needs another thread, and leaves by _exit.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let silent = !start_request().is_live()
                    && !before.end(roam_diagnostic::registry::Outcome::Ok)
                    && read_own().is_none();
                // SAFETY: ends this process only.
                unsafe { libc::_exit(if silent { 7 } else { 1 }) };
            }
            let mut status = 0;
            // SAFETY: waits for the child made above.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            println!(
                "child={} live={}",
                libc::WEXITSTATUS(status),
                before.is_live()
            );
        }
        "hung" => {
            sigusr1::install().unwrap();
            sigusr1::register_diagnostic("ring", |text| text.push_str("head=3 tail=1"));
            sigusr1::register_diagnostic("broken", |_| panic!("on purpose"));
            sigusr1::register_diagnostic("slow", |_| thread::sleep(Duration::from_secs(60)));
            sigusr1::register_diagnostic("last", |text| text.push_str("end of the dump"));
            start_request();
            wait_with_locks_held();
            // The threads that hold the locks would keep the process from exiting in order.
            std::process::abort();
        }
        "parent" => {
            sigusr1::install().unwrap();
            let mut deaf = Command::new("sleep").arg("60").spawn().unwrap();
            let hearing = Running::start("hung");
            sigusr1::register_child_pid(deaf.id()).unwrap();
            sigusr1::register_child_pid(hearing.child.id()).unwrap();
            println!("ready");
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            let dump = hearing.read_up_to("end of the dump");
            let alive = deaf.try_wait().unwrap().is_none();
            deaf.kill().unwrap();
            deaf.wait().unwrap();
            let dumps = dump.matches("RPC DIAGNOSTIC DUMP").count();
            eprintln!("deaf child alive={alive}, dumps of the other={dumps}");
        }
        role => panic!("no such role: {role}"),
    }
}

#[test]
fn reporting_makes_a_region() {
    let output = output_of(&mut command("report"));
    assert!(
        output.contains("recorded=true rows=Some(1) region=true"),
        "{output}"
    );
}

#[test]
fn off_means_no_rows_and_no_region() {
    let output = output_of(command("report").env("ROAM_DIAGNOSTIC", "off"));
    assert!(
        output.contains("recorded=false rows=None region=false"),
        "{output}"
    );
}

#[test]
fn a_file_size_limit_leaves_a_private_registry() {
    let mut command = command("report");
    // SAFETY: only a system call between fork and exec.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit {
                rlim_cur: 1 << 20,
                rlim_max: 1 << 20,
            };
            libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
            Ok(())
        });
    }
    let output = output_of(&mut command);
    assert!(
        output.contains("recorded=true rows=Some(1) region=false"),
        "{output}"
    );
}

#[test]
fn a_forked_child_reports_nothing() {
    let output = output_of(&mut command("fork"));
    assert!(output.contains("child=7 live=true"), "{output}");
}

#[test]
fn sigusr1_dumps_while_the_standard_locks_are_held() {
    let running = Running::start("hung");
    running.signal(libc::SIGUSR1);
    let text = running.read_up_to("end of the dump");
    for expected in [
        "RPC DIAGNOSTIC DUMP",
        "[req_id=93] method_id=0x0000000000000001(\"x\") - received",
        "(running) · peer",
        "[ring] head=3 tail=1",
        "[broken] skipped: its callback panicked",
        "[slow] skipped: its callback takes longer than 1 s",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn sigusr1_is_forwarded_to_children_that_catch_it() {
    let mut running = Running::start("parent");
    running.signal(libc::SIGUSR1);
    running.close_stdin();
    running.read_up_to("deaf child alive=true, dumps of the other=1");
}
