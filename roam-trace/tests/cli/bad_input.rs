//! Whatever a process may be, the tool says so in one line, or in a dump that says what it left out.

use std::process::{Child, Command, Stdio};

use roam_dump::read::Budget;
use roam_trace::error::TargetError;
use roam_trace::process::Target;

use crate::dump::processes;
use crate::fixture::Fixture;
use crate::run::{Run, command, roam_trace, roam_trace_as, run, wait_until};

/// A program that is not roam's and ends with this value.
struct Program(Child);

impl Program {
    fn start(mut command: Command) -> Self {
        let program = Self(command.stdin(Stdio::null()).spawn().unwrap());
        // A program has its name a moment after it has begun.
        let own = std::fs::read("/proc/thread-self/comm").unwrap();
        let path = format!("/proc/{}/comm", program.pid());
        wait_until("the program has its name", || {
            std::fs::read(&path).unwrap() != own
        });
        program
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sleep() -> Command {
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    sleep
}

/// Nothing on stdout, one line on stderr, and its status.
fn check(run: &Run, redactions: &[(&str, &str)], expected: &str) {
    assert_eq!(run.stdout, "");
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    let mut line = run.stderr.clone();
    for (from, to) in redactions {
        line = line.replace(from, to);
    }
    assert_eq!(format!("{} {line}", run.status), format!("{expected}\n"));
}

fn check_region(content: &str, expected: &str) {
    let target = Fixture::start(&format!("region {content}"));
    let pid = target.pid();
    check(&roam_trace(&["-p", &pid]), &[(&pid, "[pid]")], expected);
}

#[test]
fn no_such_process() {
    let run = roam_trace(&["-p", "2147483647"]);
    check(
        &run,
        &[],
        "1 roam-trace: cannot read process 2147483647: it does not exist; `roam-trace list` shows the processes that can be read",
    );
}

#[test]
#[ignore = "needs the initial pid namespace: no other has kernel threads"]
fn kernel_thread() {
    let run = roam_trace(&["-p", "2"]);
    check(
        &run,
        &[],
        "4 roam-trace: cannot read process 2 (kthreadd): it is a kernel thread, not a roam program",
    );
}

#[test]
fn process_that_ended() {
    let mut target = Fixture::start("hang");
    let pid = target.pid();
    let found = Target::find(pid.parse().unwrap()).unwrap();
    target.kill();
    let run = roam_trace(&["-p", &pid]);
    let expected = "1 roam-trace: cannot read process [pid] (fixture): it is a zombie (not yet reaped by its parent)";
    check(&run, &[(&pid, "[pid]")], expected);
    assert!(matches!(
        found.read(Budget::default()),
        Err(TargetError::Ended { .. })
    ));
}

#[test]
fn process_that_ends_while_it_is_read() {
    let mut target = Fixture::start("hang");
    let pid = target.pid();
    let found = Target::find(pid.parse().unwrap()).unwrap();
    target.kill_and_collect();
    let error = found.read(Budget::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot read process {pid}: it ended while it was read")
    );
    assert!(matches!(found.probed(), Err(TargetError::Ended { .. })));
}

#[test]
#[ignore = "needs root: changes its user"]
fn process_of_another_user() {
    let target = Fixture::start("hang");
    let pid = target.pid();
    let run = roam_trace_as(65534, &["-p", &pid]);
    let expected = "3 roam-trace: no permission to read process [pid] (fixture): CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH are missing; run roam-trace as root";
    check(&run, &[(&pid, "[pid]")], expected);
}

#[test]
#[ignore = "needs root: changes its user"]
fn closed_descriptor_without_privilege() {
    let target = Fixture::start_as(65534, "closed");
    let pid = target.pid();
    let run = roam_trace_as(65534, &["-p", &pid]);
    let expected = "3 roam-trace: no permission to open the registry, whose descriptor was closed, of process [pid] (fixture): CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN is missing; run roam-trace as root";
    check(&run, &[(&pid, "[pid]")], expected);
}

#[test]
fn not_a_roam_program() {
    let target = Program::start(sleep());
    let pid = target.pid();
    let expected = "4 roam-trace: process [pid] (sleep) is not a roam program: it maps no registry (/memfd:roam-diagnostic), and its executable and libraries have no probes of provider roam; if it uses roam, rebuild it with the drop-in roam-session";
    check(&roam_trace(&["-p", &pid]), &[(&pid, "[pid]")], expected);
    check(
        &roam_trace(&["-p", &pid, "--source", "registry"]),
        &[(&pid, "[pid]")],
        expected,
    );
    check(
        &roam_trace(&["-p", &pid, "-d", "1ms"]),
        &[(&pid, "[pid]")],
        expected,
    );
}

#[test]
fn program_on_the_published_roam_session() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("with\nbreak) x");
    let shell = Command::new("sh")
        .args(["-c", "command -v sleep"])
        .output()
        .unwrap();
    let mut content = std::fs::read(String::from_utf8(shell.stdout).unwrap().trim()).unwrap();
    content.extend(b"/registry/src/roam-session-0.6.0/src/lib.rs");
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut program = Command::new(&path);
    program.arg("1000");
    let target = Program::start(program);
    let pid = target.pid();
    let expected = r"4 roam-trace: process [pid] (with\nbreak) x) has neither registry nor probes: it is built with the published roam-session; select the drop-in roam-session in [patch.crates-io] and rebuild it";
    check(&roam_trace(&["-p", &pid]), &[(&pid, "[pid]")], expected);
}

#[test]
fn forked_child() {
    let target = Fixture::start("fork");
    let (parent, child) = (target.pid(), target.answer.clone());
    let redactions = [(&*child, "[child]"), (&*parent, "[parent]")];
    let expected = "4 roam-trace: process [child] (fixture_process) has no registry of its own: it was forked from pid [parent], and a forked child reports nothing; run roam-trace -p [parent]";
    check(&roam_trace(&["-p", &child]), &redactions, expected);
    assert_eq!(roam_trace(&["-p", &parent]).status, 0);
}

#[test]
fn switched_off() {
    let mut fixture = Command::new(std::env::current_exe().unwrap());
    fixture.env("ROAM_DIAGNOSTIC", "off");
    let target = Fixture::start_by(fixture, "hang");
    let pid = target.pid();
    let expected = "1 roam-trace: process [pid] (fixture) reports nothing: it was started with ROAM_DIAGNOSTIC=off; restart it without that variable";
    check(&roam_trace(&["-p", &pid]), &[(&pid, "[pid]")], expected);
}

#[test]
fn file_size_limit() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 1000; exec \"$@\"", "sh"]);
    shell.arg(std::env::current_exe().unwrap());
    let target = Fixture::start_by(shell, "hang");
    let pid = target.pid();
    let run = roam_trace(&["-p", &pid]);
    assert!(
        run.stderr
            .contains("is too small for a shared registry, so the registry is private; attach the probes with -d 5s"),
        "{}",
        run.stderr
    );
    assert_eq!((run.status, &*run.stdout), (1, ""));
}

