//! Installs what a task needs of a Debian machine and of the Rust toolchains, as far as it is missing, and says
//! so. The only place that does.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::{paths, process};

/// A file or a command, and the Debian package that it is in.
type Needed = (&'static str, &'static str);

/// A C++ compiler, which libFuzzer is built with.
pub(crate) const FUZZING: [Needed; 1] = [("c++", "g++")];
/// What tests start and link with.
const TESTS: [Needed; 8] = [
    ("mold", "mold"),
    ("bpftrace", "bpftrace"),
    ("llvm-strip", "llvm"),
    ("setcap", "libcap2-bin"),
    ("systemd-analyze", "systemd"),
    ("fish", "fish"),
    ("zsh", "zsh"),
    ("less", "less"),
];
pub(crate) const BPFTRACE: [Needed; 1] = [TESTS[1]];
/// What says which libraries a program needs, of which packages.
pub(crate) const PACKAGING: [Needed; 1] = [("dpkg-shlibdeps", "dpkg-dev")];
/// Virtual machines, and what packs their files.
pub(crate) const MACHINES: [Needed; 2] =
    [("qemu-system-x86_64", "qemu-system-x86"), ("cpio", "cpio")];
/// A linker, a C library and an emulator for AArch64.
pub(crate) const AARCH64: [Needed; 3] = [
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    (
        "/usr/aarch64-linux-gnu/lib/libc.so",
        "libc6-dev-arm64-cross",
    ),
    ("qemu-aarch64-static", "qemu-user-static"),
];
/// Debian's compiler, and the sources of its standard library.
pub(crate) const STANDARD_LIBRARY: [Needed; 2] = [
    ("/usr/bin/rustc", "rustc-web"),
    (
        "/usr/lib/rustlib/src/rust/library/Cargo.lock",
        "rust-web-src",
    ),
];
/// Debian's compiler, its `core` for BPF, and what bpf-linker is built with.
pub(crate) const EBPF: [Needed; 6] = [
    STANDARD_LIBRARY[0],
    (
        "/usr/lib/rustlib/bpfel-unknown-none/lib",
        "libstd-rust-web-dev-bpf",
    ),
    ("/usr/lib/llvm-22/bin/llvm-config", "llvm-22-dev"),
    ("/usr/lib/llvm-22/include/polly", "libpolly-22-dev"),
    ("/usr/include/zstd.h", "libzstd-dev"),
    FUZZING[0],
];

/// Parts of a toolchain that rustup's minimal profile leaves out.
const COMPONENTS: [(&str, &str); 2] = [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")];

/// The toolchain that fuzzing and Miri need.
pub(crate) const NIGHTLY: &str = "nightly";

/// Everything that the full test run needs, in one go: apt does one thing at a time. Without root only what
/// rustup can install.
pub(crate) fn everything(rootless: bool) -> Result<()> {
    for (command, component) in COMPONENTS {
        if !process::succeeds(&format!("{command} --version")) {
            require(&format!("rustup component add {component}"))?;
        }
    }
    let mut needed = [&FUZZING[..], &TESTS, &PACKAGING, &EBPF].concat();
    if !rootless {
        needed.extend([&MACHINES[..], &AARCH64].concat());
    }
    let missing = missing(&needed);
    if missing.is_empty() || is_root() {
        return packages(&needed);
    }
    println!(
        "missing, and only root can install it: {}; tests that need it will fail",
        missing.join(" ")
    );
    Ok(())
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Installs packages. Needs root if one is missing.
pub(crate) fn packages(needed: &[Needed]) -> Result<()> {
    let missing = missing(needed).join(" ");
    if missing.is_empty() {
        return Ok(());
    }
    ensure!(
        is_root() && paths::find("apt-get").is_some(),
        "cannot install {missing}: run this as root on Debian 12 or later, or install these packages yourself"
    );
    println!("installing {missing}");
    update_packages()?;
    apt_get(&format!(
        "install --quiet --yes --no-install-recommends {missing}"
    ))
}

/// Has apt find out what there is.
pub(crate) fn update_packages() -> Result<()> {
    apt_get("update --quiet")
}

fn apt_get(arguments: &str) -> Result<()> {
    let mut apt_get = process::command("apt-get");
    apt_get
        .args(arguments.split(' '))
        .env("DEBIAN_FRONTEND", "noninteractive");
    process::require(apt_get)
}

fn missing(needed: &[Needed]) -> Vec<&'static str> {
    let is_missing = |needed: &str| match needed.starts_with('/') {
        true => !Path::new(needed).exists(),
        false => paths::find(needed).is_none(),
    };
    let mut packages: Vec<_> = needed
        .iter()
        .filter(|(needed, _)| is_missing(needed))
        .map(|(_, package)| *package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Installs a nightly toolchain with components, as far as it is missing.
pub(crate) fn nightly(components: &[&str]) -> Result<()> {
    let list = format!("rustup component list --installed --toolchain {NIGHTLY}");
    let installed = process::capture(process::command(&list))?;
    let is_there = |component: &&str| {
        let mut names = installed.text.lines();
        names.any(|name| name.starts_with(component))
    };
    match installed.success && components.iter().all(is_there) {
        true => Ok(()),
        false => toolchain(NIGHTLY, components),
    }
}

/// Installs a toolchain with components. Not every nightly has every component: one that has them is taken.
pub(crate) fn toolchain(name: &str, components: &[&str]) -> Result<()> {
    let options = "--profile minimal --no-self-update --allow-downgrade";
    let components: String = components
        .iter()
        .map(|component| format!(" --component {component}"))
        .collect();
    require(&format!(
        "rustup toolchain install {name} {options}{components}"
    ))
}

fn require(line: &str) -> Result<()> {
    process::require(process::command(line))
}
