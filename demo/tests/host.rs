//! Starts real demos and asks witnesses that are not the demo whether what it
//! says is so: what roam's transport printed of every message, and `/proc`.

#[path = "../../testing/watchdog.rs"]
mod watchdog;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use roam_demo::expect::{Direction, ExpectedRequest, Phase, Ready, Restarted};
use roam_demo::log::{self, Event, Line};
use roam_demo::service::method;
use tempfile::TempDir;
use watchdog::Watchdog;

use Direction::{Incoming, Outgoing};
use Phase::{HandedOver, Responding, Running, Sent};

const DEADLINE: Duration = Duration::from_secs(20);
/// Longer than any test needs a demo.
const LIFETIME: Duration = Duration::from_secs(300);

const HOST: usize = 0;
const CELL_1: usize = 1;
const CELL_2: usize = 2;

struct Demo {
    _watchdog: Watchdog,
    host: Child,
    output: BufReader<ChildStdout>,
    ready: Ready,
    dir: TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let stderr = fs::File::create(stderr_path(dir.path(), HOST)).expect("file for stderr");
        let mut host = Command::new(env!("CARGO_BIN_EXE_roam-demo"))
            .arg("host")
            .args(arguments)
            .arg("--log")
            .arg(dir.path().join("log"))
            .arg("--cell-stderr")
            .arg(dir.path().join("stderr"))
            .env("ROAM_WIRE_SPY", "1")
            .env("TMPDIR", dir.path())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the demo starts");
        let watchdog = Watchdog::of(&host, LIFETIME);
        let mut line = String::new();
        let mut output = BufReader::new(host.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("a line");
        let ready = serde_json::from_str(&line).unwrap_or_else(|error| {
            let stderr = fs::read_to_string(stderr_path(dir.path(), HOST)).unwrap_or_default();
            panic!("{error} in {line:?}\n{stderr}")
        });
        Self {
            _watchdog: watchdog,
            host,
            output,
            ready,
            dir,
        }
    }

    /// Process ids, the host first.
    fn pids(&self) -> Vec<u32> {
        let cells = self.ready.cells.iter().copied();
        [self.ready.host].into_iter().chain(cells).collect()
    }

