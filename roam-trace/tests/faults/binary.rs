//! What the target's program is made of, and what becomes of its files while it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::attached;
use crate::target::{Target, binary, check_no_zombies};

/// Watches a target from one pause to the next, and checks what was seen.
fn check(target: Target) {
    let tracer = target.trace();
    target.run();
    target.pause();
    target.end_as(&tracer.stop());
}

/// Has cargo build a part of the load that `cargo build` leaves out, and returns where it is.
fn built(arguments: &[&str], path: &str) -> PathBuf {
    let debug = Path::new(env!("CARGO_BIN_EXE_roam-trace"))
        .parent()
        .unwrap();
    let status = Command::new(env!("CARGO"))
        .args(["rustc", "--quiet", "--package", "load", "--target-dir"])
        .arg(debug.parent().unwrap())
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success());
    binary(path)
}

/// The program linked statically. No manifest can ask cargo for that.
pub(crate) fn static_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let name = "roam-load-static";
    let arguments = ["--bin", name, "--", "-Ctarget-feature=+crt-static"];
    BINARY.get_or_init(|| built(&arguments, name))
}

/// The load as a library.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let arguments = ["--example", "roam_load_library"];
    LIBRARY.get_or_init(|| built(&arguments, "examples/libroam_load_library.so"))
}

#[test]
#[ignore = "needs root"]
fn target_is_linked_statically() {
    let target = Target::start_by(|_| Command::new(static_binary()), &[]);
    let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid)).unwrap();
    assert!(!maps.contains("libc"), "{maps}");
    check(target);
}

/// The program after a tool that strips it was run on it.
fn stripped(tool: &str, directory: &Path) -> Command {
    let path = directory.join("roam-load");
    let status = Command::new(tool)
        .arg("-o")
        .arg(&path)
        .arg(binary("roam-load"))
        .status()
        .unwrap();
    assert!(status.success());
    Command::new(path)
}

#[test]
#[ignore = "needs root"]
fn target_is_stripped() {
    check(Target::start_by(
        |directory| stripped("strip", directory),
        &[],
    ));
}

/// The notes are gone then. The registry is still there, and doctor says what was done.
#[test]
#[ignore = "needs root and llvm-strip"]
fn target_is_stripped_of_its_notes() {
    let target = Target::start_by(|directory| stripped("llvm-strip", directory), &["hold=3"]);
    assert_eq!(attached::sites(target.pid).unwrap().all, 0);
    let seen = crate::tracer::Tracer::start(&[target.pid], &["-d", "1h"]).seen();
    assert_eq!(seen.status, Some(4), "{seen:#?}");
    assert_eq!(seen.gaps(), ["the process has no probes"]);
    assert_eq!(seen.requests().len(), 3);

    let doctor = Command::new(env!("CARGO_BIN_EXE_roam-trace"))
        .args(["doctor", "-p", &target.pid.to_string()])
        .output()
        .unwrap();
    let findings = String::from_utf8(doctor.stdout).unwrap();
    let advice = "so -d does not work; keep .note.stapsdt when you strip them";
    assert!(findings.contains(advice), "{findings}");
    assert!(findings.contains("3 requests in flight"), "{findings}");
    target.run();
    target.check_results();
    drop(target);
    check_no_zombies();
}

/// A program that has no probes loads a library that has some.
fn with_library(library: &Path) -> Command {
    let mut command = Command::new(binary("roam-load-host"));
    command.arg(library);
    command
}

#[test]
#[ignore = "needs root"]
fn a_library_carries_the_probes() {
    let target = Target::start_by(|_| with_library(library()), &[]);
    let program = fs::File::open(format!("/proc/{}/exe", target.pid)).unwrap();
    let sites = roam_trace::elf::file_probe_sites(program).unwrap();
    assert_eq!(sites, []);
    check(target);
}

/// Copies a file there, and returns where it is.
fn copied(name: &str, directory: &Path) -> PathBuf {
    let path = directory.join(name);
    fs::copy(binary(name), &path).unwrap();
    path
}

/// As in a container's file system: a mapping there names another file than the path does.
#[test]
#[ignore = "needs root and overlayfs"]
fn binary_is_on_an_overlay() {
    let script = r#"mount -t overlay none -o "lowerdir=$0/lower,upperdir=$0/upper,workdir=$0/work" "$0/merged" && exec "$0/merged/roam-load" "$@""#;
    let command = |directory: &Path| {
        let layers = directory.join("layers");
        for layer in ["lower", "upper", "work", "merged"] {
            fs::create_dir_all(layers.join(layer)).unwrap();
        }
        copied("roam-load", &layers.join("lower"));
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(layers);
        command
    };
    check(Target::start_by(command, &[]));
}

#[test]
#[ignore = "needs root"]
fn binary_is_deleted() {
    let target = Target::start_by(
        |directory| Command::new(copied("roam-load", directory)),
        &[],
    );
    fs::remove_file(target.directory.path().join("roam-load")).unwrap();
    check(target);
}

#[test]
#[ignore = "needs root"]
fn library_is_deleted() {
    let command = |directory: &Path| {
        let path = directory.join("libroam_load.so");
        fs::copy(library(), &path).unwrap();
        with_library(&path)
    };
    let target = Target::start_by(command, &[]);
    fs::remove_file(target.directory.path().join("libroam_load.so")).unwrap();
    check(target);
}

/// As an upgrade does: another file has the name. Once while the target is watched, once before.
#[test]
#[ignore = "needs root"]
fn binary_is_replaced() {
    let target = Target::start_by(
        |directory| Command::new(copied("roam-load", directory)),
        &[],
    );
    let directory = target.directory.path();
    let first = target.trace();
    target.run();
    let new = copied("roam-trace", directory);
    fs::rename(new, directory.join("roam-load")).unwrap();
    target.run();
    target.pause();
    let seen = first.stop();
    assert_eq!(seen.status, Some(0), "{seen:#?}");
    target.check_counts(&seen);
    target.check_untouched();

    let before = (target.log.started().done, target.log.ended().done);
    let second = target.trace();
    target.run();
    target.pause();
    let seen = second.stop();
    let counts = seen.counts();
    let both = (before.0 + counts.0, before.1 + counts.1);
    assert_eq!(both, (target.log.started().done, target.log.ended().done));
    target.end();
}
