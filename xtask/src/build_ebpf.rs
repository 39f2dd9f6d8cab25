//! Builds the kernel programs, one object for each architecture of the tracer, and
//! compares them with the committed ones.
//!
//! Owns the choice of a toolchain and what to install where there is none. An
//! object depends neither on the directory it is built in nor on what else is
//! installed: paths are remapped, and no symbol in it has a name that the compiler
//! made up. It has no BTF: the maps are declared without types, and the linker would
//! copy the text of source lines, those of `core` wherever its sources are installed.

use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// What objects are built for. They differ in where a probe's arguments are found.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];
const TARGET: &str = "bpfel-unknown-none";

/// What the committed objects were built with, from the repository's root.
const RECORD: &str = "roam-trace/ebpf/TOOLCHAIN";

const LINKER_VERSION: &str = "0.13.0";
const LLVM_VERSION: &str = "22";

/// Debian's compiler, its prebuilt `core` for BPF, and what bpf-linker is built with.
const PACKAGES: [&str; 6] = [
    "rustc-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "libpolly-22-dev",
    "libzstd-dev",
    "build-essential",
];

/// Arguments of `cargo xtask build-ebpf`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Compare with the committed objects instead of replacing them.
    #[arg(long)]
    pub(crate) check: bool,
    /// Install what is needed for it first (Debian, as root).
    #[arg(long)]
    pub(crate) install: bool,
    /// The compiler to use, where there are several [default: Debian's if it is there].
    #[arg(long, value_enum)]
    pub(crate) compiler: Option<CompilerKind>,
}

/// Builds the objects; writes them, or compares them with the committed ones.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.install {
        install()?;
    }
    let toolchain = Toolchain::find(args.compiler)?;
    eprintln!("build-ebpf: {toolchain}");
    for architecture in ARCHITECTURES {
        let committed = committed(architecture);
        let built = toolchain.build(architecture)?;
        if args.check {
            check(&toolchain, &committed, &built)?;
        } else {
            fs::copy(&built, root().join(&committed))
                .with_context(|| format!("cannot write {committed}"))?;
            eprintln!("build-ebpf: wrote {committed}");
        }
    }
    if !args.check {
        fs::write(root().join(RECORD), toolchain.record())
            .with_context(|| format!("cannot write {RECORD}"))?;
    }
    Ok(())
}

/// The committed object of an architecture, from the repository's root.
fn committed(architecture: &str) -> String {
    format!("roam-trace/ebpf/roam-trace.{architecture}.o")
}

/// How to come by a toolchain, for people.
pub(crate) fn install_hint() -> String {
    format!(
        "Either, on Debian 12 or later, as root:\n\
         \x20   apt-get install {packages}\n\
         \x20   {linker}\n\
         or, with rustup:\n\
         \x20   rustup toolchain install nightly --component rust-src --component llvm-tools\n\
         \x20   cargo install bpf-linker --version {LINKER_VERSION}",
        packages = PACKAGES.join(" "),
        linker = linker_install().join(" "),
    )
}

/// Installs the Debian toolchain, as far as it is missing. Needs root and the network.
pub(crate) fn install() -> Result<()> {
    if Toolchain::find(None).is_ok() {
        return Ok(());
    }
    ensure!(
        Path::new("/usr/bin/apt-get").exists(),
        "no toolchain for the eBPF side, and no apt-get to install one.\n{}",
        install_hint()
    );
    if Compiler::debian().is_none() {
        eprintln!("build-ebpf: installing {}", PACKAGES.join(" "));
        let apt = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            command.env("DEBIAN_FRONTEND", "noninteractive");
            execute(command.args(arguments))
        };
        apt(&["update", "--quiet"])?;
        let mut arguments = vec!["install", "--quiet", "--yes", "--no-install-recommends"];
        arguments.extend(PACKAGES);
        apt(&arguments)?;
    }
    if Linker::find().is_none() {
        eprintln!("build-ebpf: building bpf-linker {LINKER_VERSION}, which takes some minutes");
        execute(Command::new("env").args(linker_install()))?;
    }
    Toolchain::find(None).map(|_| ())
}

/// The command that builds bpf-linker with Debian's LLVM, as words for env(1).
fn linker_install() -> Vec<String> {
    format!(
        "LLVM_PREFIX=/usr/lib/llvm-{LLVM_VERSION} cargo install bpf-linker --version \
         {LINKER_VERSION} --no-default-features --features llvm-{LLVM_VERSION}"
    )
    .split_whitespace()
    .map(str::to_owned)
    .collect()
}