    fn signal(&self, name: &str) {
        let pid = self.host.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits until every process is gone, and says how the host ended.
    fn gone(&mut self) -> ExitStatus {
        let status = self.host.wait().expect("the host ends");
        for pid in self.pids() {
            wait_until(&format!("process {pid} is gone"), || !is_running(pid));
        }
        status
    }

    fn log(&self, pid: u32) -> Vec<Line> {
        let path = log::path(&self.dir.path().join("log"), pid);
        let text = fs::read_to_string(path).expect("a log");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a whole line"))
            .collect()
    }

    /// Requests that roam's transport saw no response to, in one process.
    fn unanswered(&self, process: usize) -> Unanswered {
        let text = fs::read_to_string(stderr_path(self.dir.path(), process)).expect("stderr");
        Unanswered::read(&text)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // A demo that is left behind by a failed test must not stay.
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}

fn stderr_path(dir: &Path, process: usize) -> PathBuf {
    dir.join(format!("stderr.{process}"))
}

/// What `ROAM_WIRE_SPY` printed and never took back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unanswered {
    /// Request ids that were written, and how often.
    outgoing: BTreeMap<u64, u32>,
    /// Request ids that were read.
    incoming: BTreeMap<u64, u32>,
}

impl Unanswered {
    fn read(spied: &str) -> Self {
        let mut unanswered = Self::default();
        for line in spied.lines() {
            let Some((direction, message)) = line
                .strip_prefix("[WIRE] ")
                .and_then(|line| line.split_once(' '))
            else {
                continue;
            };
            let request = message.starts_with("Request {");
            if !request && !message.starts_with("Response {") {
                continue;
            }
            let id = message
                .split_once("request_id: ")
                .and_then(|(_, rest)| rest.split_once(','))
                .and_then(|(id, _)| id.parse().ok())
                .expect("a message with an id");
            let open = if (direction == "-->") == request {
                &mut unanswered.outgoing
            } else {
                &mut unanswered.incoming
            };
            if request {
                *open.entry(id).or_default() += 1;
            } else {
                open.remove(&id).expect("an answer to a request");
            }
        }
        unanswered
    }
}

fn is_running(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        // Reparented to a process that does not reap it, it is as gone as it will be.
        Ok(stat) => !stat
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z")),
        Err(_) => false,
    }
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A row as a test names it: which process, and where the request stays.
type Row = (usize, Direction, &'static str, Phase);

/// Starts a demo without traffic that gets stuck, compares what it expects with `rows` and with
/// the wire, and ends it.
fn check(kind: &str, rows: &[Row]) -> Ready {
    let mut demo = Demo::start(&["--rate", "0", "--hang", kind]);
    let pids = demo.pids();
    let expected: Vec<(usize, Direction, &str, Phase)> = demo
        .ready
        .expect
        .iter()
        .map(|request| {
            let process = pids.iter().position(|&pid| pid == request.pid);
            let process = process.expect("a process of this demo");
            (
                process,
                request.direction,
                request.method.as_str(),
                request.phase,
            )
        })
        .collect();
    assert_eq!(expected, rows);

    for (process, &pid) in pids.iter().enumerate() {
        let rows = |direction, phases: &[Phase]| -> Vec<&ExpectedRequest> {
            let here = demo
                .ready
                .expect
                .iter()
                .filter(|request| request.pid == pid);
            here.filter(|request| request.direction == direction && phases.contains(&request.phase))
                .collect()
        };
        let unanswered = demo.unanswered(process);
        let dropped = if kind == "dropped" && process == HOST {
            3
        } else {
            0
        };
        compare(&unanswered.outgoing, &rows(Outgoing, &[Sent]), dropped);
        compare(
            &unanswered.incoming,
            &rows(Incoming, &[Running, Responding]),
            0,
        );
    }

    demo.signal("TERM");
    assert!(demo.gone().success());
    demo.ready.clone()
}

/// The wire has every row and `others` besides; ids agree where the demo knows them.
fn compare(wire: &BTreeMap<u64, u32>, rows: &[&ExpectedRequest], others: usize) {
    let count: u32 = wire.values().sum();
    assert_eq!(count as usize, rows.len() + others, "{wire:?} and {rows:?}");
    for id in rows.iter().filter_map(|row| row.request_id) {
        assert!(wire.contains_key(&id), "{id} in {wire:?}");
    }
}

#[test]
fn handler_never_answers() {
    let ready = check(
        "handler",
        &[
            (HOST, Outgoing, method::OPEN, Sent),
            (CELL_1, Incoming, method::OPEN, Running),
        ],
    );
    let channels: BTreeSet<_> = ready
        .expect_channels
        .iter()
        .map(|channel| (channel.pid, channel.channel_id, channel.items))
        .collect();
    assert_eq!(channels.len(), 4, "both ends of two channels: {channels:?}");
    assert!(channels.iter().all(|&(_, _, items)| items == Some(5)));
}

#[test]
fn chain_of_two_cells() {
    check(
        "chain",
        &[
            (HOST, Outgoing, method::COMPILE, Sent),
            (CELL_1, Incoming, method::COMPILE, Running),
            (CELL_1, Outgoing, method::CONVERT, Sent),
            (CELL_2, Incoming, method::CONVERT, Running),
        ],
    );
}

#[test]
fn reader_blocks_its_link() {
    let ready = check(
        "reader",
        &[
            (HOST, Outgoing, method::UPLOAD, Sent),
            (CELL_1, Incoming, method::UPLOAD, Running),
            (HOST, Outgoing, method::COMPILE, Sent),
            (CELL_1, Incoming, method::COMPILE, Responding),
            (HOST, Outgoing, method::FIND_CONTENT, Sent),
            (CELL_1, Outgoing, method::RESOLVE, HandedOver),
        ],
    );
    let [delivery] = ready.expect_delivering.as_slice() else {
        panic!("one driver is blocked: {:?}", ready.expect_delivering);
    };
    assert_eq!(delivery.pid, ready.cells[0]);
}

#[test]
fn dropped_callers_leave_handlers() {
    check(
        "dropped",
        &[(CELL_1, Incoming, method::CONVERT, Running); 3],
    );
}

#[test]
fn forwarded_call_has_both_legs() {
    check(
        "forward",
        &[
            (HOST, Outgoing, method::FETCH, Sent),
            (CELL_1, Incoming, method::FETCH, Running),
            (CELL_1, Outgoing, method::FETCH, Sent),
            (CELL_2, Incoming, method::FETCH, Running),
        ],
    );
}

#[test]
fn traffic_goes_on_around_a_hang() {
    let mut demo = Demo::start(&["--rate", "100", "--hang", "handler"]);
    let host = demo.ready.host;
    let stuck_at = demo.ready.expect[0].since_monotonic_ns;
    let answered_since = |outcome| {
        let lines = demo.log(host);
        let after = lines.iter().filter(|line| line.monotonic_ns > stuck_at);
        after.filter(|line| line.event == outcome).count()
    };
    wait_until("20 calls were answered after the hang", || {
        answered_since(Event::Ok) > 20 && answered_since(Event::UserError) > 0
    });

    demo.signal("INT");
    assert!(demo.gone().success());
    let logs: Vec<_> = demo
        .pids()
        .into_iter()
        .flat_map(|pid| demo.log(pid))
        .collect();
    let tags = |direction| -> BTreeSet<_> {
        let starts = logs.iter().filter(|line| line.event == Event::Start);
        starts
            .filter(|line| line.direction == direction)
            .map(|line| line.tag)
            .collect()
    };
    let (called, handled) = (tags(Outgoing), tags(Incoming));
    assert!(handled.is_subset(&called));
    // Each link may end with a few calls on their way.
    assert!(
        called.len() - handled.len() <= 64,
        "{} were lost",
        called.len() - handled.len()
    );
}

#[test]
fn hang_comes_when_told() {
    let started = Instant::now();
    let demo = Demo::start(&["--hang", "dropped", "--hang-after", "700ms"]);
    assert!(started.elapsed() > Duration::from_millis(700));
    assert_eq!(demo.ready.expect.len(), 3);
}

#[test]
fn flood_stays_in_flight() {
    let mut demo = Demo::start(&["--rate", "0", "--flood", "1001"]);
    let flood = demo.ready.flood.clone().expect("a flood");
    assert_eq!(
        (flood.calls, &*flood.calls_per_cell),
        (1001, [501, 500].as_slice())
    );
    let outgoing: u32 = demo.unanswered(HOST).outgoing.values().sum();
    assert_eq!(outgoing, 1001);
    assert_eq!(demo.unanswered(CELL_1).incoming.len(), 501);
    assert_eq!(demo.unanswered(CELL_2).incoming.len(), 500);
    demo.signal("TERM");
    assert!(demo.gone().success());
}

#[test]
fn blocked_workers_keep_neither_dump_nor_end_from_coming() {
    let mut demo = Demo::start(&["--hang", "handler", "--workers", "3", "--block-workers"]);
    let waits_in = || -> Vec<_> {
        let threads = fs::read_dir(format!("/proc/{}/task", demo.ready.host)).expect("threads");
        let threads = threads.map(|thread| thread.expect("a thread").path());
        let read = |thread: &Path, file| fs::read_to_string(thread.join(file)).expect("a line");
        threads
            .filter(|thread| read(thread, "comm") == "demo-worker\n")
            .map(|thread| read(&thread, "wchan"))
            .collect()
    };
    wait_until("every worker sleeps", || {
        waits_in() == ["hrtimer_nanosleep"; 3]
    });

    demo.signal("USR1");
    for process in [HOST, CELL_1, CELL_2] {
        wait_until(&format!("process {process} dumped"), || {
            let stderr = fs::read_to_string(stderr_path(demo.dir.path(), process));
            // On the published session there is nothing that could be recorded.
            stderr.expect("stderr").contains("RPC DIAGNOSTIC DUMP")
        });
    }

    demo.signal("TERM");
    assert!(demo.gone().success());
}

#[test]
fn processes_are_named() {
    let demo = Demo::start(&["--cells", "3"]);
    let names: Vec<_> = demo
        .pids()
        .into_iter()
        .map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).expect("a name"))
        .collect();
    let expected = [
        "demo-host\n",
        "demo-cell-1\n",
        "demo-cell-2\n",
        "demo-cell-3\n",
    ];
    assert_eq!(names, expected);
}

