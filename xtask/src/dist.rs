//! `cargo xtask dist`: what a release consists of. The binary, its man page, its completions and the unit, as files and
//! as a Debian package.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::demo::{Demo, Programs};
use crate::process::{self, Finished};
use crate::tally::Tally;
use crate::{install, paths};

const NAME: &str = "roam-trace";
const BINARY: &str = "usr/bin/roam-trace";
const MAN_PAGE: &str = "usr/share/man/man1/roam-trace.1";
const UNITS: [(&str, &str); 2] = [
    (
        "dist/roam-trace.service",
        "usr/lib/systemd/system/roam-trace.service",
    ),
    (
        "dist/roam-trace-arm.service",
        "usr/lib/systemd/system/roam-trace-arm.service",
    ),
];
const DOCUMENTATION: &str = "usr/share/doc/roam-trace";
/// Each shell, and where Debian's looks for completions of packages.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/roam-trace"),
    ("zsh", "usr/share/zsh/vendor-completions/_roam-trace"),
    (
        "fish",
        "usr/share/fish/vendor_completions.d/roam-trace.fish",
    ),
];

/// A hung call counts as stuck after one second.
const STUCK: Duration = Duration::from_millis(1_500);

/// Builds the files and the package.
pub(crate) fn run() -> Result<()> {
    let package = build(&Programs::build()?)?;
    println!("files: {}", files().display());
    println!("package: {}", package.display());
    Ok(())
}

/// Installs the package below a directory of its own, runs what it installs, and removes it. One test.
pub(crate) fn check() -> Result<Tally> {
    let programs = Programs::build()?;
    let package = build(&programs)?;
    let root = empty_system()?;
    dpkg(&root, &["--install".as_ref(), package.as_os_str()])?;
    for (_, path) in COMPLETIONS {
        ensure!(root.join(path).is_file(), "the package has no /{path}");
    }
    for path in [UNITS[0].1, UNITS[1].1, &format!("{MAN_PAGE}.gz")] {
        ensure!(root.join(path).is_file(), "the package has no /{path}");
    }
    let demo = Demo::start(&programs, &["--hang", "handler"])?;
    std::thread::sleep(STUCK);
    let done = try_installed(&root, &demo.host.to_string());
    demo.stop()?;
    done?;
    dpkg(&root, &["--purge".as_ref(), NAME.as_ref()])?;
    let left = root.join("usr");
    ensure!(
        !left.exists(),
        "files are left below {} after the package was removed",
        left.display()
    );
    println!("installed, ran and removed {}", package.display());
    Ok(Tally::one(true))
}

fn directory() -> PathBuf {
    paths::target().join("dist")
}

/// The files, as they are installed below `/`.
fn files() -> PathBuf {
    directory().join("files")
}

fn build(programs: &Programs) -> Result<PathBuf> {
    install::packages(&install::PACKAGING)?;
    let files = files();
    if files.exists() {
        fs::remove_dir_all(&files)?;
    }
    let binary = place(BINARY, &fs::read(programs.trace().get_program())?)?;
    fs::set_permissions(
        &binary,
        fs::metadata(programs.trace().get_program())?.permissions(),
    )?;
    process::require(with("strip --strip-unneeded", &binary))?;

    let mut man = programs.trace();
    man.arg("man");
    let page = place(MAN_PAGE, process::read(man)?.as_bytes())?;
    process::require(with("gzip --best --no-name", &page))?;
    for (shell, path) in COMPLETIONS {
        let mut registration = programs.trace();
        // By this name the shells call it.
        registration.arg0(NAME).env("COMPLETE", shell);
        place(path, process::read(registration)?.as_bytes())?;
    }
    let repository = paths::root();
    for (unit, path) in UNITS {
        place(path, &fs::read(repository.join(unit))?)?;
    }
    for page in fs::read_dir(repository.join("docs"))? {
        let page = page?;
        let name = page.file_name().to_string_lossy().into_owned();
        place(&format!("{DOCUMENTATION}/{name}"), &fs::read(page.path())?)?;
    }
    let licenses = ["LICENSE-MIT", "LICENSE-APACHE"].map(|name| fs::read(repository.join(name)));
    let [mit, apache] = licenses;
    place(
        &format!("{DOCUMENTATION}/copyright"),
        &[&b"MIT OR Apache-2.0\n\n"[..], &mit?, b"\n", &apache?].concat(),
    )?;
    package(&binary)
}

