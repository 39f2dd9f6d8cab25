//! What is in flight in this process, in a few lines: the format of the published crate. The full dump is
//! `roam-dump`'s.

use std::fmt::Write as _;

use foldhash::HashMap;
use roam_diagnostic::clock;
use roam_diagnostic::registry::own::{self, Rows};
use roam_trace_common::event::{ChannelDirection, ConnectionState, Direction, Mark};
use roam_trace_common::registry::{ConnectionRecord, PhaseWord, RequestRecord};

use super::name::get_method_name;

/// Stands for the requests that only probes report.
const UNKNOWN: &str = "requests are unknown: the process was started with ROAM_DIAGNOSTIC=probes";

/// The requests and channels of a group of connections. Empty where there are none.
pub(super) fn of_group(group: u64) -> String {
    let rows = own::rows();
    let connections = by_serial(&rows);
    let text = summary(&rows, &|serial| {
        let connection = connections.get(&serial);
        serial == group || connection.is_some_and(|row| row.group == group)
    });
    match own::is_probes_only() {
        true => format!("{UNKNOWN} {text}").trim_end().to_owned(),
        false => text,
    }
}

/// All requests and channels, by the names of their connections, but for those of groups that are not
/// registered. Empty where there are none.
pub(super) fn of_everything(is_registered: &dyn Fn(u64) -> bool) -> String {
    let rows = own::rows();
    let connections = by_serial(&rows);
    let requests = rows.requests.iter().map(|row| row.connection);
    let channels = rows.channels.iter().map(|row| row.connection);
    // Sorted by name.
    let mut serials_by_name: Vec<(String, Vec<u64>)> = Vec::new();
    for serial in requests.chain(channels) {
        let connection = connections.get(&serial);
        let group = connection.and_then(|row| group_of(row));
        if group.is_none_or(is_registered) {
            let name = connection.map_or_else(|| "?".to_owned(), |row| name(row));
            match serials_by_name.binary_search_by(|(known, _)| known.cmp(&name)) {
                Ok(index) => serials_by_name[index].1.push(serial),
                Err(index) => serials_by_name.insert(index, (name, vec![serial])),
            }
        }
    }
    let mut output = String::new();
    if own::is_probes_only() {
        let _ = writeln!(output, "{UNKNOWN}");
    }
    for (name, serials) in serials_by_name {
        let text = summary(&rows, &|connection| serials.contains(&connection));
        let _ = writeln!(output, "[{name}] {text}");
    }
    output
}

fn by_serial(rows: &Rows) -> HashMap<u64, &ConnectionRecord> {
    let connections = rows.connections.iter();
    connections.map(|row| (row.serial, row)).collect()
}

/// The group that a row is part of, or is itself.
fn group_of(row: &ConnectionRecord) -> Option<u64> {
    if row.state == ConnectionState::Grouping.code() {
        return Some(row.serial);
    }
    (row.group != 0).then_some(row.group)
}

fn name(row: &ConnectionRecord) -> String {
    let bytes = (row.name_bytes as usize).min(row.name.len());
    printable(&String::from_utf8_lossy(&row.name[..bytes]))
}

/// Escapes what steers a terminal: names and arguments may hold text of others.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' => printable.push(character),
            _ => printable.extend(character.escape_debug()),
        }
    }
    printable
}

fn summary(rows: &Rows, is_member: &dyn Fn(u64) -> bool) -> String {
    let mut requests: Vec<_> = rows
        .requests
        .iter()
        .filter(|row| is_member(row.connection))
        .collect();
    requests.sort_unstable_by_key(|row| (row.started_ns, row.serial));
    let count_requests = |direction: Direction| {
        let has_direction = |row: &&_| direction_of(row) == Some(direction);
        requests.iter().copied().filter(has_direction).count()
    };
    let count_channels = |direction: ChannelDirection| {
        rows.channels
            .iter()
            .filter(|row| row.direction == direction.code() && is_member(row.connection))
            .count()
    };
    let counts = [
        (count_requests(Direction::Outgoing), "⬆"),
        (count_requests(Direction::Incoming), "⬇"),
        (count_channels(ChannelDirection::Tx), "tx"),
        (count_channels(ChannelDirection::Rx), "rx"),
    ];
    let mut text = String::new();
    for (count, what) in counts {
        if count > 0 {
            let separator = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{separator}{count}{what}");
        }
    }
    let now_ns = clock::now_ns();
    for row in requests {
        let arrow = match direction_of(row) {
            Some(Direction::Incoming) => "⬇",
            _ => "⬆",
        };
        let _ = write!(
            text,
            "\n  {arrow}#{} {} {:.1}s",
            row.request_id,
            get_method_name(row.method_id).unwrap_or("?"),
            now_ns.saturating_sub(row.started_ns) as f64 / 1e9,
        );
        if let Some(arguments) = own::arguments(row) {
            let _ = write!(text, " ({})", printable(&arguments));
        }
        match Mark::from_code(PhaseWord(row.phase).mark()) {
            Some(Mark::Orphaned) => text.push_str(" orphaned"),
            Some(Mark::EndedWithoutAnswer) => text.push_str(" ended without answer"),
            None => {}
        }
    }
    text
}

fn direction_of(row: &RequestRecord) -> Option<Direction> {
    Direction::from_code(row.direction)
}
