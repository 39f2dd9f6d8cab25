//! The target sees another machine than the tracer does, or both see one that is not the real one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::binary::static_binary;
use crate::seen::Seen;
use crate::target::{Target, WATCH, binary};
use crate::tracer::Tracer;

/// How far the clocks of the other time namespace are ahead, in seconds.
const AHEAD: &str = "100000";

/// Older than anything in these tests gets, and younger than the clocks differ.
const OLD_US: u64 = 10_000_000_000;

fn unshare(flags: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(flags).arg("--").arg(binary("roam-load"));
    // unshare of util-linux 2.38 complains whenever its child has ended.
    command.stderr(Stdio::null());
    command
}

fn start(flags: &[&str]) -> Target {
    Target::start_by(|_| unshare(flags), &["hold=3"])
}

/// Watches by a tracer, and checks what it saw: the counts, and rows with the ages that they have.
fn check(target: Target, tracer: Tracer) {
    let tracer = target.watched_by(tracer);
    target.run();
    target.pause();
    let seen = tracer.stop();
    check_rows(&seen);
    target.end_as(&seen);
}

fn check_rows(seen: &Seen) {
    assert_eq!(seen.requests().len(), 3);
    for row in seen.requests() {
        assert_eq!(row["method"], "Load.work");
        let age_us = row["age_us"].as_u64().unwrap();
        assert!(age_us < OLD_US, "{row:#}");
    }
}

/// By a tracer that shares no namespace with the target but those that all share.
fn check_from_outside(target: Target) {
    let tracer = Tracer::start(&[target.pid], WATCH);
    check(target, tracer);
}

/// By a tracer in the target's namespaces.
fn check_from_inside(target: Target, flags: &[&str]) {
    let tracer = tracer_inside(&target, flags);
    check(target, tracer);
}

fn tracer_inside(target: &Target, flags: &[&str]) -> Tracer {
    let mut command = Command::new("nsenter");
    command
        .args(["--target", &target.pid.to_string()])
        .args(flags)
        .arg("--")
        .arg(env!("CARGO_BIN_EXE_roam-trace"));
    let inner = target.log.pid.load(Ordering::Acquire);
    Tracer::start_by(command, &[inner], WATCH)
}

const PID: &[&str] = &["--pid", "--fork", "--kill-child", "--mount-proc"];
const USER: &[&str] = &["--user", "--map-root-user"];
const TIME: &[&str] = &[
    "--time",
    "--fork",
    "--kill-child",
    "--monotonic",
    AHEAD,
    "--boottime",
    AHEAD,
];

/// The program's file is in a file system that nobody else has mounted.
fn in_own_mount_namespace() -> Target {
    let script = r#"mount -t tmpfs none "$0" && cp "$1" "$0/roam-load" && shift && exec "$0/roam-load" "$@""#;
    let command = |directory: &Path| {
        let mounted = directory.join("mounted");
        fs::create_dir(&mounted).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]);
        command.arg(mounted).arg(binary("roam-load"));
        command
    };
    let target = Target::start_by(command, &["hold=3"]);
    assert!(!target.directory.path().join("mounted/roam-load").exists());
    target
}

#[test]
#[ignore = "needs root"]
fn target_in_a_mount_namespace() {
    check_from_outside(in_own_mount_namespace());
}

#[test]
#[ignore = "needs root"]
fn both_in_a_mount_namespace() {
    check_from_inside(in_own_mount_namespace(), &["--mount"]);
}

#[test]
#[ignore = "needs root"]
fn target_in_a_pid_namespace() {
    check_from_outside(start(PID));
}

#[test]
#[ignore = "needs root"]
fn both_in_a_pid_namespace() {
    let target = start(PID);
    assert_eq!(target.log.pid.load(Ordering::Acquire), 1);
    check_from_inside(target, &["--pid", "--mount"]);
}

#[test]
#[ignore = "needs root"]
fn target_in_a_user_namespace() {
    check_from_outside(start(USER));
}

/// Root there is nobody to the kernel: the registry is read, and it is said why nothing was watched.
#[test]
#[ignore = "needs root"]
fn both_in_a_user_namespace() {
    let target = start(USER);
    target.run();
    let seen = tracer_inside(&target, &["--user", "--preserve-credentials"]).seen();
    assert_eq!(seen.status, Some(3), "{seen:#?}");
    let reason = "no permission to attach to the probes: no capability is missing, so a user namespace or a security module denies it";
    assert!(seen.stderr.contains(reason), "{}", seen.stderr);
    assert_eq!(seen.gaps(), [reason]);
    let held = |row: &&Value| row["age_us"].as_u64() > Some(0) && row["phase"] == "sent";
    assert!(seen.requests().iter().filter(held).count() >= 3);
    target.pause();
    target.end();
}

#[test]
#[ignore = "needs root"]
fn target_in_a_time_namespace() {
    check_from_outside(start(TIME));
}

#[test]
#[ignore = "needs root"]
fn both_in_a_time_namespace() {
    check_from_inside(start(TIME), &["--time"]);
}

/// A container in a word, with the tracer inside it.
#[test]
#[ignore = "needs root"]
fn both_in_a_container() {
    let target = start(&[PID, &["--ipc", "--uts", "--net", "--cgroup"]].concat());
    let flags = ["--pid", "--mount", "--ipc", "--uts", "--net", "--cgroup"];
    check_from_inside(target, &flags);
}

/// A container that sees the host's processes: the kernel does not show their pids there.
#[test]
#[ignore = "needs root"]
fn tracer_in_a_pid_namespace() {
    let target = Target::start(&["hold=3"]);
    target.run();
    target.pause();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--"]);
    command.arg(env!("CARGO_BIN_EXE_roam-trace"));
    let seen = Tracer::start_by(command, &[target.pid], &["-d", "1h"]).seen();
    assert_eq!(seen.status, Some(1), "{seen:#?}");
    check_rows(&seen);
    let reason = format!(
        "cannot attach to the probes: process {} and roam-trace are in different pid namespaces, and roam-trace is in a container; run roam-trace in the same container or on the host",
        target.pid
    );
    assert_eq!(seen.gaps(), [reason]);
    target.end();
}

/// As in a chroot that nobody prepared for it.
#[test]
#[ignore = "needs root"]
fn tracer_without_proc() {
    let target = Target::start(&["hold=3"]);
    target.run();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", r#"umount --lazy /proc && exec "$@""#]);
    command.args(["sh", env!("CARGO_BIN_EXE_roam-trace")]);
    let seen = Tracer::start_by(command, &[target.pid], &["-d", "1h"]).seen();
    assert_eq!(seen.status, Some(1), "{seen:#?}");
    let line = format!(
        "roam-trace: cannot read process {}: /proc is not mounted here; mount it, or run roam-trace where it is mounted\n",
        target.pid
    );
    assert_eq!(seen.stderr, line);
    target.pause();
    target.end();
}

/// Without /proc the program cannot find out when it started.
#[test]
#[ignore = "needs root"]
fn target_in_a_chroot() {
    let command = |directory: &Path| {
        // Inside, the log has the name that it has outside.
        let root = directory.join("root");
        let inside = root.join(directory.strip_prefix("/").unwrap());
        fs::create_dir_all(&inside).unwrap();
        fs::hard_link(directory.join("log"), inside.join("log")).unwrap();
        fs::copy(static_binary(), root.join("roam-load")).unwrap();
        symlink("/nowhere", root.join("proc")).unwrap();
        let mut command = Command::new("chroot");
        command.arg(root).arg("/roam-load");
        command
    };
    check_from_outside(Target::start_by(command, &["hold=3"]));
}
