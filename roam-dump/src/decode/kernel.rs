//! Decodes the rows of kernel maps.

use std::collections::{HashMap, HashSet};

use roam_trace_common::event::{
    ChannelValue, ConnectionValue, Direction, Loss, Phase, RecordKey, RequestValue,
};
use roam_trace_common::registry::FLAG_OBSERVES_WRITES;

use super::names::Names;
use super::row::{ChannelFields, ConnectionFields, RequestFields, RowBuilder, request_ids};
use crate::count::Counted;
use crate::model::{Channel, Connection, Gap, Process, Request, Snapshot, Source};
use crate::read::{Budget, Image, Truncated};

/// Rows of one process in the kernel maps.
#[derive(Debug, Clone, Default)]
pub struct KernelRows<'a> {
    /// Requests in flight.
    pub requests: Vec<&'a (RecordKey, RequestValue)>,
    /// Open channels.
    pub channels: Vec<&'a (RecordKey, ChannelValue)>,
    /// Open connections.
    pub connections: Vec<&'a (RecordKey, ConnectionValue)>,
}

/// Makes the snapshot of a process from the kernel maps, as of `now_ns` on the clock of the maps, which is also the
/// clock of `taken_ns`.
///
/// A seeded row that no probe has seen has the source [`Source::Registry`]. The oldest rows are decoded, as many as
/// there is `room` for. Rows with unknown codes are left out and counted. `images` provide the names.
pub fn from_kernel(
    process: Process,
    rows: KernelRows<'_>,
    images: &[Image],
    now_ns: u64,
    room: &Budget,
) -> Snapshot {
    let names = Names::of_all(images);
    let decoder = KernelDecoder {
        observing: observing(&rows, images),
        builder: RowBuilder {
            names: &names,
            source: Source::Probes,
            now_ns,
        },
    };
    let KernelRows {
        mut requests,
        mut channels,
        mut connections,
    } = rows;
    let mut truncated = Truncated::default();
    let room_for = |part: usize| part.min(room.rows);
    truncated.connections = keep_oldest(&mut connections, room_for(room.connections), |value| {
        value.opened_ns
    });
    truncated.channels = keep_oldest(&mut channels, room_for(room.channels), |value| {
        value.opened_ns
    });
    // What the others leave, and half at the least, as of a registry.
    let others = connections.len() + channels.len();
    let room_for_requests = room.rows.saturating_sub(others).max(room.rows / 2);
    truncated.requests = keep_oldest(&mut requests, room_for_requests, |value| value.started_ns);
    let count = requests.len() + channels.len() + connections.len();
    let requests: Vec<_> = requests
        .into_iter()
        .filter_map(|(key, value)| decoder.request(key.serial, value))
        .collect();
    let request_ids = request_ids(&requests, channels.iter().map(|(_, value)| value.request));
    let channels: Vec<_> = channels
        .into_iter()
        .filter_map(|(key, value)| decoder.channel(key.serial, value, &request_ids))
        .collect();
    let connections: Vec<_> = connections
        .into_iter()
        .filter_map(|(key, value)| decoder.connection(key.serial, value))
        .collect();
    let invalid = count - (requests.len() + channels.len() + connections.len());
    let mut gaps: Vec<_> = truncated.gaps().collect();
    if invalid > 0 {
        gaps.push(Gap::Invalid {
            count: invalid as u64,
        });
    }
    let mut snapshot = Snapshot {
        gaps,
        requests,
        channels,
        connections,
        ..Snapshot::new(process, Source::Probes, now_ns)
    };
    snapshot.sort();
    snapshot
}

