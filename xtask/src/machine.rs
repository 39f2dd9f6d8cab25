//! What the full test run needs of a Debian machine: installs what is missing, and says so. Builds nothing
//! and tests nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::process;

/// Commands that the tests start, and the Debian package each is in.
const TOOLS: [(&str, &str); 2] = [("mold", "mold"), ("bpftrace", "bpftrace")];
/// Parts of a toolchain that rustup's minimal profile leaves out.
const COMPONENTS: [(&str, &str); 2] = [("fmt", "rustfmt"), ("clippy", "clippy")];

/// Installs missing tools. Without root only what rustup can.
pub(crate) fn prepare(is_root: bool) -> Result<()> {
    for (subcommand, component) in COMPONENTS {
        if !runs(Command::new("cargo").args([subcommand, "--version"])) {
            println!("installing the toolchain's {component}");
            let mut rustup = Command::new("rustup");
            rustup.args(["component", "add", component]);
            process::require(rustup)?;
        }
    }
    let missing: Vec<_> = TOOLS
        .iter()
        .filter(|(tool, _)| !runs(Command::new(tool).arg("--version")))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !is_root {
        println!("missing, and only root can install it: {packages}; tests that need it will fail");
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("missing, and there is no apt-get to install it: {packages}");
    }
    println!("installing {packages}");
    apt_get(&["update", "--quiet"])?;
    let mut arguments = vec!["install", "--quiet", "--yes", "--no-install-recommends"];
    arguments.extend(missing);
    apt_get(&arguments)
}

/// A minimal machine or container has neither.
pub(crate) fn mount_kernel_filesystems() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    for (kind, directory) in [("bpf", "/sys/fs/bpf"), ("tracefs", "/sys/kernel/tracing")] {
        if !mounts.contains(&format!(" {directory} {kind} ")) {
            println!("mounting {kind} on {directory}");
            let mut mount = Command::new("mount");
            mount.args(["-t", kind, kind, directory]);
            process::require(mount)?;
        }
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(arguments);
    process::require(command)
}

fn runs(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
