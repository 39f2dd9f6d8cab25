//! Connections.

use std::fmt;
use std::io;

use roam_trace_common::event::{ConnectionState, Role};

use super::cell::{Bytes, level};
use super::fold::{Fold, Placed, Shapes, fold};
use super::layout::{Level, Options, section};
use super::table::{Column, table};
use crate::count::Count;
use crate::duration::{Age, Ago};
use crate::model::{Confidence, Connection, ConnectionSocket, Traffic};

const CONNECTIONS: [Column; 9] = [
    Column::left("PROCESS"),
    Column::left("CONNECTION"),
    Column::right("COUNT"),
    Column::names("PEER"),
    Column::left("STATE"),
    Column::left("SENT"),
    Column::left("RECEIVED"),
    Column::left("ROLE"),
    Column::right("CONN"),
];

/// Connections from which on those that are alike are folded: fewer are told apart by their sockets.
const FOLDED: usize = 10;

/// Writes the section of connections; if there are none, `none`.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn connections(
    out: &mut impl io::Write,
    options: &Options,
    rows: &[Placed<'_, Connection>],
    names_process: bool,
    none: &str,
) -> io::Result<()> {
    section(out, options, "CONNECTIONS")?;
    let mut shapes = Shapes::default();
    let folds = fold(rows, options.fold_from(FOLDED), |snapshot, row| {
        (
            (snapshot.process.pid, &*row.name, row.role, row.conn_id),
            (row.state, row.delivering.map(|_| row.serial)),
            row.peer.as_ref().map(|peer| peer.process.pid),
            shapes.verdict(row.verdict.as_deref()),
        )
    });
    table(out, options, &CONNECTIONS, &folds, none, |fold, line| {
        let row = fold.first();
        match names_process {
            true => line.cell(&fold.snapshot.process),
            false => line.cell(""),
        }
        line.cell(&row.name);
        line.cell(fold.count());
        line.cell(Peer(row));
        line.cell(State(fold));
        line.cell(Messages(fold, |row| row.sent));
        line.cell(Messages(fold, |row| row.received));
        line.cell(match row.role {
            Role::Initiator => "initiator",
            Role::Acceptor => "acceptor",
        });
        match row.conn_id {
            0 => line.cell(""),
            virtual_id => line.cell(virtual_id),
        }
        let is_open = matches!(row.state, ConnectionState::Open | ConnectionState::Grouping);
        let of_state = if is_open { Level::Plain } else { Level::Slow };
        line.level = level(row.verdict.as_deref()).max(of_state);
        if let [row] = fold.rows.as_slice() {
            for note in [attempts(row), socket(row), delivering(row)] {
                note.into_iter().for_each(|note| line.note(note));
            }
        }
        fold.note_verdict(line, |row| row.verdict.as_deref());
    })
}

/// The state of connections, and since when they are in it.
struct State<'a>(&'a Fold<'a, Connection>);

impl fmt::Display for State<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.ages(|row| row.state_age_us);
        match self.0.first().state {
            ConnectionState::Closed => match self.0.rows.as_slice() {
                [row] => write!(f, "closed {}", Ago(row.state_age_us)),
                _ => write!(f, "closed {since} ago"),
            },
            ConnectionState::Connecting => write!(f, "connecting {since}"),
            ConnectionState::BackingOff => write!(f, "backing off {since}"),
            ConnectionState::Disconnected => f.write_str("not connected"),
            ConnectionState::Open | ConnectionState::Grouping => {
                write!(f, "open {}", self.0.ages(|row| row.age_us))
            }
        }
    }
}

/// How many messages there were in one direction, their bytes, and when the last one was.
struct Messages<'a>(&'a Fold<'a, Connection>, fn(&Connection) -> Option<Traffic>);

impl fmt::Display for Messages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(fold, traffic) = self;
        let all: Vec<_> = (fold.rows.iter()).filter_map(|row| traffic(row)).collect();
        let sum = |number: fn(&Traffic) -> u64| all.iter().map(number).fold(0, u64::saturating_add);
        if all.is_empty() {
            return Ok(());
        }
        match sum(|traffic| traffic.messages) {
            0 => return f.write_str("0"),
            messages => write!(f, "{}", Count(messages))?,
        }
        write!(f, " ({})", Bytes(sum(|traffic| traffic.payload_bytes)))?;
        match all.iter().filter_map(|traffic| traffic.idle_us).min() {
            Some(idle_us) => write!(f, ", {}", Ago(idle_us)),
            None => Ok(()),
        }
    }
}

/// The process at the other end.
struct Peer<'a>(&'a Connection);

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [first, others @ ..] = self.0.possible_peers.as_slice() {
            write!(f, "→ one of {first}")?;
            return others.iter().try_for_each(|peer| write!(f, ", {peer}"));
        }
        let Some(peer) = &self.0.peer else {
            return Ok(());
        };
        let likely = match peer.confidence {
            Confidence::Known | Confidence::High => "",
            Confidence::Medium => "likely ",
        };
        write!(f, "→ {likely}{}", peer.process)
    }
}

/// The attempts of a client to connect.
fn attempts(connection: &Connection) -> Option<String> {
    let attempts = connection.attempts;
    match connection.state {
        ConnectionState::BackingOff => Some(format!("attempt {attempts} failed")),
        ConnectionState::Disconnected => Some(format!(
            "attempt {attempts} failed, no other for {}",
            Age(connection.state_age_us)
        )),
        _ => None,
    }
}

fn delivering(connection: &Connection) -> Option<String> {
    let delivering = connection.delivering?;
    let waiting = Age(delivering.waiting_us);
    Some(format!(
        "delivering to channel {} for {waiting}",
        delivering.channel_id
    ))
}

/// The descriptor of the socket, its addresses or paths, and what it holds; or why it is not known.
fn socket(connection: &Connection) -> Option<String> {
    let socket: &ConnectionSocket = match (&connection.socket, connection.socket_unknown) {
        (Some(socket), _) => socket,
        (None, Some(reason)) => return Some(format!("socket unknown: {reason}")),
        (None, None) => return None,
    };
    let likely = match socket.confidence {
        Confidence::Known => "",
        Confidence::High | Confidence::Medium => "likely ",
    };
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
    let facts = match facts.as_slice() {
        [] => String::new(),
        facts => format!(" ({})", facts.join(", ")),
    };
    Some(format!("{likely}fd {}{facts}", socket.descriptor))
}