#[test]
fn registries_that_are_none() {
    check_region(
        "version",
        "1 roam-trace: cannot read the registry of process [pid] (fixture): it has ABI version 99, and this reader has version 3; use the roam-trace that belongs to the program's roam-diagnostic",
    );
    let none = "1 roam-trace: cannot read the registry of process [pid] (fixture): it does not start with \"roamdiag\"";
    for content in ["nothing", "zeros", "noise", "short"] {
        check_region(content, none);
    }
    let outside = "1 roam-trace: cannot read the registry of process [pid] (fixture): its header is invalid: a table lies outside the region";
    check_region("offset", outside);
    check_region("beyond", outside);
    check_region(
        "capacity",
        "1 roam-trace: cannot read the registry of process [pid] (fixture): its header is invalid: a table claims more slots than the maximum",
    );
    check_region(
        "slots",
        "1 roam-trace: cannot read the registry of process [pid] (fixture): its header is invalid: a table has slots of an unexpected size",
    );
}

#[test]
fn registry_of_random_rows() {
    let target = Fixture::start("region rows");
    let run = roam_trace(&["-p", &target.pid()]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(run.stdout.contains("incomplete: "), "{}", run.stdout);
    assert!(!run.stdout.contains('\u{1b}'));
}

/// The tool with no more memory than a large dump takes.
fn with_little_memory(arguments: &[&str]) -> Command {
    let tool = command(arguments);
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", "ulimit -v 1000000; exec \"$@\"", "sh"])
        .arg(tool.get_program())
        .args(tool.get_args())
        .env_clear();
    shell
}

#[test]
fn registry_that_claims_gigabytes() {
    let target = Fixture::start("huge");
    let run = run(with_little_memory(&["-p", &target.pid(), "--json"]));
    assert_eq!((run.status, &*run.stderr), (0, ""));
    assert_eq!(processes(&run)[0]["requests"], serde_json::json!([]));
}

#[test]
fn more_registries_than_anybody_needs() {
    let target = Fixture::start("crowd");
    let pid = target.pid();
    let expected = "1 roam-trace: cannot read the registry of process [pid] (fixture): it does not start with \"roamdiag\"";
    check(&roam_trace(&["-p", &pid]), &[(&pid, "[pid]")], expected);
}

#[test]
fn names_with_terminal_escapes() {
    let target = Fixture::start("escapes").until_stuck();
    let run = roam_trace(&["-p", &target.pid()]);
    insta::assert_snapshot!(run.redacted(&[(&target.pid(), "[pid]")]));
}

#[test]
fn comm_with_terminal_escapes() {
    let target = Fixture::start("comm");
    let pid = target.pid();
    let run = roam_trace(&["-p", &pid, "--json"]);
    let name = &processes(&run)[0]["process"]["name"];
    assert_eq!(name, "a) \\n\\u{1b}[31m (\u{fffd}");
    let list = roam_trace(&["list"]);
    let line = list
        .stdout
        .lines()
        .find(|line| line.trim_start().starts_with(&pid))
        .unwrap();
    assert!(line.contains("a) \\n\\u{1b}[31m ("), "{line}");
}
