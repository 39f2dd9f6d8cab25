//! What the registry and the signal handler do to whole processes.
//!
//! Every test starts this binary again, in a role that the environment names.

#[path = "../../testing/watchdog.rs"]
mod watchdog;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

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

/// The lines that are read, as they arrive.
fn lines_of(read: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(read).lines() {
            let _ = sender.send(line.unwrap());
        }
    });
    receiver
}

/// A role that is running and said so.
struct Running {
    _watchdog: Watchdog,
    child: Child,
    stderr: Receiver<String>,
}

impl Running {
    fn start(role: &str) -> Self {
        Self::of(command(role), role)
    }

    fn of(mut command: Command, role: &str) -> Self {
        let mut child = command.spawn().unwrap();
        // Where the tests read the standard error of several processes, it has none of its own.
        drop(command);
        let watchdog = Watchdog::of(&child, LIFETIME);
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("ready") {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "{role} ended");
        }
        let stderr = child.stderr.take().map_or_else(|| channel().1, lines_of);
        Self {
            _watchdog: watchdog,
            child,
            stderr,
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

fn open_connection() -> Connection {
    Connection::open(&ConnectionOpen {
        link: Connection::NONE,
        conn_id: 0,
        group: Connection::NONE,
        role: Role::Acceptor,
        state: ConnectionState::Open,
        observes_writes: true,
        name: "peer",
    })
}

fn start_request() -> Request {
    start_request_of(open_connection(), 93)
}

fn start_request_of(connection: Connection, request_id: u64) -> Request {
    start_call_of(connection, request_id, 1)
}

fn start_call_of(connection: Connection, request_id: u64, method_id: u64) -> Request {
    Request::start(&served_call(connection, request_id, method_id))
}

fn served_call(connection: Connection, request_id: u64, method_id: u64) -> RequestStart<'static> {
    RequestStart {
        connection,
        request_id,
        method_id,
        direction: Direction::Incoming,
        phase: Phase::Running,
        kind: RequestKind::Call,
        payload_bytes: 0,
        arguments: Some("\"x\""),
        parent: Request::NONE,
    }
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

/// Requests of the role `many`: their dump has several parts.
const MANY: u64 = 200;

/// Fills the pipe behind descriptor 2, which then blocks as before.
fn fill_stderr() {
    let set_nonblocking = |is_nonblocking: bool| {
        let flags = if is_nonblocking { libc::O_NONBLOCK } else { 0 };
        // SAFETY: integers only.
        let result = unsafe { libc::fcntl(libc::STDERR_FILENO, libc::F_SETFL, flags) };
        assert_eq!(result, 0);
    };
    set_nonblocking(true);
    let mut stderr = std::fs::File::from(std::io::stderr().as_fd().try_clone_to_owned().unwrap());
    for chunk in [4_096, 1] {
        while stderr.write(&vec![b'.'; chunk]).is_ok() {}
    }
    set_nonblocking(false);
}

/// Starts and ends requests as fast as it can, and prints every 50 ms how many there were.
fn call_until_stdin_ends() {
    let calls = AtomicU64::new(0);
    let is_over = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let connection = open_connection();
            while is_over.load(Ordering::Relaxed) == 0 {
                start_request_of(connection, 1).end(roam_diagnostic::registry::Outcome::Ok);
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            while is_over.load(Ordering::Relaxed) == 0 {
                thread::sleep(Duration::from_millis(50));
                println!("calls={}", calls.swap(0, Ordering::Relaxed));
            }
        });
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        is_over.store(1, Ordering::Relaxed);
    });
}

/// A marker line of the rows of a dump: which end of a part, pid, dump, part and parts.
fn marker(line: &str) -> Option<(&str, u32, u64, usize, usize)> {
    let rest = line.strip_prefix("--- roam-dump ")?.strip_suffix(" ---")?;
    let mut words = rest.split(' ');
    let end = words.next()?;
    let mut value = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
    let pid = value("pid")?.parse().ok()?;
    let dump = value("dump")?.parse().ok()?;
    (value("section")? == "registry").then_some(())?;
    let (part, parts) = value("part")?.split_once('/')?;
    Some((end, pid, dump, part.parse().ok()?, parts.parse().ok()?))
}

