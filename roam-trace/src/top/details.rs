//! What is known of one row.

use roam_dump::decode::latency;
use roam_dump::duration::Took;
use roam_dump::model::{Latency, MethodStatistics, Outcomes, Request, Verdict};
use roam_dump::render::graph::chain;
use roam_dump::render::{Age, Counted, phase};
use roam_trace_common::event::Direction;

use super::reading::{MethodKey, ProcessReading};
use super::readings::Readings;
use super::row::{Item, RowId};

/// Calls in flight that the details of a method name, the oldest.
const NAMED_CALLS: usize = 5;

/// The lines about a row; empty if what it is of is gone.
pub(super) fn details(readings: Readings<'_>, id: RowId) -> Vec<String> {
    let Some(process) = readings.now.process(id.process) else {
        return Vec::new();
    };
    let before = readings
        .before
        .and_then(|before| before.process(id.process));
    match id.item {
        Item::Method(key) => method(readings, process, before, key),
        Item::Request(serial) => request(readings, process, serial),
        Item::Connection(serial) => connection(process, serial),
        Item::Channel(serial) => channel(process, serial),
        Item::Table(index) => table(process, index),
    }
}

fn method(
    readings: Readings<'_>,
    process: &ProcessReading,
    before: Option<&ProcessReading>,
    key: MethodKey,
) -> Vec<String> {
    let is_own = |row: &&MethodStatistics| {
        (row.registry, row.direction, row.method_id) == (key.registry, key.direction, key.method_id)
    };
    let statistics = process.snapshot.methods.iter().find(is_own);
    let requests: Vec<&Request> = (process.snapshot.requests.iter())
        .filter(|row| (row.direction, row.method_id) == (key.direction, key.method_id))
        .collect();
    let name = match (statistics, requests.first()) {
        (Some(statistics), _) => statistics.method.as_deref().map(str::to_owned),
        (None, Some(request)) => Some(request.method_name().into_owned()),
        (None, None) => return Vec::new(),
    };
    let name = name.unwrap_or_else(|| format!("method_id={:#018x}", key.method_id));
    let mut lines = vec![
        format!("method: {name}, {}", direction(key.direction)),
        format!("process: {}", process.snapshot.process),
    ];
    let now = process.latencies.get(&key);
    let earlier = before.and_then(|before| before.latencies.get(&key));
    if let (Some(now), Some(earlier)) = (now, earlier) {
        lines.extend(latencies("last reading", latency(&now.since(earlier))));
    }
    if let Some(statistics) = statistics {
        lines.extend(latencies("since start", statistics.latency));
        lines.push(format!(
            "ended since start: {}",
            outcomes(&statistics.outcomes)
        ));
        if let Some(us) = statistics.last_ended_us {
            lines.push(format!("last call ended: {} ago", Age(us)));
        }
        lines.push(format!(
            "payload since start: {} of requests, {} of responses",
            Counted(statistics.request_bytes, "bytes"),
            Counted(statistics.response_bytes, "bytes")
        ));
    }
    lines.push(format!("in flight: {}", requests.len()));
    for request in requests.iter().take(NAMED_CALLS) {
        lines.push(format!(
            "  [req_id={}] {}, {}",
            request.request_id,
            Age(request.age_us),
            phase(request)
        ));
    }
    if let Some(oldest) = requests.first() {
        lines.extend(why(oldest.verdict.as_deref()));
        lines.extend(waits_for(readings, process, oldest.serial));
    }
    lines
}

fn latencies(of: &str, latency: Option<Latency>) -> Option<String> {
    let Latency {
        p50_us,
        p90_us,
        p99_us,
        max_us,
    } = latency?;
    let [p50, p90, p99, max] = [p50_us, p90_us, p99_us, max_us].map(Took);
    Some(format!(
        "latency, {of}: p50 {p50}, p90 {p90}, p99 {p99}, max {max}"
    ))
}

fn outcomes(outcomes: &Outcomes) -> String {
    let counts = [
        ("ok", outcomes.ok),
        ("error of the application", outcomes.user_error),
        ("unknown method", outcomes.unknown_method),
        ("invalid payload", outcomes.invalid_payload),
        ("cancelled", outcomes.cancelled),
        ("dropped by the caller", outcomes.dropped),
        ("connection closed", outcomes.connection_closed),
        ("aborted", outcomes.aborted),
        ("no answer", outcomes.no_answer),
    ];
    let counts = counts.into_iter().filter(|&(_, count)| count > 0);
    let counts: Vec<_> = counts
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    match counts.is_empty() {
        true => "none".to_owned(),
        false => counts.join(", "),
    }
}