/// Returns what the eBPF programs could not record, over all traced processes, as gaps.
///
/// Unless the maps were seeded with everything that started before, an end without a row is no loss.
pub fn loss_gaps(
    losses: impl Iterator<Item = (Loss, u64)>,
    is_seeded: bool,
) -> impl Iterator<Item = Gap> {
    let is_unmatched = |loss| {
        use Loss::{ChannelUnmatched, ConnectionUnmatched, RequestUnmatched};
        matches!(
            loss,
            RequestUnmatched | ChannelUnmatched | ConnectionUnmatched
        )
    };
    losses
        .filter(move |&(loss, _)| is_seeded || !is_unmatched(loss))
        .map(|(loss, count)| {
            let (what, how) = match loss {
                Loss::RequestInsert => ("requests", "lost (kernel map full)"),
                Loss::ChannelInsert => ("channels", "lost (kernel map full)"),
                Loss::ConnectionInsert => ("connections", "lost (kernel map full)"),
                Loss::TrafficInsert => ("requests", "not counted in the window (kernel map full)"),
                Loss::RequestUnmatched => ("requests", "ended without a row in the kernel map"),
                Loss::ChannelUnmatched => ("channels", "closed without a row in the kernel map"),
                Loss::ConnectionUnmatched => {
                    ("connections", "closed without a row in the kernel map")
                }
                Loss::RequestDelete => ("ended requests", "still in the kernel map"),
                Loss::ChannelDelete => ("closed channels", "still in the kernel map"),
                Loss::ConnectionDelete => ("closed connections", "still in the kernel map"),
                Loss::TargetInsert => ("events", "lost with their process (kernel map full)"),
            };
            Gap::Other {
                text: format!("{} {how}", Counted(count, what)),
            }
        })
}

/// Keeps so many rows, the oldest. Returns how many there were besides.
fn keep_oldest<V>(rows: &mut Vec<&(RecordKey, V)>, room: usize, began_ns: fn(&V) -> u64) -> u64 {
    let truncated = rows.len().saturating_sub(room);
    if truncated > 0 {
        rows.select_nth_unstable_by_key(room, |(_, value)| began_ns(value));
        rows.truncate(room);
    }
    truncated as u64
}

/// The connections of which it is known that their driver reports when a request is written.
fn observing(rows: &KernelRows<'_>, images: &[Image]) -> HashSet<u64> {
    let connections = images.iter().flat_map(|image| image.connections.values());
    let flagged = connections
        .filter(|row| row.flags & FLAG_OBSERVES_WRITES != 0)
        .map(|row| row.serial);
    // A driver that reported one request as written reports all.
    let written = rows
        .requests
        .iter()
        .filter(|(_, value)| {
            value.direction == Direction::Outgoing.code() && value.phase >= Phase::Sent.code()
        })
        .map(|(_, value)| value.connection);
    flagged.chain(written).collect()
}

fn source(seen: u32) -> Source {
    match seen {
        0 => Source::Registry,
        _ => Source::Probes,
    }
}

struct KernelDecoder<'a> {
    observing: HashSet<u64>,
    builder: RowBuilder<'a>,
}

impl KernelDecoder<'_> {
    fn request(&self, serial: u64, value: &RequestValue) -> Option<Request> {
        let request = self.builder.request(&RequestFields {
            serial,
            connection: value.connection,
            request_id: value.request_id,
            method_id: value.method_id,
            direction: value.direction,
            kind: value.kind,
            phase: value.phase,
            mark: value.mark,
            started_ns: value.started_ns,
            phase_ns: value.phase_ns,
            request_bytes: value.request_bytes,
        })?;
        let is_answered = matches!(request.phase, Phase::Responded | Phase::Responding);
        Some(Request {
            source: source(value.seen),
            parent: (value.parent != 0).then_some(value.parent),
            writes_observable: self.observing.contains(&value.connection),
            response_bytes: (is_answered || value.response_bytes > 0)
                .then_some(value.response_bytes),
            ..request
        })
    }

    fn channel(
        &self,
        serial: u64,
        value: &ChannelValue,
        request_ids: &HashMap<u64, u64>,
    ) -> Option<Channel> {
        let fields = ChannelFields {
            serial,
            connection: value.connection,
            request: value.request,
            channel_id: value.channel_id,
            direction: value.direction,
            side: value.side,
            type_index: value.type_index,
            opened_ns: value.opened_ns,
            last_activity_ns: value.last_activity_ns,
            bytes_sent: value.bytes_sent,
            items_sent: value.items_sent,
            bytes_received: value.bytes_received,
            items_received: value.items_received,
            receive_budget_bytes: value.receive_budget_bytes,
        };
        Some(Channel {
            source: source(value.seen),
            ..self.builder.channel(&fields, request_ids)?
        })
    }

    fn connection(&self, serial: u64, value: &ConnectionValue) -> Option<Connection> {
        let fields = ConnectionFields {
            serial,
            link: value.link,
            conn_id: value.conn_id,
            role: value.role,
            opened_ns: value.opened_ns,
        };
        Some(Connection {
            source: source(value.seen),
            ..self.builder.connection(&fields)?
        })
    }
}

