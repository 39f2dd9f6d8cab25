//! One row as one line of text, with its verdict below.

use std::fmt;
use std::sync::Arc;

use roam_trace_common::event::{ChannelDirection, ConnectionState, Direction, Mark, Phase, Role};

use crate::count::Counted;
use crate::duration::{Age, Ago};
use crate::model::{
    Channel, Confidence, Connection, ConnectionSocket, Request, Snapshot, Source, Traffic, Verdict,
    Window,
};

pub(super) struct RequestLine<'a> {
    request: &'a Request,
    snapshot: &'a Snapshot,
    /// The verdict of the row above.
    above: Option<&'a Verdict>,
}

pub(super) fn request_lines<'a>(
    rows: impl Iterator<Item = (&'a Snapshot, &'a Request)>,
) -> impl Iterator<Item = RequestLine<'a>> {
    let mut above = None;
    rows.map(move |(snapshot, request)| RequestLine {
        request,
        snapshot,
        above: std::mem::replace(&mut above, request.verdict.as_deref()),
    })
}

impl fmt::Display for RequestLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.request;
        write!(f, "[req_id={}] ", request.request_id)?;
        f.write_str(&request.method_name())?;
        if let Some(arguments) = &request.arguments {
            write!(f, "({arguments})")?;
        }
        let age = Age(request.age_us);
        match request.direction {
            Direction::Outgoing => write!(f, " - waiting {age} (")?,
            Direction::Incoming => write!(f, " - received {age} ago (")?,
        }
        f.write_str(match request.mark {
            Some(Mark::EndedWithoutAnswer) => "ended without answer",
            Some(Mark::Orphaned) | None => phase(request),
        })?;
        f.write_str(match request.mark {
            Some(Mark::Orphaned) => ", orphaned)",
            Some(Mark::EndedWithoutAnswer) | None => ")",
        })?;
        connection_name(f, request.connection_name.as_deref())?;
        only_source(f, request.source, request.age_us, self.snapshot)?;
        match (&request.verdict, self.above) {
            // A hundred thousand calls behind one driver have one reason.
            (Some(verdict), Some(above)) if Arc::ptr_eq(&verdict.text, &above.text) => {
                f.write_str("\n    ↳ same verdict as above")
            }
            (verdict, _) => why(f, verdict.as_deref()),
        }
    }
}

/// A call that was written and not answered.
pub(super) struct PendingLine<'a>(pub(super) &'a Request);

impl fmt::Display for PendingLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[req_id={}] - waiting {}",
            self.0.request_id,
            Age(self.0.phase_age_us)
        )?;
        connection_name(f, self.0.connection_name.as_deref())
    }
}

pub(super) struct ChannelLine<'a>(pub(super) &'a Channel, pub(super) &'a Snapshot);

impl fmt::Display for ChannelLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channel = self.0;
        let (name, way) = match channel.direction {
            ChannelDirection::Tx => ("Tx", "outgoing"),
            ChannelDirection::Rx => ("Rx", "incoming"),
        };
        let element_type = channel.element_type.as_deref().unwrap_or("?");
        write!(
            f,
            "[ch={}] {name}<{element_type}> - open {} ({way}",
            channel.channel_id,
            Age(channel.age_us)
        )?;
        let is_tx = channel.direction == ChannelDirection::Tx;
        if is_tx || channel.items_sent > 0 {
            write!(f, ", {} sent", Bytes(channel.bytes_sent))?;
        }
        if !is_tx || channel.items_received > 0 {
            write!(f, ", {} received", Bytes(channel.bytes_received))?;
        }
        let unread = channel
            .items_read
            .map_or(0, |read| channel.items_received.saturating_sub(read));
        if unread > 0 {
            write!(f, ", {}", Counted(unread, "unread items"))?;
        }
        if channel.items_received > 0
            && let Some(budget) = channel.receive_budget_bytes
        {
            write!(f, ", peer may send {} more", Bytes(budget))?;
        }
        if let Some(idle_us) = channel.idle_us {
            write!(f, ", idle {}", Age(idle_us))?;
        }
        f.write_str(")")?;
        match channel.request_id {
            Some(request_id) => write!(f, " · req_id={request_id}")?,
            None => connection_name(f, channel.connection_name.as_deref())?,
        }
        only_source(f, channel.source, channel.age_us, self.1)?;
        why(f, channel.verdict.as_deref())
    }
}

pub(super) struct ConnectionLine<'a>(pub(super) &'a Connection);

