//! The control channel between the host and each cell: JSON lines on the cell's standard input and output.
//! It is not a roam connection: a hung link carries nothing, and no dump should show it.

use std::io::{self, BufRead, BufReader, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::expect::{ExpectedChannel, ExpectedRequest};

/// An order from the host to a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Make no more background calls, and report when the last one has ended.
    PauseTraffic,
    /// Report how many bytes of the host's link are unread, once that no longer changes.
    CountUnread,
    /// Let the calls that are held answer, and call the host, over a link whose driver is blocked.
    QueueBehindBlockedDriver,
    /// Let the calls that are held go on.
    Release,
    /// Block every worker thread of the runtime, and call the host nevertheless.
    BlockWorkers,
    /// Have another process keep this end of the host's link open.
    LeaveHolder,
}

/// A report from a cell to the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// Its sockets accept connections, its signal handlers are installed.
    Listening,
    /// Background calls to the host are answered.
    TrafficFlows,
    /// No background call of this cell is in flight.
    TrafficPaused,
    /// A request of this cell got where it stays.
    Stuck {
        /// The request.
        request: ExpectedRequest,
        /// Its channels.
        channels: Vec<ExpectedChannel>,
    },
    /// Bytes that arrived on the host's link and stay unread.
    Unread {
        /// How many.
        bytes: usize,
    },
    /// Another process has this end of the host's link.
    LeftHolder,
    /// As many watchers wait as were announced.
    Watched,
    /// A failure, which ends the demo.
    Failed {
        /// What it was.
        error: String,
    },
}

/// Writes one message.
pub(crate) fn write(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Hands every message to `handle` until the other end is gone.
pub(crate) fn read<M: DeserializeOwned>(
    from: impl Read,
    mut handle: impl FnMut(M),
) -> io::Result<()> {
    for line in BufReader::new(from).lines() {
        handle(serde_json::from_str(&line?)?);
    }
    Ok(())
}
