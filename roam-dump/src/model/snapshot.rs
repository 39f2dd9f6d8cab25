//! The rows of one process at one moment.

use serde::Serialize;

use super::{
    Channel, Connection, Gap, MethodStatistics, Process, ProcessDetails, ProcessFinding, Request,
    Source, Window,
};

/// The rows of one process at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Snapshot {
    /// The process.
    pub process: Process,
    /// How the process was started, and when; `None` in a dump on SIGUSR1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<ProcessDetails>,
    /// Whether nobody asked for the process: others of the dump wait for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub followed: bool,
    /// Where the rows come from.
    pub source: Source,
    /// Microseconds since its probes were armed, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub armed_us: Option<u64>,
    /// The moment that ages count back from: `CLOCK_MONOTONIC` nanoseconds of the reader's time
    /// namespace, so that times of several processes compare.
    pub taken_ns: u64,
    /// What is missing; empty if the snapshot is complete.
    pub gaps: Vec<Gap>,
    /// Younger requests and channels that are left out because the user wants older ones only.
    pub younger_hidden: u64,
    /// What was found about the process as a whole, the worst first.
    pub findings: Vec<ProcessFinding>,
    /// Requests in flight, oldest first.
    pub requests: Vec<Request>,
    /// Open channels, oldest first.
    pub channels: Vec<Channel>,
    /// Connections, oldest first.
    pub connections: Vec<Connection>,
    /// The calls that have ended since the process started, by method and direction.
    pub methods: Vec<MethodStatistics>,
    /// How full the tables of its registry are.
    pub tables: Vec<TableUse>,
    /// With `-d`: the requests that started and ended while the probes were attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// How full a table of a registry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TableUse {
    /// The table.
    pub table: &'static str,
    /// Rows in use.
    pub used: u64,
    /// The most rows that were in use at one time.
    pub high_water: u32,
    /// Rows that there is room for.
    pub capacity: u32,
}

impl Snapshot {
    /// Returns whether the process reports its requests by probes only, and none is attached.
    pub fn has_unknown_requests(&self) -> bool {
        self.gaps.contains(&Gap::ProbesOnly { attached: false })
    }

    /// Returns whether the process reports its requests by probes only.
    pub fn is_probes_only(&self) -> bool {
        let mut gaps = self.gaps.iter();
        gaps.any(|gap| matches!(gap, Gap::ProbesOnly { .. }))
    }

    /// Returns a snapshot without rows.
    pub fn new(process: Process, source: Source, taken_ns: u64) -> Self {
        Self {
            process,
            details: None,
            followed: false,
            source,
            armed_us: None,
            taken_ns,
            gaps: Vec::new(),
            younger_hidden: 0,
            findings: Vec::new(),
            requests: Vec::new(),
            channels: Vec::new(),
            connections: Vec::new(),
            methods: Vec::new(),
            tables: Vec::new(),
            window: None,
        }
    }

    /// Sorts every list: oldest first, then by serial.
    pub fn sort(&mut self) {
        use std::cmp::Reverse;
        self.requests
            .sort_unstable_by_key(|row| (Reverse(row.age_us), row.serial));
        self.channels
            .sort_unstable_by_key(|row| (Reverse(row.age_us), row.serial));
        self.connections
            .sort_unstable_by_key(|row| (Reverse(row.age_us), row.serial));
    }

    /// Leaves out requests and channels younger than `min_age_us`, and counts them.
    pub fn retain_older(&mut self, min_age_us: u64) {
        let rows = |snapshot: &Self| snapshot.requests.len() + snapshot.channels.len();
        let before = rows(self);
        self.requests.retain(|row| row.age_us >= min_age_us);
        self.channels.retain(|row| row.age_us >= min_age_us);
        self.younger_hidden += (before - rows(self)) as u64;
    }
}