/// The dumps in what several processes wrote, by pid and number: every part whole, and in order.
fn dumps_in(lines: Vec<String>) -> BTreeMap<(u32, u64), Vec<String>> {
    let mut dumps: BTreeMap<(u32, u64), (usize, usize, Vec<String>)> = BTreeMap::new();
    let mut open = None;
    for line in lines {
        match (marker(&line), open) {
            (Some(("begin", pid, dump, part, parts)), None) => {
                let known = dumps.entry((pid, dump)).or_insert((0, parts, Vec::new()));
                assert_eq!((part, parts), (known.0 + 1, known.1));
                known.0 = part;
                open = Some((pid, dump));
            }
            (Some(("end", pid, dump, part, parts)), Some(of)) => {
                assert_eq!((pid, dump), of);
                assert_eq!((part, parts), (dumps[&of].0, dumps[&of].1));
                open = None;
            }
            (None, Some(of)) => dumps.get_mut(&of).unwrap().2.push(line),
            other => panic!("{other:?} at {line}"),
        }
    }
    let whole = dumps.into_iter().map(|(of, (part, parts, lines))| {
        assert_eq!(part, parts, "{of:?}");
        assert!(parts > 1, "{of:?} has one part");
        (of, lines)
    });
    whole.collect()
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
        "many" => {
            sigusr1::install().unwrap();
            let connection = open_connection();
            for request_id in 0..MANY {
                // Alike, they would be one line.
                start_call_of(connection, request_id, request_id);
            }
            println!("ready");
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
        }
        "waiting" => {
            sigusr1::install().unwrap();
            let connection = open_connection();
            for request_id in 0..MANY {
                Request::start(&RequestStart {
                    direction: Direction::Outgoing,
                    phase: Phase::Sent,
                    ..served_call(connection, request_id, request_id)
                });
            }
            println!("ready");
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
        }
        "calling" => {
            sigusr1::install().unwrap();
            let mut ignoring = Command::new("sh")
                .args(["-c", "trap '' USR1; echo ready; exec sleep 60"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = [0; 6];
            ignoring
                .stdout
                .take()
                .unwrap()
                .read_exact(&mut line)
                .unwrap();
            sigusr1::register_child_pid(ignoring.id()).unwrap();
            fill_stderr();
            println!("ready");
            call_until_stdin_ends();
            let is_alive = ignoring.try_wait().unwrap().is_none();
            ignoring.kill().unwrap();
            ignoring.wait().unwrap();
            println!("alive={is_alive}");
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
fn probes_only_means_no_rows_of_requests() {
    let output = output_of(command("report").env("ROAM_DIAGNOSTIC", "probes"));
    assert!(
        output.contains("recorded=true rows=Some(0) region=true"),
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
    for mode in ["on", "probes"] {
        let output = output_of(command("fork").env("ROAM_DIAGNOSTIC", mode));
        assert!(output.contains("child=7 live=true"), "{mode}: {output}");
    }
}

#[test]
fn sigusr1_dumps_while_the_standard_locks_are_held() {
    let running = Running::start("hung");
    running.signal(libc::SIGUSR1);
    let text = running.read_up_to("end of the dump");
    for expected in [
        "RPC DIAGNOSTIC DUMP",
        "[req_id=93]  method_id=0x0000000000000001(\"x\")  ",
        "s  running  ",
        "  peer  ",
        "[ring] head=3 tail=1",
        "[broken] skipped: its callback panicked",
        "[slow] skipped: its callback takes longer than 1 s",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let pid = running.child.id();
    let first = text.lines().find_map(marker);
    assert!(
        matches!(first, Some(("begin", of, 1, 1, _)) if of == pid),
        "{text}"
    );
    // Callbacks have not kept the rows from being written.
    let callbacks = format!("--- roam-dump begin pid={pid} dump=1 section=callbacks part=1/1 ---");
    let (rows, callbacks) = text.split_once(&callbacks).expect(&text);
    assert!(rows.contains("CONNECTIONS:") && callbacks.contains("[ring]"));
}

#[test]
fn a_dump_on_sigusr1_has_verdicts_and_a_wait_graph() {
    let running = Running::start("hung");
    thread::sleep(Duration::from_millis(1_100));
    running.signal(libc::SIGUSR1);
    let text = running.read_up_to("end of the dump");
    for expected in [
        "\n    ↳ handler_running: it has no call out; it computes, or waits inside its process",
        "\nWAIT GRAPH",
        "; 1 call has waited 1",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn a_dump_on_sigusr1_says_once_how_to_see_the_peers() {
    let running = Running::start("waiting");
    thread::sleep(Duration::from_millis(1_100));
    running.signal(libc::SIGUSR1);
    let text = running.read_up_to("\npeer unknown: ");
    assert_eq!(text.matches("run roam-trace -p").count(), 1, "{text}");
    assert!(text.matches("; peer unknown").count() > 1, "{text}");
}

#[test]
fn dumps_of_processes_with_one_stderr_can_be_taken_apart() {
    const DUMPS: u64 = 20;
    let (reader, writer) = std::io::pipe().unwrap();
    let processes = [0, 1].map(|_| {
        let mut command = command("many");
        command.stderr(writer.try_clone().unwrap());
        Running::of(command, "many")
    });
    drop(writer);
    let written = lines_of(reader);
    let mut lines = Vec::new();
    for _ in 0..DUMPS {
        for process in &processes {
            process.signal(libc::SIGUSR1);
        }
        let mut whole = 0;
        while whole < processes.len() {
            let line = written.recv_timeout(DEADLINE).unwrap();
            let is_last = |(end, _, _, part, parts)| end == "end" && part == parts;
            whole += usize::from(marker(&line).is_some_and(is_last));
            lines.push(line);
        }
    }
    let dumps = dumps_in(lines);
    let pids = processes.iter().map(|process| process.child.id());
    let expected: BTreeSet<_> = pids
        .flat_map(|pid| (1..=DUMPS).map(move |dump| (pid, dump)))
        .collect();
    assert!(dumps.keys().eq(&expected), "{:?}", dumps.keys());
    for (of, lines) in dumps {
        let rows = lines.iter().filter(|line| line.starts_with("  [req_id="));
        assert_eq!(rows.count() as u64, MANY, "{of:?}: {lines:#?}");
    }
}

/// Signals in a loop, to a process whose standard error is a full pipe and one of whose children ignores the signal.
#[test]
fn sigusr1_slows_no_calls_down() {
    const PHASE: Duration = Duration::from_secs(2);
    const ROUNDS: u32 = 3;
    let mut command = command("calling");
    let mut child = command.spawn().unwrap();
    let _watchdog = Watchdog::of(&child, LIFETIME);
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = move || stdout.next().expect("it goes on").unwrap();
    while !line().contains("ready") {}
    // The most calls of 50 ms, and how often in a row there was none: others use the processors too.
    let mut calls_during = |mut meanwhile: Box<dyn FnMut()>| {
        let (began, mut most, mut none, mut longest) = (Instant::now(), 0, 0, 0);
        while began.elapsed() < PHASE {
            meanwhile();
            let line = line();
            if let Some(calls) = line.strip_prefix("calls=") {
                let calls: u64 = calls.parse().unwrap();
                none = if calls == 0 { none + 1 } else { 0 };
                (most, longest) = (most.max(calls), longest.max(none));
            }
        }
        (most, longest)
    };
    let pid = child.id() as i32;
    // A call that waited for the pipe would wait for a second, every time; other programs slow it down now and then.
    let is_as_fast = |round| {
        let (before, _) = calls_during(Box::new(|| {}));
        let (during, pause) = calls_during(Box::new(move || {
            for _ in 0..50 {
                // SAFETY: the child was started here and has not been waited for.
                assert_eq!(unsafe { libc::kill(pid, libc::SIGUSR1) }, 0);
                thread::sleep(Duration::from_millis(1));
            }
        }));
        println!(
            "round {round}: {before} calls in 50 ms, {during} with signals; none for {pause} times 50 ms"
        );
        pause < 10 && 2 * during > before
    };
    assert!((1..=ROUNDS).any(is_as_fast));
    drop(child.stdin.take());
    let alive = loop {
        let line = line();
        if let Some(alive) = line.strip_prefix("alive=") {
            break alive.to_owned();
        }
    };
    assert_eq!(alive, "true");
    drop(child.stderr.take());
    child.wait().unwrap();
}

#[test]
fn sigusr1_is_forwarded_to_children_that_catch_it() {
    let mut running = Running::start("parent");
    running.signal(libc::SIGUSR1);
    running.close_stdin();
    running.read_up_to("deaf child alive=true, dumps of the other=1");
}
