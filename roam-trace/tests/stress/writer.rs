//! The process whose registry is read: eight threads that report as fast as they can, end each other's
//! requests, and report late.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use roam_diagnostic::registry::{
    Channel, ChannelDirection, ChannelOpen, Connection, ConnectionOpen, ConnectionState, Outcome,
    Phase, Request, RequestStart, now_ns, register_type,
};

use crate::content::{self, ITEMS, LASTING, RENAMES, THREADS, TYPES, id, mix};

/// Tells this binary to write.
pub(crate) const ROLE: &str = "ROAM_TRACE_STRESS_WRITER";
/// What stands before an answer.
pub(crate) const ANSWER: &str = "answer:";
/// Room for requests: enough for all that are in flight at once, and little, so that slots are used again at
/// once.
pub(crate) const REQUESTS: u64 = 200;
/// Requests that one thread has in flight at the most.
const IN_FLIGHT: usize = 16;
/// Requests that wait for another thread at the most.
const QUEUE: usize = 4;

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    started: AtomicU64,
    ended: AtomicU64,
    lost: AtomicU64,
}

/// Writes until it is asked to stop, then answers with what it did: requests started, ended and lost, and
/// the last counter of every thread. Then fills the table, and answers with how many it took and how
/// many slots those have.
pub(crate) fn run() {
    for (key, name) in TYPES.into_iter().enumerate() {
        register_type(key, || name.to_owned());
    }
    let tally = Tally::default();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| sync_channel(QUEUE)).unzip();
    let mut questions = std::io::stdin().lines();
    let counters: Vec<u64> = thread::scope(|scope| {
        let threads: Vec<_> = receivers
            .into_iter()
            .enumerate()
            .map(|(number, inbox)| {
                let (tally, next) = (&tally, senders[(number + 1) % THREADS].clone());
                scope.spawn(move || Thread::new(number, tally, inbox, next).run())
            })
            .collect();
        drop(senders);
        answer(&[]);
        assert_eq!(questions.next().unwrap().unwrap(), "stop");
        tally.stop.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut numbers = [&tally.started, &tally.ended, &tally.lost]
        .map(|count| count.load(Ordering::Relaxed))
        .to_vec();
    numbers.extend(counters);
    answer(&numbers);

    assert_eq!(questions.next().unwrap().unwrap(), "fill");
    let requests: Vec<_> = (0..)
        .map(|number| start(Connection::NONE, number))
        .take_while(|request| *request != Request::NONE)
        .collect();
    let slots: HashSet<_> = requests
        .iter()
        .map(|request| request.serial().slot())
        .collect();
    answer(&[requests.len() as u64, slots.len() as u64]);
}

fn answer(numbers: &[u64]) {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    println!("{ANSWER} {}", numbers.join(" "));
}

fn start(connection: Connection, id: u64) -> Request {
    Request::start(&RequestStart {
        connection,
        request_id: id,
        method_id: content::method_id(id),
        direction: content::direction(id),
        phase: content::phases(id)[0],
        kind: content::request_kind(id),
        payload_bytes: content::payload_bytes(id),
        arguments: content::arguments(id).as_deref(),
        parent: Request::NONE,
    })
}

struct Thread<'a> {
    number: usize,
    tally: &'a Tally,
    counter: u64,
    lasting: Vec<Connection>,
    /// Requests with their ids and how many phases they have reached.
    in_flight: VecDeque<(Request, u64, usize)>,
    ended: Request,
    /// Requests of the thread before, which may end them at the same time.
    inbox: Receiver<Request>,
    next: SyncSender<Request>,
}

impl<'a> Thread<'a> {
    fn new(
        number: usize,
        tally: &'a Tally,
        inbox: Receiver<Request>,
        next: SyncSender<Request>,
    ) -> Self {
        Self {
            number,
            tally,
            counter: LASTING as u64,
            lasting: (0..LASTING as u64)
                .map(|counter| open(id(number, counter)))
                .collect(),
            in_flight: VecDeque::new(),
            ended: Request::NONE,
            inbox,
            next,
        }
    }

