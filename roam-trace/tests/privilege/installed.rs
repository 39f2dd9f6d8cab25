//! The two ways to have the tool without root: with capabilities on its file, and as a unit of systemd's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{PublicCopy, Run, run};
use crate::terminal::{SHORT, on_terminal};
use crate::user::{OTHER, TARGET, setpriv_name, target, with_capabilities};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The capabilities that docs/privileges.md puts on the file.
fn advised() -> String {
    let page = fs::read_to_string(repository().join("docs/privileges.md")).unwrap();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("$ sudo setcap "))
        .unwrap();
    line.split(' ').next().unwrap().to_owned()
}

/// A copy of the tool with these capabilities on its file, run by a user who has none.
fn run_installed(capabilities: &str, arguments: &[&str]) -> Run {
    let (copy, tool) = installed(capabilities, arguments);
    let ended = run(tool);
    drop(copy);
    ended
}

fn installed(capabilities: &str, arguments: &[&str]) -> (PublicCopy, Command) {
    let copy = PublicCopy::of_tool();
    if !capabilities.is_empty() {
        let mut setcap = Command::new("setcap");
        setcap.arg(capabilities).arg(&copy.program);
        assert!(setcap.status().unwrap().success());
    }
    let mut tool = copy.command(arguments);
    tool.uid(OTHER).gid(OTHER);
    (copy, tool)
}

/// The user chooses the pager, and the file has capabilities that the user has not.
#[test]
#[ignore = "needs root"]
fn a_tool_with_capabilities_starts_no_pager() {
    let hung = target("hang");
    let pid = hung.pid();
    let shown = |capabilities: &str| {
        let (_copy, tool) = installed(capabilities, &["-p", &pid]);
        let user = if capabilities.is_empty() {
            TARGET
        } else {
            OTHER
        };
        // The terminal starts a command of its own, which knows nothing of the user of this one.
        let mut as_user = Command::new("setpriv");
        as_user
            .args([format!("--reuid={user}"), format!("--regid={user}")])
            .arg("--clear-groups")
            .arg(tool.get_program())
            .args(tool.get_args())
            .env("PAGER", "sed s/^/paged/");
        on_terminal(&as_user, SHORT).text
    };
    assert!(shown("").contains("paged"));
    let text = shown(&advised());
    assert!(
        text.contains("WAIT GRAPH") && !text.contains("paged"),
        "{text}"
    );
}

/// The user chooses the environment, too. What a library does that is preloaded shows that the tool without
/// capabilities does follow it.
#[test]
#[ignore = "needs root"]
fn a_tool_with_capabilities_ignores_what_its_environment_would_have_it_do() {
    let closed = target("closed");
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    let source = directory.path().join("preloaded.c");
    let library = directory.path().join("preloaded.so");
    let code = r#"
        #include <unistd.h>
        __attribute__((constructor)) static void loaded(void) { (void)!write(2, "preloaded\n", 10); }
    "#;
    fs::write(&source, code).unwrap();
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source]);
    assert!(compiler.status().unwrap().success());

    let pid = closed.pid();
    let shown = |capabilities: &str, variables: &[(&str, &str)]| {
        let (_copy, mut tool) = installed(capabilities, &["-p", &pid, "--json"]);
        tool.envs(variables.iter().copied());
        run(tool)
    };
    let preload = ("LD_PRELOAD", library.to_str().unwrap());
    assert!(shown("", &[preload]).stderr.contains("preloaded"));
    let usual = shown(&advised(), &[]);
    assert_eq!(usual.status, 0, "{usual:?}");
    let others = [
        preload,
        ("LD_AUDIT", preload.1),
        ("LD_LIBRARY_PATH", directory.path().to_str().unwrap()),
        ("RUST_LOG", "trace"),
        ("RUST_BACKTRACE", "full"),
        ("TERM", "../../../../../../etc/passwd"),
        ("COLUMNS", "99999999999999999999"),
        ("PAGER", "echo paged"),
    ];
    for variable in others {
        let run = shown(&advised(), &[variable]);
        assert_eq!(
            (run.status, &run.stderr),
            (0, &usual.stderr),
            "{variable:?}"
        );
        assert!(run.stdout.contains("\"request_id\":93,"), "{variable:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn the_advised_capabilities_are_enough_and_none_is_too_many() {
    let advised = advised();
    let closed = target("closed");
    let hung = target("hang");
    let check = |capabilities: &str| {
        let registry = run_installed(capabilities, &["-p", &closed.pid()]);
        let probes = run_installed(capabilities, &["-p", &hung.pid(), "-d", "20ms"]);
        assert!(registry.status != 0 || registry.stdout.contains("req_id=93"));
        assert!(probes.status != 0 || probes.stdout.contains("source: registry and probes"));
        (registry.status, probes.status)
    };
    assert_eq!(check(&advised), (0, 0));
    let names: Vec<_> = advised.trim_end_matches("=ep").split(',').collect();
    for truncated in &names {
        let rest: Vec<_> = names
            .iter()
            .filter(|name| *name != truncated)
            .copied()
            .collect();
        let done = check(&format!("{}=ep", rest.join(",")));
        assert_ne!(done, (0, 0), "{truncated} is not needed");
    }
    assert_eq!(check(""), (3, 3));
}

fn setting<'a>(unit: &'a str, name: &str) -> &'a str {
    unit.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .unwrap()
}

#[test]
#[ignore = "needs root"]
fn the_unit_is_well_formed_and_has_what_its_command_takes() {
    let unit = fs::read_to_string(repository().join("dist/roam-trace.service")).unwrap();
    let line = setting(&unit, "ExecStart");
    let arguments = line.strip_prefix("roam-trace ").unwrap();

    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("roam-trace.service");
    fs::write(
        &copy,
        unit.replace(
            line,
            &format!("{} {arguments}", env!("CARGO_BIN_EXE_roam-trace")),
        ),
    )
    .unwrap();
    let mut verify = Command::new("systemd-analyze");
    let verify = verify
        .args(["verify", "--man=no"])
        .arg(copy)
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&verify.stderr);
    assert!(
        verify.status.success() && complaints.is_empty(),
        "{complaints}"
    );

    let capabilities: Vec<_> = setting(&unit, "AmbientCapabilities")
        .split(' ')
        .map(setpriv_name)
        .collect();
    assert_eq!(
        setting(&unit, "AmbientCapabilities"),
        setting(&unit, "CapabilityBoundingSet")
    );
    let targets = [target("hang"), target("closed")];
    let tool = PublicCopy::of_tool();
    let list = tool.command(&arguments.split(' ').collect::<Vec<_>>());
    let run = run(with_capabilities(&list, OTHER, &capabilities.join(",")));
    for target in targets {
        let pid = format!("[{}]", target.pid());
        assert!(run.stdout.contains(&pid), "{run:?}");
    }
}