#[cfg(test)]
mod tests {
    use roam_trace_common::event::RequestKind;

    use super::*;

    fn request(serial: u64, phase: Phase) -> (RecordKey, RequestValue) {
        let key = RecordKey {
            serial,
            tgid: 7,
            reserved: 0,
        };
        let value = RequestValue {
            connection: 3,
            started_ns: serial,
            direction: Direction::Outgoing.code(),
            phase: phase.code(),
            kind: RequestKind::Call.code(),
            seen: 1,
            ..RequestValue::default()
        };
        (key, value)
    }

    fn decode(requests: &[(RecordKey, RequestValue)], room: usize) -> Snapshot {
        let process = Process::new(7, "demo");
        let rows = KernelRows {
            requests: requests.iter().collect(),
            ..KernelRows::default()
        };
        let room = Budget {
            rows: room,
            ..Budget::default()
        };
        from_kernel(process, rows, &[], 1_000, &room)
    }

    fn serials(snapshot: &Snapshot) -> Vec<u64> {
        snapshot.requests.iter().map(|row| row.serial).collect()
    }

    #[test]
    fn unknown_codes_are_counted() {
        let mut unknown = request(1, Phase::Sent);
        unknown.1.phase = 99;
        let snapshot = decode(&[unknown, request(2, Phase::Sent)], 10);
        assert_eq!(serials(&snapshot), [2]);
        assert_eq!(snapshot.gaps, [Gap::Invalid { count: 1 }]);
    }

    #[test]
    fn the_oldest_rows_are_kept() {
        let rows = [3, 1, 2].map(|serial| request(serial, Phase::Sent));
        let snapshot = decode(&rows, 2);
        assert_eq!(serials(&snapshot), [1, 2]);
        let what = "younger requests";
        assert_eq!(snapshot.gaps, [Gap::Truncated { what, count: 1 }]);
    }

    #[test]
    fn rows_that_no_probe_saw_are_the_registrys() {
        let mut unseen = request(1, Phase::Sent);
        unseen.1.seen = 0;
        let snapshot = decode(&[unseen, request(2, Phase::Sent)], 10);
        let sources: Vec<_> = snapshot.requests.iter().map(|row| row.source).collect();
        assert_eq!(sources, [Source::Registry, Source::Probes]);
    }

    /// Whether a call that was handed over is shown as one whose write nobody reports.
    fn check_observable(other: Option<Phase>, expected: bool) {
        let mut rows = vec![request(1, Phase::HandedOver)];
        rows.extend(other.map(|phase| request(2, phase)));
        assert_eq!(decode(&rows, 10).requests[0].writes_observable, expected);
    }

    #[test]
    fn drivers_that_report_writes() {
        check_observable(None, false);
        check_observable(Some(Phase::HandedOver), false);
        check_observable(Some(Phase::Sent), true);
    }

    #[test]
    fn losses() {
        let losses = [(Loss::RequestInsert, 3), (Loss::RequestUnmatched, 2)];
        let inserts = "3 requests lost (kernel map full)";
        let unmatched = "2 requests ended without a row in the kernel map";
        for (is_seeded, expected) in [(true, &[inserts, unmatched][..]), (false, &[inserts])] {
            let gaps: Vec<_> = loss_gaps(losses.into_iter(), is_seeded)
                .map(|gap| gap.to_string())
                .collect();
            assert_eq!(gaps, expected);
        }
    }
}
