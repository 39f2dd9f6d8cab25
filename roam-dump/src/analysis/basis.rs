//! What a step from one row to another rests on.

use super::facts::Via;

/// What a step from what waits to what it waits for rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitBasis {
    /// What waits is in the process that it waits for.
    OwnProcess,
    /// The process at the other end cannot do anything.
    ProcessState,
    /// The same, where only one end of the link shows that this is the process.
    LikelyPeer,
    /// The driver is that of the row's own connection.
    OwnConnection,
    /// The driver waits for room in a channel of the request.
    ChannelOwner,
    /// The process recorded which handler made the call.
    RecordedParent,
    /// Several links may be the other end, and one of them has the request.
    OnlyCandidate,
    /// The handler runs in that process, as others of its method do, and has no call out.
    InsideProcess,
    /// It has run longest of the handlers of that method and has a call out; none has ended since it made that call.
    LongestCallOut,
    /// The message lies in a ring of shared memory that this process reads.
    Ring,
    /// The two connections were paired.
    Pairing(PairingId),
}

/// One of the pairings that were found, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PairingId(pub(crate) u32);

/// Why two links were taken for the ends of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PairingBasis {
    /// Their transports use the two ends of one socket connection.
    Sockets(Via),
    /// What both ends saw.
    Observed {
        /// What their processes share, where that is known.
        via: Option<Via>,
        /// Requests that both ends have.
        requests: u32,
        /// Whether each end received what the other sent.
        do_counters_match: bool,
        /// How far apart the two ends were opened, where they were opened together.
        opened_apart_us: Option<i64>,
        /// Whether all other candidates were paired first.
        is_by_elimination: bool,
    },
}