/// Makes the package of the files.
fn package(binary: &Path) -> Result<PathBuf> {
    let version = env!("CARGO_PKG_VERSION");
    let architecture = process::read(process::command("dpkg --print-architecture"))?;
    let architecture = architecture.trim();
    let depends = depends(binary)?;
    let control = format!(
        "Package: {NAME}\n\
        Version: {version}\n\
        Architecture: {architecture}\n\
        Maintainer: The {NAME} authors\n\
        Section: utils\n\
        Priority: optional\n\
        Depends: {depends}\n\
        Description: shows what a running roam program is waiting for\n \
        Prints the requests in flight and the open channels of a running program\n \
        that is built on the RPC framework roam, and which request blocks which.\n"
    );
    place("DEBIAN/control", control.as_bytes())?;
    // Whatever the umask is.
    process::require(with("chmod --recursive u=rwX,go=rX", &files()))?;
    let package = directory().join(format!("{NAME}_{version}_{architecture}.deb"));
    let mut build = with("dpkg-deb --root-owner-group --build", &files());
    build.arg(&package);
    process::require(build)?;
    Ok(package)
}

/// The packages that the binary's libraries are in, as `Depends` has them.
fn depends(binary: &Path) -> Result<String> {
    // It works in source packages only.
    let source = directory().join("source");
    fs::create_dir_all(source.join("debian"))?;
    fs::write(source.join("debian/control"), "")?;
    let mut shlibdeps = with("dpkg-shlibdeps -O", binary);
    shlibdeps.current_dir(source);
    let variables = process::read(shlibdeps)?;
    let depends = variables.trim().strip_prefix("shlibs:Depends=");
    Ok(depends
        .context("dpkg-shlibdeps found no libraries")?
        .to_owned())
}

fn place(path: &str, content: &[u8]) -> Result<PathBuf> {
    let path = files().join(path);
    fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
    fs::write(&path, content)?;
    Ok(path)
}

fn with(line: &str, path: &Path) -> Command {
    let mut command = process::command(line);
    command.arg(path);
    command
}

/// A directory with the package database of a system that has the packages of this machine and none of their files.
fn empty_system() -> Result<PathBuf> {
    let root = paths::scratch().join("system");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let database = root.join("var/lib/dpkg");
    for directory in ["info", "updates", "triggers"] {
        fs::create_dir_all(database.join(directory))?;
    }
    fs::copy("/var/lib/dpkg/status", database.join("status"))?;
    Ok(root)
}

fn dpkg(root: &Path, arguments: &[&std::ffi::OsStr]) -> Result<()> {
    let mut dpkg = process::command("dpkg --force-not-root");
    let log = root.join("dpkg.log");
    dpkg.arg(format!("--log={}", log.display()));
    dpkg.arg(format!("--root={}", root.display()))
        .args(arguments);
    succeed(dpkg).map(|_| ())
}

/// Dumps a process that hangs, and has bash complete its pid.
fn try_installed(root: &Path, pid: &str) -> Result<()> {
    let mut dump = Command::new(root.join(BINARY));
    dump.args(["-p", pid]);
    let dump = succeed(dump)?;
    ensure!(dump.contains("WAIT GRAPH"), "no dump: {dump}");

    let bin = root.join("usr/bin");
    let completions = root.join(COMPLETIONS[0].1);
    let script = format!(
        "PATH={}:$PATH; source {}; COMP_WORDS=(roam-trace -p ''); COMP_CWORD=2; \
        _clap_complete_roam_trace roam-trace '' -p; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        bin.display(),
        completions.display(),
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]);
    let candidates = succeed(bash)?;
    let mut words = candidates.split_ascii_whitespace();
    ensure!(words.any(|word| word == pid), "bash completes {candidates}");
    Ok(())
}

fn succeed(command: Command) -> Result<String> {
    let Finished { success, text, .. } = process::capture(command)?;
    ensure!(success, "{text}");
    Ok(text)
}