/// Everything that decides what the object looks like.
struct Toolchain {
    compiler: Compiler,
    linker: Linker,
}

impl Toolchain {
    /// The one on this machine: Debian's if it is there, since its version is the recorded one
    /// more often than a nightly is.
    fn find(kind: Option<CompilerKind>) -> Result<Self> {
        let compiler = match kind {
            Some(CompilerKind::Debian) => Compiler::debian(),
            Some(CompilerKind::Nightly) => Compiler::nightly(),
            None => Compiler::debian().or_else(Compiler::nightly),
        };
        let linker = Linker::find();
        match (compiler, linker) {
            (Some(compiler), Some(linker)) => Ok(Self { compiler, linker }),
            (compiler, linker) => {
                let missing: Vec<&str> = [
                    (compiler.is_none(), "a Rust compiler for BPF"),
                    (linker.is_none(), "bpf-linker"),
                ]
                .into_iter()
                .filter_map(|(is_missing, name)| is_missing.then_some(name))
                .collect();
                bail!(
                    "cannot build the eBPF side without {}.\n{}",
                    missing.join(", "),
                    install_hint()
                )
            }
        }
    }

    /// Builds the object and returns where it is.
    fn build(&self, architecture: &str) -> Result<PathBuf> {
        let target_directory = root().join("target/ebpf").join(architecture);
        let mut command = Command::new(cargo());
        command
            .current_dir(root().join("roam-trace-ebpf"))
            .args(["build", "--release", "--locked", "--target", TARGET])
            .arg("--target-dir")
            .arg(&target_directory)
            .env("RUSTC_BOOTSTRAP", "1")
            .env(
                "CARGO_ENCODED_RUSTFLAGS",
                self.compiler_flags(architecture)?.join("\x1f"),
            )
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTUP_TOOLCHAIN");
        self.compiler.configure(&mut command);
        execute(&mut command)?;
        Ok(target_directory.join(TARGET).join("release/roam-trace"))
    }

    fn compiler_flags(&self, architecture: &str) -> Result<Vec<String>> {
        let mut flags = vec![
            format!("-Clinker={}", self.linker.path.display()),
            format!("--cfg=bpf_target_arch=\"{architecture}\""),
            format!("--remap-path-prefix={}=.", root().display()),
        ];
        for registry in registries()? {
            flags.push(format!(
                "--remap-path-prefix={}=/registry",
                registry.display()
            ));
        }
        Ok(flags)
    }

    /// What is written beside the object: with the same lines, the same bytes are expected.
    fn record(&self) -> String {
        let mut record = String::new();
        for (tool, version) in [
            ("rustc", &self.compiler.version),
            ("bpf-linker", &self.linker.version),
        ] {
            // Writing to a string does not fail.
            let _ = writeln!(record, "{tool}: {version}");
        }
        record
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "found {} ({}) and {}",
            self.compiler.version, self.compiler.kind, self.linker.version
        )
    }
}

/// A compiler that can build for BPF.
struct Compiler {
    kind: CompilerKind,
    version: String,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum CompilerKind {
    /// Debian's, with a prebuilt `core`.
    Debian,
    /// Rustup's nightly, which builds `core` from its source.
    Nightly,
}

impl fmt::Display for CompilerKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Debian => "Debian's rustc-web",
            Self::Nightly => "rustup's nightly with -Z build-std=core",
        })
    }
}

impl Compiler {
    const DEBIAN: &str = "/usr/bin/rustc";

    fn debian() -> Option<Self> {
        let core = output(Command::new(Self::DEBIAN).args([
            "--print",
            "target-libdir",
            "--target",
            TARGET,
        ]))?;
        if !Path::new(&core).is_dir() {
            return None;
        }
        Some(Self {
            kind: CompilerKind::Debian,
            version: version_of(Path::new(Self::DEBIAN))?,
        })
    }

    fn nightly() -> Option<Self> {
        let rustc = |argument: &[&str]| {
            output(
                Command::new("rustup")
                    .args(["run", "nightly", "rustc"])
                    .args(argument),
            )
        };
        let sysroot = rustc(&["--print", "sysroot"])?;
        if !Path::new(&sysroot)
            .join("lib/rustlib/src/rust/library/core")
            .is_dir()
        {
            return None;
        }
        Some(Self {
            kind: CompilerKind::Nightly,
            version: rustc(&["--version"])?,
        })
    }

