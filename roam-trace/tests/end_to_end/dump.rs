//! What a dump shows, and whether that is what the demo expects.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use roam_demo::expect::{ExpectedRequest, Ready};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::demo::ReadyDemo;
use crate::patience;
pub(crate) use crate::tracer::{Tracer, wait_for};

/// Rows younger than this may be background traffic.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(1);
/// How far an age may be from the truth.
const AGE_TOLERANCE: Duration = Duration::from_millis(200);

/// How often a check is repeated that a machine with much to do may spoil.
const ATTEMPTS: u32 = 5;

impl Tracer {
    pub(crate) fn finish(self) -> Rows {
        let output = self.output();
        assert!(
            output.status.success(),
            "roam-trace: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Rows(serde_json::from_slice(&output.stdout).unwrap())
    }
}

/// Runs the tracer on host and cells.
pub(crate) fn trace(demo: &ReadyDemo, arguments: &[&str]) -> Rows {
    Tracer::start(&demo.pids(), arguments).finish()
}

/// A dump as JSON.
pub(crate) struct Rows(Value);

impl Rows {
    /// Every expected row is there once and as old as it is, and no other is older than a second.
    pub(crate) fn check(&self, ready: &Ready, source: &str) {
        self.check_with_gaps(ready, source, |is_armed| gaps(source, is_armed));
    }

    /// The same of processes that only probes report the requests of.
    pub(crate) fn check_probes_only(&self, ready: &Ready) {
        let gaps = serde_json::json!([{"gap": "probes_only", "attached": true}]);
        self.check_with_gaps(ready, "both", |_| gaps.clone());
    }

    /// Whether a call is known to be made by the handler of another one.
    pub(crate) fn has_parents(&self) -> bool {
        let mut requests = self.processes().flat_map(|process| {
            let requests = process["requests"].as_array().unwrap();
            requests.iter()
        });
        requests.any(|request| !request["parent"].is_null())
    }

    fn check_with_gaps(&self, ready: &Ready, source: &str, gaps: impl Fn(bool) -> Value) {
        for process in self.processes() {
            let pid = u32::try_from(process["process"]["pid"].as_u64().unwrap()).unwrap();
            let taken_ns = process["taken_ns"].as_u64().unwrap();
            self.check_date(ready, taken_ns);
            let is_armed = process.get("armed_us").is_some();
            assert_eq!(process["gaps"], gaps(is_armed), "{process:#}");
            assert_eq!(process["source"], source, "{process:#}");
            let mut rows: Vec<&Value> = process["requests"].as_array().unwrap().iter().collect();
            for expected in ready.expect.iter().filter(|expected| expected.pid == pid) {
                let index = rows
                    .iter()
                    .position(|row| matches(row, expected, taken_ns))
                    .unwrap_or_else(|| panic!("{expected:#?} is not in {process:#}"));
                rows.remove(index);
            }
            rows.retain(|row| age(row) > BACKGROUND_LIMIT * patience());
            assert!(rows.is_empty(), "nobody expects {rows:#?}");
            self.check_channels(process, pid, ready, source);
        }
    }

