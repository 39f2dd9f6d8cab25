//! The process a row belongs to.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// A process of a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Process {
    /// Its pid in the pid namespace of the reader.
    pub pid: u32,
    /// Its name (`comm`).
    pub name: String,
    /// The uid that it acts as, if the dump has processes of several users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
}

impl Process {
    /// Names a process without its user.
    pub fn new(pid: u32, name: impl Into<String>) -> Self {
        Self {
            pid,
            name: name.into(),
            user: None,
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user {
            Some(user) => write!(f, "{}[{} uid {user}]", self.name, self.pid),
            None => write!(f, "{}[{}]", self.name, self.pid),
        }
    }
}

/// How a process was started, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessDetails {
    /// Its arguments, separated by spaces; `None` if they cannot be read or there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line: Option<Arc<str>>,
    /// The uid that it acts as.
    pub uid: u32,
    /// The name of that user in `/etc/passwd`, if it has one there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<Arc<str>>,
    /// Microseconds since it started.
    pub uptime_us: u64,
}

/// Whether a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// It runs or can run.
    Alive,
    /// A signal or a debugger has stopped it.
    Stopped,
    /// It is gone, or a zombie.
    Dead,
}

/// A fact about a whole process that keeps its calls from moving, or soon will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessFinding {
    /// What was found.
    #[serde(flatten)]
    pub kind: FindingKind,
    /// How bad it is.
    pub severity: Severity,
    /// The same as a sentence.
    pub text: Arc<str>,
}

/// What was found about a whole process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum FindingKind {
    /// A signal or a debugger has stopped it.
    Stopped,
    /// It is gone, or a zombie.
    Dead,
    /// No driver of it runs, although some have work.
    RuntimeBlocked(RuntimeBlocked),
    /// Bytes that have arrived on links whose drivers are stalled.
    UnreadBytes {
        /// How many.
        unread_bytes: u64,
        /// On how many links.
        links: u32,
    },
    /// Clients without a connection.
    LinksLost {
        /// How many.
        links: u32,
        /// Name of the one that has had none for longest.
        name: Arc<str>,
        /// Microseconds that it has had none.
        since_us: u64,
        /// Microseconds since its last attempt to connect, if no call waits for a further one.
        #[serde(skip_serializing_if = "Option::is_none")]
        no_attempt_us: Option<u64>,
        /// Its attempts to connect that failed since.
        attempts: u32,
        /// Times that it has lost the link, the present outage included.
        losses: u32,
        /// Why its last attempt failed, if that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        last_error: Option<Arc<str>>,
    },
    /// A table of its registry has little room left.
    TableNearFull {
        /// The table.
        table: &'static str,
        /// Rows in use.
        used: u64,
        /// Rows that there is room for.
        capacity: u32,
    },
    /// It has nearly as many open descriptors as it may have.
    DescriptorsNearLimit {
        /// How many.
        open: u64,
        /// How many it may have.
        limit: u64,
    },
}

/// No driver of a process runs, although some have work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RuntimeBlocked {
    /// Microseconds that none of the drivers with work has run.
    pub idle_us: u64,
    /// Links whose drivers have work and do not run.
    pub starved_links: u32,
    /// Links that are open.
    pub open_links: u32,
    /// Bytes in the sockets of these links that the process has not read.
    pub unread_bytes: u64,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is held up yet.
    Warning,
    /// It holds up what the process does.
    Critical,
}
