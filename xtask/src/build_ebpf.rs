//! Builds the kernel programs, one object for each architecture of the tracer, and compares them with the
//! committed ones.
//!
//! An object depends neither on the directory it is built in nor on what else is installed: it says of no panic
//! where in a source that is, and no symbol in it has a name that the compiler made up. It has no BTF: the maps are
//! declared without types, and the linker would copy the text of source lines, those of `core` wherever its
//! sources are installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::tally::Tally;
use crate::{install, paths, process};

/// What objects are built for. They differ in where a probe's arguments are found.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];
const TARGET: &str = "bpfel-unknown-none";

/// What the committed objects were built with, from the repository's root.
const RECORD: &str = "roam-trace/ebpf/TOOLCHAIN";

const LINKER: &str = "bpf-linker";
const LINKER_VERSION: &str = "0.13.0";
const LLVM: &str = "/usr/lib/llvm-22";
const DEBIAN: &str = "/usr/bin/rustc";

/// Builds the objects and writes them.
pub(crate) fn run() -> Result<()> {
    let toolchain = Toolchain::find()?;
    for architecture in ARCHITECTURES {
        let committed = committed(architecture);
        fs::copy(toolchain.build(architecture)?, &committed)
            .with_context(|| format!("cannot write {}", committed.display()))?;
        println!("wrote {}", committed.display());
    }
    fs::write(paths::root().join(RECORD), toolchain.record()?)
        .with_context(|| format!("cannot write {RECORD}"))
}

/// Builds the objects and compares them with the committed ones: one test each.
pub(crate) fn check() -> Result<Tally> {
    let toolchain = Toolchain::find()?;
    let recorded = fs::read_to_string(paths::root().join(RECORD))
        .with_context(|| format!("cannot read {RECORD}"))?;
    let is_the_recorded_one = recorded == toolchain.record()?;
    if !is_the_recorded_one {
        println!("the committed objects were built with another toolchain:\n{recorded}");
    }
    let mut tally = Tally::default();
    for architecture in ARCHITECTURES {
        let (built, committed) = (toolchain.build(architecture)?, committed(architecture));
        let same = match is_the_recorded_one {
            true => fs::read(&built)? == fs::read(&committed)?,
            false => disassemble(&built)? == disassemble(&committed)?,
        };
        match same {
            true => println!("{} is up to date", committed.display()),
            false => println!(
                "{} is not what roam-trace-ebpf builds to: run `cargo xtask build-ebpf` and commit it; if \
                 the source is unchanged, compare with the recorded toolchain",
                committed.display()
            ),
        }
        tally += Tally::one(same);
    }
    Ok(tally)
}

fn committed(architecture: &str) -> PathBuf {
    paths::root().join(format!("roam-trace/ebpf/roam-trace.{architecture}.o"))
}

/// A compiler for BPF.
enum Toolchain {
    /// Debian's, with a prebuilt `core`.
    Debian,
    /// Rustup's nightly, which builds `core` from its source.
    Nightly,
}

impl Toolchain {
    /// The one on this machine, else Debian's, which is installed where root runs this. Debian's first, since its
    /// version is the recorded one more often than a nightly is.
    fn find() -> Result<Self> {
        let has_linker = paths::find(LINKER).is_some();
        let nightly = "rustup run nightly rustc --print sysroot";
        let sources = process::read(process::command(nightly))
            .map(|sysroot| Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core"));
        if install::packages(&install::EBPF).is_err() {
            if !(has_linker && sources.is_ok_and(|core| core.is_dir())) {
                bail!(
                    "cannot build the eBPF side without a compiler for BPF and {LINKER}. Run this as root on \
                     Debian 12 or later, or:\n\
                     \x20   rustup toolchain install nightly --component rust-src\n\
                     \x20   cargo install {LINKER} --version {LINKER_VERSION}"
                );
            }
            return Ok(Self::Nightly);
        }
        if !has_linker {
            // Nearly all that it does is done by LLVM: to optimise the rest takes longer than it ever saves.
            let mut cargo =
                process::cargo("install --debug --no-default-features --features llvm-22");
            cargo
                .args([LINKER, "--version", LINKER_VERSION])
                .env("CARGO_PROFILE_DEV_DEBUG", "none")
                .env("LLVM_PREFIX", LLVM);
            process::require(cargo)?;
        }
        Ok(Self::Debian)
    }

    /// Builds an object and returns where it is.
    fn build(&self, architecture: &str) -> Result<PathBuf> {
        let directory = paths::target().join("ebpf");
        let flags = format!(
            "-Clinker={LINKER} -Zlocation-detail=none --cfg=bpf_target_arch=\"{architecture}\""
        );
        let mut cargo = process::cargo("build --release --locked --target");
        cargo
            .arg(TARGET)
            .current_dir(paths::root().join("roam-trace-ebpf"))
            .env("CARGO_TARGET_DIR", &directory)
            .env("RUSTFLAGS", flags)
            // Unstable options are needed, and the compiler of a release has them behind a word.
            .env("RUSTC_BOOTSTRAP", "1");
        match self {
            Self::Debian => cargo.env("RUSTC", DEBIAN),
            Self::Nightly => cargo
                .env("RUSTUP_TOOLCHAIN", "nightly")
                .args(["-Z", "build-std=core"]),
        };
        process::require(cargo)?;
        // The next architecture's takes its place.
        let object = directory.join(format!("roam-trace.{architecture}.o"));
        fs::copy(directory.join(TARGET).join("release/roam-trace"), &object)?;
        Ok(object)
    }

    /// What is written beside the object: with the same lines, the same bytes are expected.
    fn record(&self) -> Result<String> {
        let rustc = match self {
            Self::Debian => format!("{DEBIAN} --version"),
            Self::Nightly => "rustup run nightly rustc --version".to_owned(),
        };
        let rustc = process::read(process::command(&rustc))?;
        let linker = process::read(process::command(&format!("{LINKER} --version")))?;
        Ok(format!("rustc: {rustc}{LINKER}: {linker}"))
    }
}

/// The instructions of an object, without its file name.
fn disassemble(object: &Path) -> Result<String> {
    let debians = Path::new(LLVM).join("bin/llvm-objdump");
    let objdump = paths::find("llvm-objdump").unwrap_or(debians);
    let mut objdump = Command::new(objdump);
    objdump.args(["-d", "--no-show-raw-insn"]).arg(object);
    let text = process::read(objdump)?;
    let lines = text.lines().filter(|line| !line.contains("file format"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}
