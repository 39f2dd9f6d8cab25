//! The processes that the tests start: this test binary again, with its role in an
//! environment variable. They take commands, a line each, on their
//! standard input and answer each with a line.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use roam_diagnostic::probe;
use roam_diagnostic::registry::{
    Connection, Direction, Mark, Outcome, Phase, Request, RequestKind, RequestStart,
};
use roam_trace::attach::{Options, ProbedFile, ProbedProcess, Tracer};
use roam_trace::elf;

const ROLE: &str = "ROAM_TRACE_TEST_ROLE";
const DEADLINE: Duration = Duration::from_secs(20);

/// What distinguishes answers from what the test harness prints.
const ANSWER: &str = "@ ";

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Fires probes.
    Target,
    /// Attaches to another process.
    Tracer,
}

/// A running process, ended when it is dropped.
pub(crate) struct Process {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
}

impl Process {
    /// Starts a process and waits until it takes commands.
    pub(crate) fn start(role: Role) -> Self {
        Self::start_by(own_command(role))
    }

    /// Starts a target with this value of `ROAM_DIAGNOSTIC`.
    pub(crate) fn start_with(value: &str) -> Self {
        let mut command = own_command(Role::Target);
        command.env("ROAM_DIAGNOSTIC", value);
        Self::start_by(command)
    }

    fn start_by(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, answer)) = line.split_once(ANSWER) {
                    let _ = sender.send(answer.to_owned());
                }
            }
        });
        let process = Self {
            child,
            commands,
            answers,
        };
        assert_eq!(process.answer(), "ready");
        process
    }

    pub(crate) fn tgid(&self) -> u32 {
        self.child.id()
    }

    /// As the tracer takes it.
    pub(crate) fn target(&self) -> ProbedProcess {
        target(self.tgid())
    }

    /// Has a command done and returns its answer.
    pub(crate) fn command(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").unwrap();
        self.answer()
    }

    fn answer(&self) -> String {
        self.answers.recv_timeout(DEADLINE).unwrap()
    }

    /// Fires a probe.
    pub(crate) fn fire<const N: usize>(&mut self, probe: &str, arguments: [u64; N]) {
        let arguments = arguments.map(|argument| argument.to_string()).join(" ");
        assert_eq!(self.command(&format!("fire {probe} {arguments}")), "fired");
    }

    /// Ends the process's first thread and waits until it is gone; the others go on.
    pub(crate) fn exit_leader(&mut self) {
        self.command("exit_leader");
        let status = format!("/proc/{0}/task/{0}/status", self.tgid());
        wait_until("the first thread is gone", || {
            fs::read_to_string(&status).unwrap().contains("State:\tZ")
        });
    }

    /// Has the process exit by itself.
    pub(crate) fn exit(&mut self) {
        writeln!(self.commands, "exit").unwrap();
        wait_until("it has ended", || self.child.try_wait().unwrap().is_some());
    }

    /// Ends it without a chance to clean up.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The byte in the process's memory where a probe is.
    pub(crate) fn byte_at(&self, probe: &str) -> u8 {
        let sites = &self.target().files[0].sites;
        let site = sites.iter().find(|site| site.name == probe).unwrap();
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.tgid())).unwrap();
        let address = maps
            .lines()
            .filter(|line| line.contains(" r-xp "))
            .find_map(|line| {
                let mut fields = line.split_whitespace();
                let (start, end) = fields.next()?.split_once('-')?;
                let hex = |text| u64::from_str_radix(text, 16).unwrap();
                let (start, end, offset) = (hex(start), hex(end), hex(fields.nth(1)?));
                let address = start + site.file_offset.checked_sub(offset)?;
                (address < end).then_some(address)
            })
            .unwrap();
        let memory = File::open(format!("/proc/{}/mem", self.tgid())).unwrap();
        let mut byte = [0];
        memory.read_exact_at(&mut byte, address).unwrap();
        byte[0]
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a condition, and fails the test when it does not come.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn target(tgid: u32) -> ProbedProcess {
    let path = PathBuf::from(format!("/proc/{tgid}/exe"));
    let sites = elf::file_probe_sites(File::open(&path).unwrap()).unwrap();
    ProbedProcess {
        tgid,
        files: vec![ProbedFile { path, sites }],
    }
}

fn own_command(role: Role) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--exact", "process_under_test", "--ignored", "--nocapture"])
        .env(ROLE, format!("{role:?}"));
    command
}