impl fmt::Display for ConnectionLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = self.0;
        let role = match connection.role {
            Role::Initiator => "initiator",
            Role::Acceptor => "acceptor",
        };
        write!(
            f,
            "{} ({role}, conn {})",
            connection.name, connection.conn_id
        )?;
        let state_age = Age(connection.state_age_us);
        match connection.state {
            ConnectionState::Closed => write!(f, " - closed {}", Ago(connection.state_age_us))?,
            ConnectionState::Connecting => write!(f, " - connecting {state_age}")?,
            ConnectionState::BackingOff => write!(
                f,
                " - backing off {state_age} (attempt {} failed)",
                connection.attempts
            )?,
            ConnectionState::Disconnected => write!(
                f,
                " - not connected (attempt {} failed, no other for {state_age})",
                connection.attempts
            )?,
            ConnectionState::Open | ConnectionState::Grouping => {
                write!(f, " - open {}", Age(connection.age_us))?;
            }
        }
        if let (Some(sent), Some(received)) = (connection.sent, connection.received) {
            write!(
                f,
                " (sent {}; received {})",
                Messages(sent),
                Messages(received)
            )?;
        }
        match (&connection.socket, connection.socket_unknown) {
            (Some(socket), _) => socket_text(f, socket)?,
            (None, Some(reason)) => write!(f, " · socket unknown: {reason}")?,
            (None, None) => {}
        }
        if let Some(peer) = &connection.peer {
            let likely = match peer.confidence {
                Confidence::Known | Confidence::High => "",
                Confidence::Medium => "likely ",
            };
            write!(f, " → {likely}{}", peer.process)?;
        }
        if let Some(delivering) = connection.delivering {
            write!(
                f,
                " · delivering to channel {} for {}",
                delivering.channel_id,
                Age(delivering.waiting_us)
            )?;
        }
        why(f, connection.verdict.as_deref())
    }
}

/// The descriptor of a socket, its addresses or paths, and what it holds.
fn socket_text(f: &mut fmt::Formatter<'_>, socket: &ConnectionSocket) -> fmt::Result {
    let likely = match socket.confidence {
        Confidence::Known => "",
        Confidence::High | Confidence::Medium => "likely ",
    };
    write!(f, " · {likely}fd {}", socket.descriptor)?;
    let addresses = match (&socket.local, &socket.remote) {
        (Some(local), Some(remote)) => Some(format!("{local} to {remote}")),
        (Some(local), None) => Some(local.to_string()),
        (None, Some(remote)) => Some(format!("to {remote}")),
        (None, None) => None,
    };
    let held = [
        (socket.unread_bytes, "unread"),
        (socket.unsent_bytes, "unsent"),
    ];
    let held = held.into_iter().filter(|&(bytes, _)| bytes > 0);
    let held = held.map(|(bytes, how)| format!("{} {how}", Bytes(bytes)));
    let facts: Vec<_> = addresses.into_iter().chain(held).collect();
    match facts.as_slice() {
        [] => Ok(()),
        facts => write!(f, " ({})", facts.join(", ")),
    }
}

struct Messages(Traffic);

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let traffic = self.0;
        Counted(traffic.messages, "messages").fmt(f)?;
        match traffic.idle_us {
            Some(idle_us) => write!(f, ", {}, {}", Bytes(traffic.payload_bytes), Ago(idle_us)),
            None => Ok(()),
        }
    }
}

/// The verdict, on a line of its own below the row.
fn why(f: &mut fmt::Formatter<'_>, verdict: Option<&Verdict>) -> fmt::Result {
    match verdict {
        Some(verdict) => write!(f, "\n    ↳ {}: {}", verdict.code, verdict.text),
        None => Ok(()),
    }
}

fn phase(request: &Request) -> &'static str {
    match request.phase {
        Phase::Queued => "waiting for the queue",
        Phase::HandedOver if request.writes_observable => "handed over",
        Phase::HandedOver => "handed over, write not observable",
        Phase::Sent => "sent",
        Phase::Responded => "responded",
        Phase::Received => "received",
        Phase::Running => "running",
        Phase::Responding => "responding",
    }
}

fn connection_name(f: &mut fmt::Formatter<'_>, name: Option<&str>) -> fmt::Result {
    match name {
        Some(name) => write!(f, " · {name}"),
        None => Ok(()),
    }
}

/// Says where a row comes from, unless all of the snapshot comes from there. A row that began in the window and that no
/// probe saw is newer than the reading of the kernel maps.
fn only_source(
    f: &mut fmt::Formatter<'_>,
    row: Source,
    age_us: u64,
    snapshot: &Snapshot,
) -> fmt::Result {
    let is_in = |window: &Window| age_us < window.duration_us;
    let is_newer = row == Source::Registry && snapshot.window.as_ref().is_some_and(is_in);
    if row == snapshot.source || is_newer {
        Ok(())
    } else {
        write!(f, " · {row} only")
    }
}

/// A number of bytes, as a person reads it.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 byte"),
            bytes @ 0..1_000 => write!(f, "{bytes} bytes"),
            bytes => {
                let options = humansize::DECIMAL.decimal_places(1);
                fmt::Display::fmt(&humansize::SizeFormatter::new(bytes, options), f)
            }
        }
    }
}
