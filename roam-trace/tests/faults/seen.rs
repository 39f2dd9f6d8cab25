//! What a tracer made of it.

use std::process::Output;

use serde_json::Value;

use crate::tracer::Tracer;

/// How a tracer ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: Option<i32>,
    /// The dump, null where there is none.
    pub(crate) dump: Value,
    pub(crate) stderr: String,
}

impl Tracer {
    /// Ends the watching, and returns the dump.
    pub(crate) fn stop(self) -> Seen {
        self.interrupt();
        self.seen()
    }

    /// Waits for its end.
    pub(crate) fn seen(self) -> Seen {
        let Output {
            status,
            stdout,
            stderr,
        } = self.output();
        Seen {
            status: status.code(),
            dump: match stdout[..] {
                [] => Value::Null,
                _ => serde_json::from_slice(&stdout).unwrap(),
            },
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }
}

impl Seen {
    /// The one process of the dump.
    pub(crate) fn process(&self) -> &Value {
        let [process] = &self.dump["processes"].as_array().expect(&self.stderr)[..] else {
            panic!("{:#}", self.dump);
        };
        process
    }

    /// Requests that started and ended while it was watched.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let connections = self.process()["window"]["connections"].as_array().unwrap();
        let sum = |field: &str| {
            let counts = connections.iter().map(|row| row[field].as_u64().unwrap());
            counts.sum()
        };
        (sum("started"), sum("ended"))
    }

    /// The same of a process that ended, or executed another program, which a line reports.
    pub(crate) fn counts_until_the_end(&self) -> (u64, u64) {
        let line = self
            .gaps()
            .into_iter()
            .chain(self.stderr.lines().map(str::to_owned))
            .find(|line| line.contains(" requests started and "))
            .unwrap_or_else(|| panic!("{self:#?}"));
        let (_, counts) = line.split_once(", after ").unwrap();
        let numbers: Vec<u64> = counts
            .split(' ')
            .filter_map(|word| word.replace(',', "").parse().ok())
            .collect();
        (numbers[0], numbers[1])
    }

    /// Why the dump is incomplete.
    pub(crate) fn gaps(&self) -> Vec<String> {
        self.process_if_any()
            .and_then(|process| process["gaps"].as_array())
            .into_iter()
            .flatten()
            .map(|gap| gap["text"].as_str().map_or(gap.to_string(), str::to_owned))
            .collect()
    }

    fn process_if_any(&self) -> Option<&Value> {
        self.dump["processes"].as_array()?.first()
    }

    /// The requests in flight.
    pub(crate) fn requests(&self) -> &[Value] {
        self.process()["requests"].as_array().unwrap()
    }
}
