//! The load of benches: makes the ordered number of requests as fast as possible.

use std::io::{BufRead, stdin};
use std::time::Instant;

use roam_diagnostic::registry::Outcome;

use crate::work;

/// Prints `ready`. Then each line of standard input is a count: of requests that are started and ended at
/// once (`calls 1000`), which prints nanoseconds per request, or of requests that stay in flight
/// (`rows 1000`), which prints `started`. Ends with its standard input.
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
                for _ in 0..count {
                    start();
                }
                println!("started");
            }
            _ => panic!("unknown word {what}"),
        }
    }
}
