//! What the full test run needs of a Debian machine: installs what is missing, and says so. Builds nothing
//! and tests nothing.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::{fs, io};

use anyhow::{Result, bail, ensure};

use crate::process;

/// Commands that the tests start, and the Debian package each is in.
const TOOLS: [(&str, &str); 5] = [
    ("mold", "mold"),
    ("bpftrace", "bpftrace"),
    ("llvm-strip", "llvm"),
    ("setcap", "libcap2-bin"),
    ("systemd-analyze", "systemd"),
];
/// Parts of a toolchain that rustup's minimal profile leaves out.
const COMPONENTS: [(&str, &str); 2] = [("fmt", "rustfmt"), ("clippy", "clippy")];

/// The toolchain that fuzzing and Miri need.
pub(crate) const NIGHTLY: &str = "nightly";
const CARGO_FUZZ_VERSION: &str = "0.13.2";

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
    if !is_root {
        let missing = missing(&TOOLS);
        if !missing.is_empty() {
            println!(
                "missing, and only root can install it: {}; tests that need it will fail",
                missing.join(" ")
            );
        }
        return Ok(());
    }
    install(&TOOLS)
}

/// Installs a nightly toolchain and components of it, as far as they are missing.
pub(crate) fn install_nightly(components: &[&str]) -> Result<()> {
    let mut list = Command::new("rustup");
    list.args(["component", "list", "--installed", "--toolchain", NIGHTLY]);
    let installed = process::capture(list)?;
    let is_missing = |component: &&&str| {
        let mut names = installed.text.lines();
        !names.any(|name| name.starts_with(**component))
    };
    let missing: Vec<_> = components.iter().filter(is_missing).collect();
    let mut rustup = Command::new("rustup");
    if !installed.success {
        rustup.args(["toolchain", "install", NIGHTLY, "--profile", "minimal"]);
        // Not every nightly has every component.
        rustup.args(["--no-self-update", "--allow-downgrade"]);
        for component in components {
            rustup.args(["--component", component]);
        }
    } else if !missing.is_empty() {
        rustup.args(["component", "add", "--toolchain", NIGHTLY]);
        rustup.args(missing);
    } else {
        return Ok(());
    }
    process::require(rustup)
}

/// Builds cargo-fuzz where it is missing.
pub(crate) fn install_cargo_fuzz() -> Result<()> {
    if runs(Command::new("cargo").args(["fuzz", "--version"])) {
        return Ok(());
    }
    println!("installing cargo-fuzz");
    let package = ["cargo-fuzz", "--version", CARGO_FUZZ_VERSION];
    // It only starts others: to optimise it would take longer than it ever runs.
    let install = ["install", "--quiet", "--locked", "--debug"];
    process::require(process::cargo(install.iter().chain(&package)))
}

/// Installs the packages of commands that are missing. Needs root if there is one.
pub(crate) fn install(tools: &[(&str, &str)]) -> Result<()> {
    install_packages(&missing(tools))
}

/// Installs packages, which needs root; nothing where there are none.
pub(crate) fn install_packages(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("missing, and there is no apt-get to install it: {names}");
    }
    println!("installing {names}");
    update_packages()?;
    let mut arguments = vec!["install", "--quiet", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    apt_get(&arguments)
}

/// Has apt find out what there is.
pub(crate) fn update_packages() -> Result<()> {
    apt_get(&["update", "--quiet"])
}

fn missing<'a>(tools: &[(&str, &'a str)]) -> Vec<&'a str> {
    tools
        .iter()
        .filter(|(tool, _)| !starts(Command::new(tool).arg("--version")))
        .map(|(_, package)| *package)
        .collect()
}

/// Makes sure of root, and mounts what attaching needs: a minimal machine or container has neither file
/// system.
pub(crate) fn prepare_to_attach() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "only root can attach to probes"
    );
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
    status(command).is_ok_and(|status| status.success())
}

/// Whether there is such a program; not every one knows what it is asked.
fn starts(command: &mut Command) -> bool {
    status(command).is_ok()
}

fn status(command: &mut Command) -> io::Result<ExitStatus> {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status()
}
