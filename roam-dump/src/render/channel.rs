//! Open channels, and the registries that hold them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use roam_trace_common::event::{ChannelDirection, ChannelSide};

use super::cell::{Bytes, Only, connection_name, level, only_source};
use super::fold::{Ages, Fold, Ids, Placed, Shapes, fold};
use super::layout::{Options, section};
use super::table::{Column, table};
use crate::count::Counted;
use crate::model::{Channel, Snapshot};

const CHANNELS: [Column; 10] = [
    Column::left("PROCESS"),
    Column::left("CHANNEL"),
    Column::left("TYPE"),
    Column::right("COUNT"),
    Column::right("OPEN"),
    Column::left("DATA"),
    Column::right("IDLE"),
    Column::left("CONNECTION"),
    Column::left("REQUEST"),
    Column::left("SOURCE"),
];

const REGISTRIES: [Column; 4] = [
    Column::left("PROCESS"),
    Column::left("CONNECTION"),
    Column::left("REGISTRY"),
    Column::left("CHANNELS"),
];

/// How many ids of a registry are shown.
const SHOWN_IDS: usize = 10;

/// Writes the section of open channels.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn channels(
    out: &mut impl io::Write,
    options: &Options,
    rows: &[Placed<'_, Channel>],
    names_process: bool,
) -> io::Result<()> {
    section(out, options, "OPEN CHANNELS")?;
    let mut shapes = Shapes::default();
    let folds = fold(rows, options.fold_from(2), |snapshot, row| {
        (
            (snapshot.process.pid, row.connection, row.side),
            (row.direction, row.element_type.as_deref()),
            only_source(row.source, row.age_us, snapshot),
            shapes.verdict(row.verdict.as_deref()),
        )
    });
    table(out, options, &CHANNELS, &folds, "(none)", |fold, line| {
        let row = fold.first();
        match names_process {
            true => line.cell(&fold.snapshot.process),
            false => line.cell(""),
        }
        line.cell(format_args!("[ch={}]", fold.ids(|row| row.channel_id)));
        let name = match row.direction {
            ChannelDirection::Tx => "Tx",
            ChannelDirection::Rx => "Rx",
        };
        let element_type = row.element_type.as_deref().unwrap_or("?");
        line.cell(format_args!("{name}<{element_type}>"));
        line.cell(fold.count());
        line.cell(fold.ages(|row| row.age_us));
        line.cell(Data(fold));
        line.cell(Idle(fold));
        line.cell(connection_name(
            row.connection_name.as_deref(),
            row.connection,
        ));
        line.cell(Requests(fold));
        line.cell(Only(only_source(row.source, row.age_us, fold.snapshot)));
        line.level = level(row.verdict.as_deref());
        fold.note_verdict(line, |row| row.verdict.as_deref());
    })
}

/// What channels have carried, and what they may still carry.
struct Data<'a>(&'a Fold<'a, Channel>);

impl fmt::Display for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fold = self.0;
        let is_tx = fold.first().direction == ChannelDirection::Tx;
        let sent = fold.sum(|row| row.items_sent);
        let received = fold.sum(|row| row.items_received);
        let mut facts = Vec::new();
        if is_tx || sent > 0 {
            let bytes = Bytes(fold.sum(|row| row.bytes_sent));
            facts.push(format!("{} sent ({bytes})", Counted(sent, "items")));
        }
        if !is_tx || received > 0 {
            let bytes = Bytes(fold.sum(|row| row.bytes_received));
            facts.push(format!("{} received ({bytes})", Counted(received, "items")));
        }
        let unread = fold.sum(|row| match row.items_read {
            Some(read) => row.items_received.saturating_sub(read),
            None => 0,
        });
        if unread > 0 {
            facts.push(format!("{} unread", Counted(unread, "items")));
        }
        if let ([row], true) = (fold.rows.as_slice(), received > 0)
            && let Some(budget) = row.receive_budget_bytes
        {
            facts.push(format!("peer may send {} more", Bytes(budget)));
        }
        f.write_str(&facts.join(", "))
    }
}

/// How long ago data last moved, where any did.
struct Idle<'a>(&'a Fold<'a, Channel>);

impl fmt::Display for Idle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle = self.0.rows.iter().filter_map(|row| row.idle_us);
        match idle.clone().next() {
            Some(_) => Ages::of(idle).fmt(f),
            None => Ok(()),
        }
    }
}

/// The requests that opened the channels, while they are in flight.
struct Requests<'a>(&'a Fold<'a, Channel>);

impl fmt::Display for Requests<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.0.rows.iter().filter_map(|row| row.request_id);
        let mut ids: Vec<_> = ids.collect();
        ids.dedup();
        match ids.as_slice() {
            [] => Ok(()),
            ids => write!(f, "req_id={}", Ids::of(ids.iter().copied())),
        }
    }
}

/// One of the two registries of a connection.
struct Registry<'a> {
    snapshot: &'a Snapshot,
    channel: &'a Channel,
    side: ChannelSide,
    channel_ids: Vec<u64>,
}

/// Writes the section with both registries of every connection that has an open channel.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn registries(
    out: &mut impl io::Write,
    options: &Options,
    processes: &[Snapshot],
) -> io::Result<()> {
    section(out, options, "CHANNEL REGISTRIES")?;
    let names_process = processes.len() > 1;
    let registries: Vec<_> = processes.iter().flat_map(registries_of).collect();
    table(
        out,
        options,
        &REGISTRIES,
        &registries,
        "(none)",
        |registry, line| {
            let Registry {
                snapshot,
                channel,
                side,
                channel_ids,
            } = registry;
            match names_process {
                true => line.cell(&snapshot.process),
                false => line.cell(""),
            }
            line.cell(connection_name(
                channel.connection_name.as_deref(),
                channel.connection,
            ));
            line.cell(match side {
                ChannelSide::Client => "client_channel_registry:",
                ChannelSide::Server => "server_channel_registry:",
            });
            let shown = match options.is_full {
                true => channel_ids.len(),
                false => channel_ids.len().min(SHOWN_IDS),
            };
            let ids: Vec<_> = channel_ids[..shown].iter().map(u64::to_string).collect();
            let count = Counted(channel_ids.len() as u64, "channels");
            match (ids.join(", "), channel_ids.len() - shown) {
                (_, 0) if shown == 0 => line.cell("(none)"),
                (ids, 0) => line.cell(format_args!("{count} [{ids}]")),
                (ids, _) => line.cell(format_args!("{count} [{ids}, …]")),
            }
        },
    )
}

fn registries_of(snapshot: &Snapshot) -> impl Iterator<Item = Registry<'_>> {
    let mut connections: BTreeMap<u64, (&Channel, [Vec<u64>; 2])> = BTreeMap::new();
    for channel in &snapshot.channels {
        let (_, sides) = connections
            .entry(channel.connection)
            .or_insert_with(|| (channel, [Vec::new(), Vec::new()]));
        sides[usize::from(channel.side == ChannelSide::Client)].push(channel.channel_id);
    }
    connections.into_values().flat_map(move |(channel, sides)| {
        [ChannelSide::Server, ChannelSide::Client]
            .into_iter()
            .zip(sides)
            .map(move |(side, mut channel_ids)| {
                channel_ids.sort_unstable();
                Registry {
                    snapshot,
                    channel,
                    side,
                    channel_ids,
                }
            })
    })
}