    fn run(mut self) -> u64 {
        while !self.tally.stop.load(Ordering::Relaxed) {
            self.counter += 1;
            let id = id(self.number, self.counter);
            let home = self.lasting[content::counter(content::home(id)) as usize];
            match mix(id, 200) % 16 {
                0 => use_connection(id),
                1 | 2 => use_channel(home, id),
                3..=9 => self.start(home, id),
                10..=13 => self.advance(),
                _ => self.end(),
            }
            while let Ok(request) = self.inbox.try_recv() {
                self.count_end(request.end(Outcome::Dropped));
            }
        }
        // First everybody stops sending, then all that was sent is ended.
        drop(std::mem::replace(&mut self.next, sync_channel(0).0));
        while let Ok(request) = self.inbox.recv() {
            self.count_end(request.end(Outcome::Dropped));
        }
        while !self.in_flight.is_empty() {
            self.end();
        }
        self.counter
    }

    fn start(&mut self, home: Connection, id: u64) {
        if self.in_flight.len() == IN_FLIGHT {
            self.end();
        }
        let request = start(home, id);
        if request == Request::NONE {
            self.tally.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.tally.started.fetch_add(1, Ordering::Relaxed);
        self.in_flight.push_back((request, id, 0));
        // This one has ended. Its slot may well be the new request's.
        self.ended.advance(Phase::Responding);
        self.ended.respond(Phase::Responding, Outcome::Aborted, 7);
        assert!(!self.ended.end(Outcome::Ok) && self.ended.phase().is_none());
        assert_eq!(request.phase(), Some(content::phases(id)[0]));
    }

    fn advance(&mut self) {
        let Some((request, id, reached)) = self.in_flight.pop_front() else {
            return;
        };
        let phases = content::phases(id);
        let reached = (reached + 1).min(phases.len() - 1);
        if reached == phases.len() - 1 {
            request.respond(
                phases[reached],
                content::outcome(id),
                content::response_bytes(id),
            );
        } else {
            request.advance(phases[reached]);
        }
        assert_eq!(request.phase(), Some(phases[reached]), "{id:#x}");
        self.in_flight.push_back((request, id, reached));
    }

    /// Ends a request, every other time in a race with the next thread.
    fn end(&mut self) {
        let Some((request, id, _)) = self.in_flight.pop_front() else {
            return;
        };
        let is_shared = mix(id, 201).is_multiple_of(2) && self.next.try_send(request).is_ok();
        let is_ended = request.end_as_responded(Outcome::Dropped);
        assert!(is_ended || is_shared, "{id:#x} was ended by somebody");
        self.count_end(is_ended);
        self.ended = request;
    }

    fn count_end(&self, is_ended: bool) {
        self.tally
            .ended
            .fetch_add(is_ended.into(), Ordering::Relaxed);
    }
}

fn open(id: u64) -> Connection {
    Connection::open(&ConnectionOpen {
        link: Connection::NONE,
        conn_id: id,
        group: Connection::NONE,
        role: content::role(id),
        state: ConnectionState::Open,
        observes_writes: content::observes_writes(id),
        name: &content::name(id, 0),
    })
}

fn use_connection(id: u64) {
    let connection = open(id);
    for version in 1..=RENAMES {
        connection.set_name(&content::name(id, version));
        connection.message_sent(1, now_ns());
    }
    connection.close();
    connection.release();
}

fn use_channel(home: Connection, id: u64) {
    let direction = content::channel_direction(id);
    let channel = Channel::open(&ChannelOpen {
        connection: home,
        channel_id: id,
        request: Request::NONE,
        direction,
        side: content::channel_side(id),
        type_index: content::type_index(id),
        receive_budget_bytes: content::budget(id),
    });
    for item in 1..=ITEMS {
        match direction {
            ChannelDirection::Tx => channel.sent(content::item_bytes(id)),
            ChannelDirection::Rx => channel.received(
                content::item_bytes(id),
                content::budget(id).wrapping_add(item),
            ),
        }
    }
    channel.close();
}
