//! The table in docs/privileges.md: which command works with which capabilities. It holds on Linux 6.6 and
//! later, which have uprobe_multi.

use std::fmt::Write;
use std::path::PathBuf;

use crate::fixture::Fixture;
use crate::run::{PublicCopy, run};
use crate::settings::{DISTRIBUTIONS, Settings};
use crate::user::{OTHER, TARGET, target, with_capabilities};

/// Set to rewrite the table instead of comparing with it.
const WRITE: &str = "ROAM_TRACE_WRITE_PRIVILEGES";

const BEGIN: &str =
    "<!-- Written by roam-trace/tests/privilege when ROAM_TRACE_WRITE_PRIVILEGES=1. -->\n";
const END: &str = "<!-- End of the generated table. -->\n";

/// As people write them, and for `setpriv`.
const CAPABILITIES: [(&str, &str); 7] = [
    ("none", ""),
    (
        "CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH",
        "+sys_ptrace,+dac_read_search",
    ),
    ("CAP_BPF, CAP_PERFMON", "+bpf,+perfmon"),
    (
        "CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE",
        "+bpf,+perfmon,+sys_ptrace",
    ),
    (
        "CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH",
        "+bpf,+perfmon,+sys_ptrace,+dac_read_search",
    ),
    ("CAP_SYS_ADMIN", "+sys_admin"),
    ("all", "all"),
];

const USERS: [(&str, u32); 2] = [("the same user", TARGET), ("another user", OTHER)];

/// What is tried, and the column's title.
const COMMANDS: [(&str, &[&str]); 3] = [
    ("`-p`", &[]),
    ("`-p … -d`", &["-d", "20ms"]),
    (
        "`-p … --source probes -d`",
        &["--source", "probes", "-d", "20ms"],
    ),
];

/// What one command came to.
#[derive(PartialEq)]
struct Cell {
    status: i32,
    /// Whether there was a dump nevertheless.
    dumped: bool,
    messages: Vec<String>,
}

fn try_out(
    tool: &PublicCopy,
    target: &Fixture,
    user: u32,
    capabilities: &str,
    arguments: &[&str],
) -> Cell {
    let pid = target.pid();
    let dump = tool.command(&[&["-p", &pid], arguments].concat());
    let run = run(with_capabilities(&dump, user, capabilities));
    let dumped = run.stdout.contains("RPC DIAGNOSTIC DUMP");
    assert!(dumped || run.stdout.is_empty(), "{}", run.stdout);
    assert_eq!(run.status != 0, !run.stderr.is_empty(), "{run:?}");
    Cell {
        status: run.status,
        dumped,
        messages: run
            .stderr
            .lines()
            .map(|line| line.replace(&pid, "4242"))
            .collect(),
    }
}

/// One row for every capability set and user.
fn try_all(target: &Fixture) -> Vec<[Cell; 3]> {
    let tool = PublicCopy::of_tool();
    let rows = CAPABILITIES
        .iter()
        .flat_map(|set| USERS.iter().map(move |user| (set.1, user.1)));
    rows.map(|(capabilities, user)| {
        COMMANDS.map(|(_, arguments)| try_out(&tool, target, user, capabilities, arguments))
    })
    .collect()
}

fn markdown(rows: &[[Cell; 3]]) -> String {
    let mut messages: Vec<&str> = Vec::new();
    let mut text = "| capabilities | processes of |".to_owned();
    for (title, _) in COMMANDS {
        write!(text, " {title} |").unwrap();
    }
    text += "\n| --- | --- | --- | --- | --- |\n";
    let names = CAPABILITIES
        .iter()
        .flat_map(|set| USERS.iter().map(move |user| (set.0, user.0)));
    for ((capabilities, user), cells) in names.zip(rows) {
        write!(text, "| {capabilities} | {user} |").unwrap();
        for cell in cells {
            if cell.messages.is_empty() {
                text += " yes |";
                continue;
            }
            let but = if cell.dumped { "registry only" } else { "no" };
            write!(text, " {but}: status {}", cell.status).unwrap();
            for message in &cell.messages {
                let known = messages.iter().position(|known| known == message);
                let number = known.unwrap_or_else(|| {
                    messages.push(message);
                    messages.len() - 1
                }) + 1;
                write!(text, ", ({number})").unwrap();
            }
            text += " |";
        }
        text.push('\n');
    }
    text.push('\n');
    for (number, message) in (1..).zip(messages) {
        writeln!(text, "{number}. `{message}`").unwrap();
    }
    text
}

/// Fails where two distributions differ; then the table needs a row for each.
#[test]
#[ignore = "needs root: changes users, capabilities and settings of the kernel's"]
fn the_documented_table_is_true() {
    let settings = Settings::to_be_restored();
    let target = target("hang");
    let found = DISTRIBUTIONS.map(|(name, values)| {
        settings.set(values);
        (name, markdown(&try_all(&target)))
    });
    drop(settings);
    let [(_, expected), others @ ..] = &found;
    for (distribution, other) in others {
        assert_eq!(other, expected, "{distribution}");
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/privileges.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
    } else {
        assert_eq!(table, expected, "run this test with {WRITE}=1");
    }
}
