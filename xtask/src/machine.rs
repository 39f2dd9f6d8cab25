//! What attaching to probes needs of the running machine.

use std::fs;

use anyhow::{Result, ensure};

use crate::{install, process};

/// Makes sure of root, and mounts what attaching needs: a minimal machine or container has neither file
/// system.
pub(crate) fn prepare_to_attach() -> Result<()> {
    ensure!(install::is_root(), "only root can attach to probes");
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    for (kind, directory) in [("bpf", "/sys/fs/bpf"), ("tracefs", "/sys/kernel/tracing")] {
        if !mounts.contains(&format!(" {directory} {kind} ")) {
            let mount = format!("mount -t {kind} {kind} {directory}");
            process::require(process::command(&mount))?;
        }
    }
    Ok(())
}
