//! A target for benches: fires the probes of requests, as fast as it can or once.
//!
//! `load` prints `ready`. Then each line of standard input is a count: of requests that are started and
//! ended at once (`calls 1000`), which prints nanoseconds per request, or of requests that stay in flight
//! (`rows 1000`), which prints `started`. It ends with its standard input.

use std::io::{BufRead, stdin};
use std::time::Instant;

use roam_diagnostic::registry::{
    Connection, ConnectionOpen, ConnectionState, Direction, Outcome, Phase, Request, RequestKind,
    RequestStart, Role, register_method,
};

const METHOD: u64 = 0x5eed;

fn main() {
    register_method(METHOD, "Load.call");
    let connection = Connection::open(&ConnectionOpen {
        link: Connection::NONE,
        conn_id: 0,
        group: Connection::NONE,
        role: Role::Initiator,
        state: ConnectionState::Open,
        observes_writes: true,
        name: "load",
    });
    println!("ready");
    let mut request_id = 0;
    let mut start = || {
        request_id += 1;
        Request::start(&RequestStart {
            connection,
            request_id,
            method_id: METHOD,
            direction: Direction::Outgoing,
            phase: Phase::Sent,
            kind: RequestKind::Call,
            payload_bytes: 64,
            arguments: None,
            parent: Request::NONE,
        })
    };
    for line in stdin().lock().lines().map_while(Result::ok) {
        let (what, count) = line.split_once(' ').unwrap_or_default();
        let count: u64 = count.parse().unwrap_or(0);
        match what {
            "calls" => {
                let began = Instant::now();
                for _ in 0..count {
                    start().end(Outcome::Ok);
                }
                println!("{}", began.elapsed().as_nanos() as f64 / count as f64);
            }
            "rows" => {
                for _ in 0..count {
                    start();
                }
                println!("started");
            }
            _ => eprintln!("usage: calls COUNT | rows COUNT"),
        }
    }
}
