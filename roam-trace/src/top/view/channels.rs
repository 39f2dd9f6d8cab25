//! The open channels, and what moves over them.

use std::collections::HashMap;
use std::sync::Arc;

use roam_dump::model::Channel;
use roam_trace_common::event::ChannelDirection;

use crate::top::cell::Cell;
use crate::top::layout::Column;
use crate::top::readings::ProcessPair;
use crate::top::row::{Item, Level, Row, RowId};

pub(super) const COLUMNS: [Column; 10] = [
    Column::right("BYTES/S", 1),
    Column::right("ITEMS/S", 5),
    Column::right("UNREAD", 4),
    Column::right("IDLE", 3),
    Column::right("AGE", 9),
    Column::left("VERDICT", 6),
    Column::left("TYPE", 8),
    Column::left("PROCESS", 7),
    Column::left("CONNECTION", 2),
    Column::left("CHANNEL", 0),
];

pub(super) fn add(process: ProcessPair<'_>, rows: &mut Vec<Row>) {
    let channels_before = process.before.map(|before| &before.snapshot.channels);
    let before: HashMap<u64, &Channel> = (channels_before.into_iter().flatten())
        .map(|channel| (channel.serial, channel))
        .collect();
    let name = process.name();
    for now in &process.now.snapshot.channels {
        let before = before.get(&now.serial).copied();
        let verdict_of = now.verdict.as_deref();
        rows.push(Row {
            id: RowId {
                process: process.now.key,
                item: Item::Channel(now.serial),
            },
            level: Level::of(verdict_of),
            cells: vec![
                process.bytes_per_second(Some(bytes(now)), before.map(bytes)),
                process.count_per_second(Some(items(now)), before.map(items)),
                Cell::some(unread(now), Cell::Count),
                Cell::some(now.idle_us, Cell::Age),
                Cell::Age(now.age_us),
                Cell::verdict(verdict_of),
                Cell::some(now.element_type.clone(), Cell::Text),
                Cell::Text(Arc::clone(&name)),
                Cell::some(now.connection_name.clone(), Cell::Text),
                Cell::text(format!("{} {}", arrow(now.direction), now.channel_id)),
            ],
        });
    }
}

fn bytes(channel: &Channel) -> u64 {
    channel.bytes_sent.saturating_add(channel.bytes_received)
}

fn items(channel: &Channel) -> u64 {
    channel.items_sent.saturating_add(channel.items_received)
}

/// Items that have arrived and that the program has not read.
fn unread(channel: &Channel) -> Option<u64> {
    let read = channel.items_read?;
    Some(channel.items_received.saturating_sub(read))
}

fn arrow(direction: ChannelDirection) -> &'static str {
    match direction {
        ChannelDirection::Tx => "→",
        ChannelDirection::Rx => "←",
    }
}
