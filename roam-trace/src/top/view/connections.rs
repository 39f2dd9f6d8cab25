//! The connections, and what moves over them.

use std::collections::HashMap;
use std::sync::Arc;

use roam_dump::model::{Connection, Traffic};
use roam_trace_common::event::ConnectionState;

use crate::top::cell::Cell;
use crate::top::layout::Column;
use crate::top::readings::ProcessPair;
use crate::top::row::{Item, Level, Row, RowId};

pub(super) const COLUMNS: [Column; 11] = [
    Column::right("SENT/S", 1),
    Column::right("RECEIVED/S", 2),
    Column::right("MSGS OUT/S", 9),
    Column::right("MSGS IN/S", 10),
    Column::right("QUEUE", 5),
    Column::right("STALL", 3),
    Column::right("IDLE", 7),
    Column::left("STATE", 8),
    Column::left("VERDICT", 4),
    Column::left("PROCESS", 6),
    Column::left("CONNECTION", 0),
];

pub(super) fn add(process: ProcessPair<'_>, rows: &mut Vec<Row>) {
    let connections_before = process.before.map(|before| &before.snapshot.connections);
    let before: HashMap<u64, &Connection> = (connections_before.into_iter().flatten())
        .map(|connection| (connection.serial, connection))
        .collect();
    let name = process.name();
    for now in &process.now.snapshot.connections {
        let before = before.get(&now.serial).copied();
        let sent = |of: fn(Traffic) -> u64| {
            let [now, before] = [Some(now), before].map(|row| row.and_then(|row| row.sent).map(of));
            (now, before)
        };
        let received = |of: fn(Traffic) -> u64| {
            let rows = [Some(now), before];
            let [now, before] = rows.map(|row| row.and_then(|row| row.received).map(of));
            (now, before)
        };
        let bytes = |(now, before)| process.bytes_per_second(now, before);
        let messages = |(now, before)| process.count_per_second(now, before);
        let queue = now
            .driver
            .map(|driver| driver.enqueued.saturating_sub(driver.dequeued));
        let verdict_of = now.verdict.as_deref();
        let idle_us = [now.sent, now.received].map(|traffic| traffic.and_then(|row| row.idle_us));
        rows.push(Row {
            id: RowId {
                process: process.now.key,
                item: Item::Connection(now.serial),
            },
            level: Level::of(verdict_of),
            cells: vec![
                bytes(sent(|traffic| traffic.payload_bytes)),
                bytes(received(|traffic| traffic.payload_bytes)),
                messages(sent(|traffic| traffic.messages)),
                messages(received(|traffic| traffic.messages)),
                Cell::some(queue, Cell::Count),
                Cell::some(stall_us(now), Cell::Age),
                Cell::some(idle_us.into_iter().flatten().min(), Cell::Age),
                Cell::text(state(now.state)),
                Cell::verdict(verdict_of),
                Cell::Text(Arc::clone(&name)),
                Cell::Text(Arc::clone(&now.name)),
            ],
        });
    }
}

/// Microseconds that its driver has been in what it waits for: a write, or room in the buffer of a channel.
fn stall_us(connection: &Connection) -> Option<u64> {
    let writing_us = connection.driver.and_then(|driver| driver.writing_us);
    let delivering_us = connection
        .delivering
        .map(|delivering| delivering.waiting_us);
    writing_us.max(delivering_us)
}

fn state(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Open => "open",
        ConnectionState::Closed => "closed",
        ConnectionState::Connecting => "connecting",
        ConnectionState::BackingOff => "backing off",
        ConnectionState::Disconnected => "not connected",
        ConnectionState::Grouping => "(none)",
    }
}
