//! Measures what keeping track of one call costs, with as many threads as the argument says: the session's
//! own sequence in the registry, the same without statistics, then record and complete of the published
//! `DiagnosticState`. Prints nanoseconds per call, one number per line. With `ROAM_DIAGNOSTIC=probes` the first number
//! is what the probes alone cost, and the second is the same again.

use std::sync::Barrier;
use std::time::Instant;

use roam_diagnostic::registry::{
    self, Connection, ConnectionOpen, ConnectionState, Direction, Outcome, Phase, Request,
    RequestKind, RequestStart, Role,
};
use roam_session::diagnostic::DiagnosticState;

const CALLS: u64 = 1_000_000;
const WARM_UP_CALLS: u64 = 250_000;
const METHOD: u64 = 0x5eed;

fn main() {
    let threads = std::env::args()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .unwrap_or(1);
    let connection = Connection::open(&ConnectionOpen {
        link: Connection::NONE,
        conn_id: 0,
        group: Connection::NONE,
        role: Role::Initiator,
        state: ConnectionState::Open,
        observes_writes: true,
        name: "bench",
    });
    // Ahead, so that calls take some time.
    let driver_ns = registry::now_ns() + 1_000_000_000;
    // What opens a connection is no call, and is not counted.
    for kind in [RequestKind::Call, RequestKind::Connect] {
        println!(
            "{}",
            measure(threads, |id| in_registry(connection, kind, driver_ns, id))
        );
    }
    let state = DiagnosticState::new("bench");
    println!("{}", measure(threads, |id| in_state(&state, id)));
}

/// `driver_ns` is a time that the driver reads for its connection, whether anybody keeps track of calls or not.
fn in_registry(connection: Connection, kind: RequestKind, driver_ns: u64, request_id: u64) {
    let request = Request::start(&RequestStart {
        connection,
        request_id,
        method_id: METHOD,
        direction: Direction::Outgoing,
        phase: Phase::HandedOver,
        kind,
        payload_bytes: 64,
        arguments: None,
        parent: Request::NONE,
    });
    request.advance_at(Phase::Sent, driver_ns);
    request.respond_at(Phase::Responded, Outcome::Ok, 64, driver_ns);
    assert!(
        request.end_as_responded(Outcome::Dropped),
        "the row was recorded"
    );
}

fn in_state(state: &DiagnosticState, request_id: u64) {
    state.record_outgoing_request(request_id, METHOD, None);
    state.complete_request(request_id);
}

/// Nanoseconds that a thread needs per call while all of them work.
fn measure(threads: u64, call: impl Fn(u64) + Sync) -> f64 {
    // The clock measures for 10 ms how fast the processor counts.
    (0..WARM_UP_CALLS).for_each(&call);
    let start = Barrier::new(threads as usize);
    let (start, call) = (&start, &call);
    let work = move |thread: u64| {
        start.wait();
        let began = Instant::now();
        for index in 0..CALLS {
            call(index * threads + thread);
        }
        began.elapsed().as_nanos() as f64 / CALLS as f64
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        let times = workers
            .into_iter()
            .map(|worker| worker.join().expect("the work does not panic"));
        times.sum::<f64>() / threads as f64
    })
}
