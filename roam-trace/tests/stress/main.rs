//! Eight threads write a registry as fast as they can while this process reads it from outside, and no
//! read returns a row that was never written: what a row should hold follows from its id.
//!
//! One second, or as many as `ROAM_TRACE_STRESS_SECONDS` says.

mod content;
#[path = "../../../testing/watchdog.rs"]
mod watchdog;
mod writer;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use content::{Kind, LASTING, THREADS, counter, thread};
use roam_dump::read::{Budget, Image};
use roam_trace::process::Target;
use roam_trace_common::Serial;
use roam_trace_common::registry::{ChannelRecord, ConnectionRecord, RequestRecord, Table};
use watchdog::Watchdog;

const SECONDS: &str = "ROAM_TRACE_STRESS_SECONDS";
/// How much longer than asked for a busy machine may take until every thread was seen at work.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than anybody has it run.
const LIFETIME: Duration = Duration::from_secs(3_600);

#[test]
#[ignore = "the other test runs it as a process of its own"]
fn writer_process() {
    if std::env::var_os(writer::ROLE).is_some() {
        writer::run();
    }
}

#[test]
fn no_read_returns_a_row_that_was_never_written() {
    let seconds = std::env::var(SECONDS).map_or(1, |seconds| seconds.parse().unwrap());
    let mut writer = Writer::start();
    let target = Target::find(writer.process.id()).unwrap();
    let mut reader = Reader::default();
    let started = Instant::now();
    let asked_for = Duration::from_secs(seconds);
    while started.elapsed() < asked_for || !reader.saw_everybody() {
        assert!(started.elapsed() < asked_for + PATIENCE, "{reader:?}");
        reader.check(&read(&target));
    }

    // The threads have ended: what they left behind is what they say.
    let quiet = writer.ask("stop");
    let [started, ended, lost, counters @ ..] = &quiet[..] else {
        panic!("{quiet:?}");
    };
    assert_eq!(started, ended, "every request ends exactly once");
    for (thread, counter) in counters.iter().enumerate() {
        let seen = reader.last.iter().filter(|((_, of), _)| *of == thread);
        for ((kind, _), last) in seen {
            assert!(last <= counter, "{kind:?} {last} of thread {thread}");
        }
    }
    let image = read(&target);
    reader.check(&image);
    assert_eq!((image.requests.len(), image.channels.len()), (0, 0));
    assert_eq!(image.connections.len(), THREADS * LASTING);
    assert_eq!(image.lost(Table::Requests), *lost);

    // No slot was lost, and none is free twice.
    let slots = writer.ask("fill");
    assert_eq!(slots, [writer::REQUESTS; 2]);
    println!(
        "{started} requests; {} reads, {} rows, {} of them torn",
        reader.reads, reader.rows, reader.torn
    );
}

fn read(target: &Target) -> Image {
    let mut reading = target.read(Budget::default()).unwrap();
    assert!(reading.errors.is_empty(), "{:?}", reading.errors);
    assert_eq!(reading.images.len(), 1);
    reading.images.remove(0)
}

/// The process that writes.
struct Writer {
    _watchdog: Watchdog,
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Writer {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_process", "--ignored", "--nocapture"])
            .env(writer::ROLE, "1")
            .env("ROAM_DIAGNOSTIC_REQUESTS", writer::REQUESTS.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut writer = Self {
            _watchdog: Watchdog::of(&process, LIFETIME),
            questions: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
        };
        assert!(writer.answer().is_empty());
        writer
    }

    fn ask(&mut self, question: &str) -> Vec<u64> {
        writeln!(self.questions, "{question}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Vec<u64> {
        let mut line = String::new();
        loop {
            line.clear();
            let bytes = self.answers.read_line(&mut line).unwrap();
            assert_ne!(bytes, 0, "the writer ended early");
            if let Some((_, numbers)) = line.split_once(writer::ANSWER) {
                let numbers = numbers.split_ascii_whitespace();
                return numbers.map(|number| number.parse().unwrap()).collect();
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What was read so far.
#[derive(Debug, Default)]
struct Reader {
    reads: u64,
    rows: u64,
    torn: u64,
    /// The last row seen of each thread, by what it is of.
    last: HashMap<(Kind, usize), u64>,
    /// The last generation seen in each slot: time goes forward.
    generations: HashMap<(Kind, u32), u64>,
}

impl Reader {
    fn saw_everybody(&self) -> bool {
        self.last.len() == 3 * THREADS
    }

    fn check(&mut self, image: &Image) {
        self.reads += 1;
        self.torn += image.torn;
        assert_eq!(image.invalid, 0);
        let types: Vec<_> = content::TYPES.iter().map(|name| name.as_bytes()).collect();
        assert!(types.starts_with(&image.types.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        for row in image.connections.values() {
            self.check_connection(row);
        }
        for row in &image.requests {
            let arguments = image.arguments.get(&row.serial).map(Vec::as_slice);
            self.check_request(row, arguments, image);
        }
        for row in &image.channels {
            self.check_channel(row, image);
        }
    }

    /// A row of `kind` with the id that its thread gave it.
    fn see(&mut self, kind: Kind, serial: u64, id: u64) {
        self.rows += 1;
        assert!(thread(id) < THREADS, "{kind:?} {id:#x}");
        let last = self.last.entry((kind, thread(id))).or_default();
        *last = counter(id).max(*last);
        let serial = Serial(serial);
        let generation = self.generations.entry((kind, serial.slot())).or_default();
        assert!(
            *generation <= serial.generation(),
            "{kind:?} {serial:?} is of the past"
        );
        *generation = serial.generation();
    }

    fn check_connection(&mut self, row: &ConnectionRecord) {
        let id = row.conn_id;
        self.see(Kind::Connection, row.serial, id);
        assert_eq!((row.link, row.group), (row.serial, 0), "{id:#x}");
        assert_eq!(row.role, content::role(id).code());
        assert_eq!(row.flags, u32::from(content::observes_writes(id)));
        assert!(row.opened_ns != 0 && row.opened_ns <= row.state_ns);
        let name = std::str::from_utf8(&row.name[..row.name_bytes as usize]).unwrap();
        let mut names = (0..=content::RENAMES).map(|version| content::name(id, version));
        assert!(
            names.any(|written| written == name),
            "{id:#x} is called {name:?}"
        );
    }

    fn check_request(&mut self, row: &RequestRecord, arguments: Option<&[u8]>, image: &Image) {
        let id = row.request_id;
        self.see(Kind::Request, row.serial, id);
        check_home(image, row.connection, id);
        if let Err(problem) = content::check_request(row, arguments) {
            panic!("request {id:#x}: {problem}: {row:?}");
        }
    }

    fn check_channel(&mut self, row: &ChannelRecord, image: &Image) {
        let id = row.channel_id;
        self.see(Kind::Channel, row.serial, id);
        check_home(image, row.connection, id);
        if let Err(problem) = content::check_channel(row) {
            panic!("channel {id:#x}: {problem}: {row:?}");
        }
    }
}

/// The connection that a row names is the one that its thread used for it, and it is open.
fn check_home(image: &Image, connection: u64, id: u64) {
    let home = image.connections.get(&connection);
    let home = home.unwrap_or_else(|| panic!("{id:#x} is of a connection that is none"));
    assert_eq!(home.conn_id, content::home(id), "{id:#x}");
}