/// What a started process does; nothing without a role.
pub(crate) fn run_role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    answer("ready");
    let mut tracer = None;
    for line in io::stdin().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |index: usize| words[index].parse::<u64>().unwrap();
        match words[0] {
            "fire" => {
                let mut arguments = [0; 7];
                for (argument, word) in arguments.iter_mut().zip(&words[2..]) {
                    *argument = word.parse().unwrap();
                }
                fire(words[1], arguments);
                answer("fired");
            }
            "start" => {
                for serial in 1..=number(1) {
                    probe::request_start(serial, 7, serial, 1, 0, 0, 0);
                }
                answer("started");
            }
            "report" => {
                report();
                answer("reported");
            }
            "burst" => answer(&burst(number(1), number(2)).as_nanos().to_string()),
            "thread" => {
                thread::spawn(|| {}).join().unwrap();
                answer("joined");
            }
            "exit_leader" => {
                exit_leader();
                answer("leaving");
            }
            "exec" => {
                let role = if role == "Target" {
                    Role::Target
                } else {
                    Role::Tracer
                };
                let error = own_command(role).exec();
                panic!("{error}");
            }
            "attach" => {
                tracer = Some(Tracer::attach(
                    &[target(number(1) as u32)],
                    Options::default(),
                ));
                assert!(tracer.as_ref().is_some_and(Result::is_ok));
                answer("attached");
            }
            "exit" => std::process::exit(0),
            other => panic!("{other}"),
        }
    }
    drop(tracer);
}

fn answer(answer: &str) {
    let mut output = io::stdout().lock();
    writeln!(output, "{ANSWER}{answer}").unwrap();
    output.flush().unwrap();
}

fn fire(probe: &str, [a, b, c, d, e, f, g]: [u64; 7]) {
    match probe {
        "request_start" => probe::request_start(a, b, c, d, e, f, g),
        "request_phase" => probe::request_phase(a, b, c, d),
        "request_end" => probe::request_end(a, b, c),
        "channel_open" => probe::channel_open(a, b, c, d, e, f),
        "channel_data" => probe::channel_data(a, b, c, d),
        "channel_close" => probe::channel_close(a),
        "connection_open" => probe::connection_open(a, b, c, d),
        "connection_close" => probe::connection_close(a),
        other => panic!("{other}"),
    }
}

/// Reports requests that get as far as they can, each in another way; the last ones end.
fn report() {
    let start = |request_id, direction, parent| {
        Request::start(&RequestStart {
            connection: Connection::NONE,
            request_id,
            method_id: 0xabcd,
            direction,
            phase: match direction {
                Direction::Outgoing => Phase::Queued,
                Direction::Incoming => Phase::Received,
            },
            kind: RequestKind::Call,
            payload_bytes: request_id + 100,
            arguments: None,
            parent,
        })
    };
    let handler = start(1, Direction::Incoming, Request::NONE);
    handler.advance(Phase::Running);
    handler.mark(Mark::Orphaned);
    let call = start(2, Direction::Outgoing, handler);
    call.advance(Phase::Sent);
    call.advance(Phase::HandedOver);
    let responded = start(3, Direction::Outgoing, handler);
    responded.mark(Mark::EndedWithoutAnswer);
    responded.respond(Phase::Responded, Outcome::UserError, 5_000_000_000);
    responded.advance(Phase::Sent);
    let ended = start(4, Direction::Outgoing, Request::NONE);
    ended.respond(Phase::Responded, Outcome::Ok, 7);
    assert!(ended.end_as_responded(Outcome::Dropped));
    assert!(!ended.end(Outcome::Ok));
    ended.advance(Phase::Responded);
}

/// Starts and ends requests on several threads at once.
fn burst(threads: u64, pairs: u64) -> Duration {
    let before = Instant::now();
    thread::scope(|scope| {
        for thread in 1..=threads {
            scope.spawn(move || {
                for pair in 0..pairs {
                    let serial = thread << 32 | pair;
                    probe::request_start(serial, 7, pair, 1, 0, 0, 0);
                    probe::request_end(serial, 1, 0);
                }
            });
        }
    });
    before.elapsed()
}

/// Has the first thread, which the test harness keeps waiting, leave the process.
fn exit_leader() {
    extern "C" fn leave(_: libc::c_int) {
        // SAFETY: Ends this thread only, which waits for the others and owns nothing.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    let handler: extern "C" fn(libc::c_int) = leave;
    // SAFETY: The handler makes one system call; the first thread's id is the process's.
    unsafe {
        libc::signal(libc::SIGUSR2, handler as libc::sighandler_t);
        let pid = libc::getpid();
        libc::syscall(libc::SYS_tgkill, pid, pid, libc::SIGUSR2);
    }
}