fn request(readings: Readings<'_>, process: &ProcessReading, serial: u64) -> Vec<String> {
    let rows = &process.snapshot.requests;
    let Some(request) = rows.iter().find(|row| row.serial == serial) else {
        return Vec::new();
    };
    let mut lines = vec![
        format!(
            "request: [req_id={}], {}",
            request.request_id,
            direction(request.direction)
        ),
        format!("method: {}", request.method_name()),
        format!("process: {}", process.snapshot.process),
        format!("age: {}", Age(request.age_us)),
        format!(
            "phase: {} for {}",
            phase(request),
            Age(request.phase_age_us)
        ),
    ];
    if let Some(arguments) = &request.arguments {
        lines.push(format!("arguments: {arguments}"));
    }
    if let Some(name) = &request.connection_name {
        lines.push(format!("connection: {name}"));
    }
    lines.push(format!(
        "payload: {}",
        Counted(request.request_bytes, "bytes")
    ));
    lines.extend(why(request.verdict.as_deref()));
    lines.extend(waits_for(readings, process, serial));
    lines
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Outgoing => "outgoing",
        Direction::Incoming => "incoming",
    }
}

fn why(verdict: Option<&Verdict>) -> Option<String> {
    let verdict = verdict?;
    Some(format!("verdict: {}: {}", verdict.code, verdict.text))
}

/// The chain from a request to its root blocker.
fn waits_for(readings: Readings<'_>, process: &ProcessReading, serial: u64) -> Vec<String> {
    let chain = chain(&readings.now.graph, process.key.pid, serial);
    // One that waits for nothing is described already.
    if chain.len() < 2 {
        return Vec::new();
    }
    let mut lines = vec!["wait chain, root blocker last:".to_owned()];
    lines.extend(
        (0..)
            .zip(chain)
            .map(|(depth, line)| format!("{:depth$}└─ {line}", "")),
    );
    lines
}

fn connection(process: &ProcessReading, serial: u64) -> Vec<String> {
    let rows = &process.snapshot.connections;
    let Some(connection) = rows.iter().find(|row| row.serial == serial) else {
        return Vec::new();
    };
    let requests = process.snapshot.requests.iter();
    let in_flight = requests.filter(|row| row.connection == serial).count();
    let mut lines = vec![
        format!("connection: {}", connection.name),
        format!("process: {}", process.snapshot.process),
        format!("open for: {}", Age(connection.age_us)),
        format!("requests in flight: {in_flight}"),
    ];
    for (which, traffic) in [("sent", connection.sent), ("received", connection.received)] {
        if let Some(traffic) = traffic {
            let messages = Counted(traffic.messages, "messages");
            let bytes = Counted(traffic.payload_bytes, "bytes");
            let last = traffic
                .idle_us
                .map(|us| format!(", the last one {} ago", Age(us)));
            lines.push(format!(
                "{which}: {messages}, {bytes}{}",
                last.unwrap_or_default()
            ));
        }
    }
    if let Some(driver) = connection.driver {
        let queue = driver.enqueued.saturating_sub(driver.dequeued);
        let polled = Age(driver.polled_age_us);
        lines.push(format!(
            "driver: last ran {polled} ago, {queue} messages in its queue"
        ));
        if let Some(us) = driver.writing_us {
            lines.push(format!("in a write to the transport for {}", Age(us)));
        }
    }
    if let Some(delivering) = connection.delivering {
        lines.push(format!(
            "waits for room in the buffer of channel {} for {}",
            delivering.channel_id,
            Age(delivering.waiting_us)
        ));
    }
    if let Some(error) = &connection.last_error {
        lines.push(format!("last error: {error}"));
    }
    lines.extend(why(connection.verdict.as_deref()));
    lines
}

fn channel(process: &ProcessReading, serial: u64) -> Vec<String> {
    let rows = &process.snapshot.channels;
    let Some(channel) = rows.iter().find(|row| row.serial == serial) else {
        return Vec::new();
    };
    let mut lines = vec![
        format!("channel: {}", channel.channel_id),
        format!("process: {}", process.snapshot.process),
        format!("age: {}", Age(channel.age_us)),
    ];
    if let Some(name) = &channel.connection_name {
        lines.push(format!("connection: {name}"));
    }
    if let Some(id) = channel.request_id {
        lines.push(format!("request: [req_id={id}]"));
    }
    for (which, items, bytes) in [
        ("sent", channel.items_sent, channel.bytes_sent),
        ("received", channel.items_received, channel.bytes_received),
    ] {
        let (items, bytes) = (Counted(items, "items"), Counted(bytes, "bytes"));
        lines.push(format!("{which}: {items}, {bytes}"));
    }
    if let Some(read) = channel.items_read {
        lines.push(format!("read by the program: {}", Counted(read, "items")));
    }
    lines.extend(why(channel.verdict.as_deref()));
    lines
}

fn table(process: &ProcessReading, index: usize) -> Vec<String> {
    let Some(table) = process.snapshot.tables.get(index) else {
        return Vec::new();
    };
    vec![
        format!("table: {} of the registry", table.table),
        format!("process: {}", process.snapshot.process),
        format!("in use: {} of {} rows", table.used, table.capacity),
        format!("most rows in use at one time: {}", table.high_water),
        "A full table loses the requests, channels or connections that find no row.".to_owned(),
    ]
}
