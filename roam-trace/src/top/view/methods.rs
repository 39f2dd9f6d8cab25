//! How often each method is called, and how long its calls take.

use std::collections::HashMap;
use std::sync::Arc;

use roam_dump::decode::latency;
use roam_dump::model::{Latency, MethodStatistics, Request};
use roam_trace_common::event::{Direction, RequestKind};

use crate::top::cell::Cell;
use crate::top::layout::Column;
use crate::top::reading::MethodKey;
use crate::top::readings::{ProcessPair, Since};
use crate::top::row::{Item, Level, Row, RowId};

pub(super) const COLUMNS: [Column; 9] = [
    Column::right("RATE/S", 1),
    Column::right("IN FLIGHT", 2),
    Column::right("P50", 6),
    Column::right("P99", 3),
    Column::right("MAX", 7),
    Column::right("ERRORS", 4),
    Column::right("COUNT", 8),
    Column::left("PROCESS", 5),
    Column::left("METHOD", 0),
];

/// Those in flight of one method.
#[derive(Default)]
struct InFlight<'a> {
    count: u64,
    worst: Level,
    first: Option<&'a Request>,
}

pub(super) fn add(process: ProcessPair<'_>, since: Since, rows: &mut Vec<Row>) {
    let mut in_flight: HashMap<(Direction, u64), InFlight<'_>> = HashMap::new();
    for request in &process.now.snapshot.requests {
        if request.kind == RequestKind::Call {
            let key = (request.direction, request.method_id);
            let of_method = in_flight.entry(key).or_default();
            of_method.count += 1;
            of_method.worst = of_method.worst.max(Level::of(request.verdict.as_deref()));
            of_method.first = of_method.first.or(Some(request));
        }
    }
    let methods_before = process.before.map(|before| &before.snapshot.methods);
    let before: HashMap<MethodKey, &MethodStatistics> = (methods_before.into_iter().flatten())
        .map(|statistics| (key(statistics), statistics))
        .collect();
    let name = process.name();
    for now in &process.now.snapshot.methods {
        let key = key(now);
        // Of several registries that count a method, the first has those in flight.
        let in_flight = in_flight.remove(&(key.direction, key.method_id));
        let mut cells = numbers(process, now, before.get(&key).copied(), since);
        let in_flight = in_flight.unwrap_or_default();
        cells[1] = Cell::Count(in_flight.count);
        let method = match &now.method {
            Some(method) => Arc::clone(method),
            None => format!("method_id={:#018x}", now.method_id).into(),
        };
        cells.push(Cell::Text(Arc::clone(&name)));
        cells.push(Cell::method(now.direction, &method));
        rows.push(row(process, key, in_flight.worst, cells));
    }
    // Of these, no call has ended, or none is counted.
    for ((direction, method_id), in_flight) in in_flight {
        let Some(first) = in_flight.first else {
            continue;
        };
        let key = MethodKey {
            registry: 0,
            direction,
            method_id,
        };
        let mut cells = vec![Cell::None; 7];
        cells[1] = Cell::Count(in_flight.count);
        cells.push(Cell::Text(Arc::clone(&name)));
        cells.push(Cell::method(direction, &first.method_name()));
        rows.push(row(process, key, in_flight.worst, cells));
    }
}

fn row(process: ProcessPair<'_>, key: MethodKey, level: Level, cells: Vec<Cell>) -> Row {
    let id = RowId {
        process: process.now.key,
        item: Item::Method(key),
    };
    Row { id, level, cells }
}

fn key(statistics: &MethodStatistics) -> MethodKey {
    MethodKey {
        registry: statistics.registry,
        direction: statistics.direction,
        method_id: statistics.method_id,
    }
}

/// The cells up to the count; of those in flight none.
fn numbers(
    process: ProcessPair<'_>,
    now: &MethodStatistics,
    before: Option<&MethodStatistics>,
    since: Since,
) -> Vec<Cell> {
    // A method that was not there before had no calls.
    let known = process.before.map(|_| before.map_or(0, ended));
    let new = known.map(|before| ended(now).saturating_sub(before));
    let (count, errors, latency) = match since {
        Since::Start => (Some(ended(now)), Some(errors(now)), now.latency),
        Since::LastReading => {
            let errors_before = before.map_or(0, errors);
            let errors = new.map(|_| errors(now).saturating_sub(errors_before));
            (new, errors, recent(process, key(now)))
        }
    };
    let took = |of: fn(&Latency) -> u64| Cell::some(latency.as_ref().map(of), Cell::Took);
    vec![
        Cell::some(new.map(|new| new as f64 / process.seconds), Cell::PerSecond),
        Cell::None,
        took(|latency| latency.p50_us),
        took(|latency| latency.p99_us),
        took(|latency| latency.max_us),
        Cell::some(errors, Cell::Count),
        Cell::some(count, Cell::Count),
    ]
}

/// How long the calls took that ended between the two readings.
fn recent(process: ProcessPair<'_>, key: MethodKey) -> Option<Latency> {
    let now = process.now.latencies.get(&key)?;
    match process.before?.latencies.get(&key) {
        Some(before) => latency(&now.since(before)),
        None => latency(now),
    }
}

fn ended(statistics: &MethodStatistics) -> u64 {
    statistics.outcomes.ended()
}

/// How many calls did not return a value.
fn errors(statistics: &MethodStatistics) -> u64 {
    ended(statistics).saturating_sub(statistics.outcomes.ok)
}