    /// The dump's date is that of the moment at which its processes were read, by the demo's own date.
    fn check_date(&self, ready: &Ready, taken_ns: u64) {
        let taken_at: jiff::Timestamp = self.0["taken_at"].as_str().unwrap().parse().unwrap();
        for expected in &ready.expect {
            let age_ms = (taken_ns - expected.since_monotonic_ns) / 1_000_000;
            let read_at_ms = (expected.since_unix_ms + age_ms) as i64;
            let late = taken_at.as_millisecond().abs_diff(read_at_ms);
            assert!(Duration::from_millis(late) <= AGE_TOLERANCE * patience());
        }
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = &Value> {
        self.0["processes"].as_array().unwrap().iter()
    }

    pub(crate) fn graph(&self) -> &Value {
        &self.0["graph"]
    }

    fn check_channels(&self, process: &Value, pid: u32, ready: &Ready, source: &str) {
        for expected in ready
            .expect_channels
            .iter()
            .filter(|expected| expected.pid == pid)
        {
            let channels = process["channels"].as_array().unwrap();
            let direction = serde_json::to_value(expected.direction).unwrap();
            let channel = channels
                .iter()
                .find(|channel| {
                    channel["channel_id"] == expected.channel_id
                        && channel["direction"] == direction
                        && channel["connection_name"] == *expected.connection
                })
                .unwrap_or_else(|| panic!("{expected:#?} is not in {process:#}"));
            assert_eq!(channel["element_type"], *expected.element);
            assert_eq!(channel["request_id"], expected.request_id, "{channel:#}");
            let moved = |what: &str| {
                channel[format!("{what}_sent")].as_u64().unwrap()
                    + channel[format!("{what}_received")].as_u64().unwrap()
            };
            if let Some(items) = expected.items {
                assert_eq!(moved("items"), items, "{channel:#}");
            }
            if let Some(bytes) = expected.payload_bytes {
                assert_eq!(moved("bytes"), bytes, "{channel:#}");
            }
        }
        // Which channel a driver waits for is in its registry alone.
        if source == "probes" {
            return;
        }
        let delivering: Vec<_> = process["connections"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|connection| !connection["delivering"].is_null())
            .map(|connection| {
                (
                    connection["name"].as_str().unwrap(),
                    connection["delivering"]["channel_id"].as_u64().unwrap(),
                )
            })
            .collect();
        let expected: Vec<_> = ready
            .expect_delivering
            .iter()
            .filter(|expected| expected.pid == pid)
            .map(|expected| (expected.connection.as_str(), expected.channel_id))
            .collect();
        assert_eq!(delivering, expected);
    }

    /// Requests that started while the processes were watched.
    pub(crate) fn window_started(&self) -> u64 {
        self.processes()
            .flat_map(|process| process["window"]["connections"].as_array().unwrap())
            .map(|connection| connection["started"].as_u64().unwrap())
            .sum()
    }
}

/// What a dump from that source lacks.
fn gaps(source: &str, is_armed: bool) -> Value {
    match source {
        // They were armed before the processes started.
        _ if is_armed => serde_json::json!([]),
        "probes" => serde_json::json!([
            {"gap": "other", "text": "requests and channels that started before the probes were attached are missing"},
            {"gap": "other", "text": "only the names come from the registry"},
        ]),
        _ => serde_json::json!([]),
    }
}

/// By the moment at which the row's process was read: several are read one after the other.
fn matches(row: &Value, expected: &ExpectedRequest, taken_ns: u64) -> bool {
    let true_age = Duration::from_nanos(taken_ns - expected.since_monotonic_ns);
    row["direction"] == serde_json::to_value(expected.direction).unwrap()
        && row["phase"] == serde_json::to_value(expected.phase).unwrap()
        && row["method"] == *expected.method
        && expected
            .connection
            .as_ref()
            .is_none_or(|name| row["connection_name"] == **name)
        && expected
            .request_id
            .is_none_or(|request_id| row["request_id"] == request_id)
        && age(row).abs_diff(true_age) <= AGE_TOLERANCE * patience()
}

fn age(row: &Value) -> Duration {
    Duration::from_micros(row["age_us"].as_u64().unwrap())
}

/// The text that a process wrote at SIGUSR1.
pub(crate) struct SignalDump(String);

/// Sends SIGUSR1 to a process and waits for its whole dump.
pub(crate) fn signal_dump(demo: &ReadyDemo, pid: u32) -> SignalDump {
    let path: PathBuf = demo.stderr_of(pid);
    let dumps = || dumps_of(pid, &std::fs::read_to_string(&path).unwrap_or_default());
    let before = dumps().len();
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::USR1).unwrap();
    let mut text = None;
    wait_for("a dump", || {
        text = dumps().into_iter().nth(before);
        text.is_some()
    });
    SignalDump(text.unwrap())
}

/// The whole dumps of a process in what several wrote.
fn dumps_of(pid: u32, text: &str) -> Vec<String> {
    let begin = format!("--- roam-dump begin pid={pid} ");
    let (mut dumps, mut dump, mut is_of_process) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        if line.starts_with("--- roam-dump begin ") {
            is_of_process = line.starts_with(&begin) && line.contains(" section=registry ");
        } else if let Some(end) = line.strip_prefix("--- roam-dump end ") {
            let part = end.trim_end_matches(" ---").split("part=").nth(1);
            let (part, parts) = part.and_then(|part| part.split_once('/')).unwrap();
            if is_of_process && part == parts {
                dumps.push(std::mem::take(&mut dump));
            }
        } else if is_of_process {
            dump += line;
            dump.push('\n');
        }
    }
    dumps
}

impl SignalDump {
    /// As [`Rows::check`], for what the text shows.
    pub(crate) fn check_text(&self, ready: &Ready, pid: u32) {
        let in_flight = self.0.split("PENDING RESPONSES").next().unwrap();
        let mut lines: Vec<&str> = in_flight
            .lines()
            .filter(|line| line.starts_with("  [req_id="))
            .flat_map(|line| std::iter::repeat_n(line, folded(line)))
            .collect();
        for expected in ready.expect.iter().filter(|expected| expected.pid == pid) {
            let phase = serde_json::to_value(expected.phase).unwrap();
            let phase = format!("  {}  ", phase.as_str().unwrap().replace('_', " "));
            let index = lines
                .iter()
                .position(|line| {
                    line.split_ascii_whitespace()
                        .any(|word| word == expected.method)
                        && line.contains(&phase)
                })
                .unwrap_or_else(|| panic!("{expected:#?} is not in {}", self.0));
            lines.remove(index);
        }
        lines.retain(|line| seconds(line) > (BACKGROUND_LIMIT * patience()).as_secs_f64());
        assert!(lines.is_empty(), "nobody expects {lines:#?}");
    }
}

/// How many rows a line stands for.
fn folded(line: &str) -> usize {
    line.split_ascii_whitespace()
        .find_map(|word| word.strip_prefix('×')?.parse().ok())
        .unwrap_or(1)
}

/// The age in a line such as `… 45.2s  sent  …`.
fn seconds(line: &str) -> f64 {
    line.split_ascii_whitespace()
        .find_map(|word| word.strip_suffix('s')?.parse().ok())
        .unwrap_or_else(|| panic!("no age in {line}"))
}

/// The bytes at the probe sites of a process, as its memory has them now.
pub(crate) fn site_bytes(pid: u32) -> Vec<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let executable = std::fs::File::open(format!("/proc/{pid}/exe")).unwrap();
    let sites = roam_trace::elf::file_probe_sites(executable).unwrap();
    let base = std::fs::read_to_string(format!("/proc/{pid}/maps"))
        .unwrap()
        .split('-')
        .next()
        .map(|start| u64::from_str_radix(start, 16).unwrap())
        .unwrap();
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    sites
        .iter()
        .map(|site| {
            let mut bytes = vec![0; 11];
            memory
                .read_exact_at(&mut bytes, base + site.address)
                .unwrap();
            bytes
        })
        .collect()
}

/// Repeats a check while it fails. On a machine with much to do a background call may take over a second;
/// it is gone a moment later, whereas a row that is wrong stays.
pub(crate) fn in_the_end<T>(check: impl Fn() -> T) -> T {
    for _ in 1..ATTEMPTS {
        if let Ok(checked) = catch_unwind(AssertUnwindSafe(&check)) {
            return checked;
        }
    }
    check()
}
