//! The process a row belongs to.

use std::fmt;

use serde::Serialize;

/// A process of a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its pid in the pid namespace of the reader.
    pub pid: u32,
    /// Its name (`comm`).
    pub name: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name, self.pid)
    }
}

/// Whether a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// It runs or can run.
    Alive,
    /// A signal or a debugger has stopped it.
    Stopped,
    /// It is gone, or a zombie.
    Dead,
}
