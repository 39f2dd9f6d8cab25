//! Processes to look at. What one does is a line in its environment; it says when it is ready and ends
//! when its stdin closes.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use roam_diagnostic::registry::{
    self, Channel, ChannelDirection, ChannelOpen, ChannelSide, Connection, ConnectionOpen,
    ConnectionState, Direction, Outcome, Phase, Request, RequestKind, RequestStart, Role,
};

mod region;

const VARIABLE: &str = "ROAM_TRACE_FIXTURE";

/// A process that was started for a test; it ends with this value.
pub(crate) struct Fixture {
    child: Child,
    /// What it said when it was ready.
    pub(crate) answer: String,
}

impl Fixture {
    /// Starts a process that does `task`, one of those in [`run_if_asked`].
    pub(crate) fn start(task: &str) -> Self {
        Self::start_by(Command::new(std::env::current_exe().unwrap()), task)
    }

    /// Starts a process by a command that ends with this binary.
    pub(crate) fn start_by(mut command: Command, task: &str) -> Self {
        command.args(["--exact", "fixture_process", "--nocapture"]);
        let mut child = command
            .env(VARIABLE, task)
            .env("ROAM_DIAGNOSTIC_REQUESTS", "32768")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let answer = lines
            .find_map(|line| {
                let line = line.unwrap();
                let (_, answer) = line.split_once("ready ")?;
                Some(answer.to_owned())
            })
            .expect("the fixture ended early");
        Self { child, answer }
    }

    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// The pid of the process that the command started in turn.
    pub(crate) fn inner_pid(&self) -> String {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children.unwrap().trim().to_owned()
    }

    /// Ends the process, but does not collect it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        let path = format!("/proc/{}/stat", self.child.id());
        crate::run::wait_until("the fixture is a zombie", || {
            std::fs::read_to_string(&path).unwrap().contains(") Z ")
        });
    }

    /// Ends the process for good.
    pub(crate) fn kill_and_collect(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does what the environment asks for, and never returns then.
pub(crate) fn run_if_asked() {
    let Ok(task) = std::env::var(VARIABLE) else {
        return;
    };
    let mut words = task.split(' ');
    let task = words.next().unwrap();
    let argument = words.next();
    let mut answer = String::new();
    std::fs::write("/proc/self/comm", "fixture").unwrap();
    match task {
        "idle" => {}
        "hang" => hang("cell-http"),
        "escapes" => hang("\u{1b}[31mred\u{7}\n\u{202e}) \"x\""),
        "requests" => requests(argument.unwrap().parse().unwrap()),
        "busy" => busy(),
        "comm" => {
            hang("cell-http");
            std::fs::write("/proc/self/comm", b"a) \n\x1b[31m (\xff").unwrap();
        }
        "region" => region::publish(&region::content(argument.unwrap())),
        "two" => {
            hang("cell-http");
            region::publish(&region::own());
        }
        "closed" => {
            hang("cell-http");
            region::close();
        }
        "fork" => {
            hang("cell-http");
            answer = fork().to_string();
        }
        _ => panic!("no such task: {task}"),
    }
    println!("\nready {answer}");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    std::process::exit(0);
}

fn open(name: &str) -> Connection {
    Connection::open(&ConnectionOpen {
        link: Connection::NONE,
        conn_id: 0,
        group: Connection::NONE,
        role: Role::Initiator,
        state: ConnectionState::Open,
        observes_writes: true,
        name,
    })
}

fn start(
    connection: Connection,
    direction: Direction,
    phase: Phase,
    request_id: u64,
    method_id: u64,
) -> Request {
    Request::start(&RequestStart {
        connection,
        parent: Request::NONE,
        request_id,
        method_id,
        direction,
        phase,
        kind: RequestKind::Call,
        payload_bytes: 10,
        arguments: None,
    })
}

/// One call each way and a channel.
fn hang(name: &str) {
    registry::register_method(0x5eed, "TcpTunnel.open");
    let connection = open(name);
    let request = start(connection, Direction::Outgoing, Phase::Queued, 93, 0x5eed);
    request.advance(Phase::HandedOver);
    request.advance(Phase::Sent);
    start(connection, Direction::Incoming, Phase::Received, 7, 0xbad).advance(Phase::Running);
    let type_index = registry::register_type(1, || "Vec<u8>".to_owned());
    Channel::open(&ChannelOpen {
        connection,
        channel_id: 370,
        request,
        direction: ChannelDirection::Tx,
        side: ChannelSide::Client,
        type_index,
        receive_budget_bytes: u64::MAX,
    })
    .sent(1_200_000);
    Channel::NONE.close();
}

/// Many calls in flight.
fn requests(count: u64) {
    registry::register_method(0x5eed, "TcpTunnel.open");
    let connection = open("cell-http");
    for request_id in 0..count {
        start(
            connection,
            Direction::Outgoing,
            Phase::Sent,
            request_id,
            0x5eed,
        );
    }
}

/// One call that hangs, and from now on calls that end, but for every tenth of them.
fn busy() {
    hang("cell-http");
    let connection = open("cell-busy");
    let closed = open("cell-closed");
    closed.close();
    closed.release();
    let mut request_id = 1_000;
    let mut call = move || {
        request_id += 1;
        let request = start(
            connection,
            Direction::Outgoing,
            Phase::Queued,
            request_id,
            0x5eed,
        );
        request.advance(Phase::Sent);
        if request_id % 10 != 0 {
            request.end(Outcome::Ok);
        }
    };
    call();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(2));
            call();
        }
    });
}

/// A child that runs on without exec until its parent ends.
fn fork() -> i32 {
    // SAFETY: the child only calls functions that are safe after a fork.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            loop {
                libc::pause();
            }
        }
        child
    }
}
