//! The only file that asks roam to be diagnosable: the SIGUSR1 dump, and names
//! for connections.

use anyhow::{Context, Result};
use roam::session::ConnectionHandle;
use roam_dump::sigusr1;

/// Writes a dump to standard error whenever this process gets SIGUSR1.
pub(crate) fn install() -> Result<()> {
    sigusr1::install().context("cannot install the SIGUSR1 dump")
}

/// Passes SIGUSR1 on to a cell that has installed its own dump.
pub(crate) fn forward_to(cell: u32) -> Result<()> {
    sigusr1::register_child_pid(cell)
        .with_context(|| format!("cannot pass SIGUSR1 on to cell {cell}"))
}

/// What a dump calls this connection.
pub(crate) fn name_connection(handle: &ConnectionHandle, name: &str) {
    handle.set_diagnostic_name(name);
}