#[test]
fn killed_host_takes_its_cells_along_and_leaves_no_socket() {
    let mut demo = Demo::start(&["--hang", "chain"]);
    demo.signal("KILL");
    assert!(!demo.gone().success());
    let left = fs::read_dir(demo.dir.path()).expect("the directory for temporary files");
    let sockets = left
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().starts_with("roam-demo-"))
        .count();
    assert_eq!(sockets, 0);
}

#[test]
fn chain_needs_two_cells() {
    let output = Command::new(env!("CARGO_BIN_EXE_roam-demo"))
        .args(["host", "--cells", "1", "--hang", "chain"])
        .output()
        .expect("the demo starts");
    assert!(!output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "roam-demo: this hang needs --cells 2 or more\n"
    );
}

#[test]
fn a_cell_that_ends_is_started_anew() {
    let mut demo = Demo::start(&["--cells", "2", "--restart"]);
    for _ in 0..2 {
        let ended = demo.ready.cells[1];
        let pid = ended.to_string();
        let status = Command::new("kill").args(["-s", "KILL", &pid]).status();
        assert!(status.expect("kill runs").success());
        let mut line = String::new();
        demo.output.read_line(&mut line).expect("a line");
        let restarted: Restarted = serde_json::from_str(&line).expect("a restart");
        assert_eq!(restarted.ended, ended);
        // Reaped, not left behind.
        wait_until("the cell is gone", || !is_running(ended));
        demo.ready.cells[1] = restarted.pid;
        wait_until("the new cell answers calls", || {
            let log = demo.log(restarted.pid);
            log.iter().any(|line| line.event == Event::Ok)
        });
    }
    demo.signal("TERM");
    assert!(demo.gone().success());
}
