//! The load of benches: makes the ordered number of requests, as fast as possible or at a rate.

use std::io::{BufRead, stdin};
use std::thread::sleep;
use std::time::{Duration, Instant};

use roam_diagnostic::registry::Outcome;

use crate::work;

/// Requests of a second at a rate.
const PER_SECOND: u64 = 200_000;
/// How many requests are made before the time is looked at, and every how many one differs from the others.
const RARE_EVERY: u64 = 100;
/// How early requests may be at a rate: a shorter sleep would take longer.
const EARLY: Duration = Duration::from_millis(1);

/// Prints `ready`. Then each line of standard input is a word and a count: of requests that are started and ended at
/// once (`calls 1000`), which prints nanoseconds per request; of requests that stay in flight (`rows 1000`), which
/// prints `started`; of seconds in which 200,000 requests are made each, of which every hundredth differs from the
/// others in method, direction and outcome (`paced 30`), which prints how many were made; or of requests in flight that
/// end (`end 3`), which prints `ended`. Ends with its standard input.
///
/// # Panics
///
/// On a line that is no order.
pub fn run_orders() {
    let connection = work::open();
    println!("ready");
    let mut request_id = 0;
    let mut start = || {
        request_id += 1;
        work::start(connection, request_id)
    };
    let mut in_flight = Vec::new();
    for line in stdin().lock().lines().map_while(Result::ok) {
        let (what, count) = line.split_once(' ').expect("a word and a count");
        let count: u64 = count.parse().expect("a count");
        match what {
            "calls" => {
                let began = Instant::now();
                for _ in 0..count {
                    start().end(Outcome::Ok);
                }
                println!("{}", began.elapsed().as_nanos() as f64 / count as f64);
            }
            "rows" => {
                in_flight.extend((0..count).map(|_| start()));
                println!("started");
            }
            "end" => {
                for request in in_flight.drain(..count as usize) {
                    request.end(Outcome::Ok);
                }
                println!("ended");
            }
            "paced" => {
                let made = count * PER_SECOND;
                let began = Instant::now();
                for number in 0..made {
                    work::make(connection, number, number.is_multiple_of(RARE_EVERY));
                    if number.is_multiple_of(RARE_EVERY) {
                        let due =
                            began + Duration::from_nanos(number * (1_000_000_000 / PER_SECOND));
                        if due > Instant::now() + EARLY {
                            sleep(due - Instant::now());
                        }
                    }
                }
                println!("{made}");
            }
            _ => panic!("unknown word {what}"),
        }
    }
}