    fn configure(&self, command: &mut Command) {
        match self.kind {
            CompilerKind::Debian => {
                command.env("RUSTC", Self::DEBIAN);
            }
            CompilerKind::Nightly => {
                command
                    .env("RUSTUP_TOOLCHAIN", "nightly")
                    .env_remove("RUSTC")
                    .args(["-Z", "build-std=core"]);
            }
        }
    }
}

struct Linker {
    path: PathBuf,
    version: String,
}

impl Linker {
    fn find() -> Option<Self> {
        let installed = cargo_home().map(|home| home.join("bin/bpf-linker"));
        [Some(PathBuf::from("bpf-linker")), installed]
            .into_iter()
            .flatten()
            .find_map(|path| {
                let version = version_of(&path)?;
                Some(Self { path, version })
            })
    }
}

/// Compares a built object with the committed one.
fn check(toolchain: &Toolchain, object: &str, built: &Path) -> Result<()> {
    let committed = root().join(object);
    let recorded =
        fs::read_to_string(root().join(RECORD)).with_context(|| format!("cannot read {RECORD}"))?;
    let advice = format!(
        "{object} is not what roam-trace-ebpf builds to: run `cargo xtask build-ebpf` and commit it"
    );
    if recorded == toolchain.record() {
        let same = read(&committed)? == read(built)?;
        ensure!(same, "{advice}");
        eprintln!("build-ebpf: {object} is up to date, byte for byte");
        return Ok(());
    }
    eprintln!("build-ebpf: the committed object was built with another toolchain:\n{recorded}");
    ensure!(
        disassemble(&committed)? == disassemble(built)?,
        "{advice}; if the source is unchanged, the two compilers differ, and only the recorded \
         toolchain can tell"
    );
    eprintln!("build-ebpf: {object} is up to date, by disassembly");
    Ok(())
}

/// The instructions of an object, without its file name.
fn disassemble(object: &Path) -> Result<String> {
    let tool = llvm_tool("llvm-objdump")
        .with_context(|| format!("llvm-objdump is missing.\n{}", install_hint()))?;
    let text = output(
        Command::new(&tool)
            .args(["-d", "--no-show-raw-insn"])
            .arg(object),
    )
    .with_context(|| format!("cannot disassemble {}", object.display()))?;
    Ok(text
        .lines()
        .filter(|line| !line.contains("file format"))
        .collect::<Vec<_>>()
        .join("\n"))
}

/// A tool of LLVM's: Debian puts the version in its name, rustup hides it in the toolchain.
fn llvm_tool(name: &str) -> Option<PathBuf> {
    let hidden = output(Command::new("rustup").args([
        "run",
        "nightly",
        "rustc",
        "--print",
        "target-libdir",
    ]))
    .map(|libraries| Path::new(&libraries).with_file_name("bin").join(name));
    [
        Some(PathBuf::from(format!(
            "/usr/lib/llvm-{LLVM_VERSION}/bin/{name}"
        ))),
        hidden,
        Some(PathBuf::from(name)),
    ]
    .into_iter()
    .flatten()
    .find(|tool| version_of(tool).is_some())
}

/// Where cargo keeps the sources of dependencies.
fn registries() -> Result<Vec<PathBuf>> {
    let sources = cargo_home()
        .context("neither CARGO_HOME nor HOME is set")?
        .join("registry/src");
    let Ok(entries) = fs::read_dir(&sources) else {
        return Ok(Vec::new());
    };
    entries
        .map(|entry| {
            Ok(entry
                .with_context(|| format!("cannot read {}", sources.display()))?
                .path())
        })
        .collect()
}

fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
}

/// Rustup's cargo, not the toolchain's own: it must be able to run another toolchain.
fn cargo() -> PathBuf {
    cargo_home()
        .map(|home| home.join("bin/cargo"))
        .filter(|cargo| cargo.exists())
        .unwrap_or_else(|| PathBuf::from("cargo"))
}

fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The line of a tool's `--version` that has a number in it.
fn version_of(tool: &Path) -> Option<String> {
    let text = output(Command::new(tool).arg("--version"))?;
    let line = text
        .lines()
        .find(|line| line.contains(|letter: char| letter.is_ascii_digit()))?;
    Some(line.trim().to_owned())
}

/// What a command prints, if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn execute(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}
