//! `roam-trace man`: the man page, with every command on it.

use std::io::{self, Write};

use anyhow::Result;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::{Cli, EXAMPLES, EXIT_STATUS};
use crate::error::Exit;

/// What the tracer costs. docs/overhead.md has the measurements.
const OVERHEAD: [&str; 2] = [
    "Without -d, roam-trace reads the registry that the program keeps anyway. The program is neither stopped nor \
    changed. A dump of 100,000 requests takes about 0.1 s and 50 MB of memory. The same holds of top, which reads \
    repeatedly.",
    "With -d, watch and histogram, the kernel stops the thread of the program for a moment at every probe: each request \
    costs the program about 2 µs of CPU time while the probes are attached. Before Linux 6.10, every process of the same \
    executable pays that, not the traced one only. Armed probes cost the same for as long as they are armed.",
];

/// What the tracer may do, and what it shows. docs/privileges.md has the table.
const SECURITY: [&str; 6] = [
    "To read your own processes, roam-trace needs no privilege. To read processes of other users, it needs \
    CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; to attach the probes, CAP_BPF and CAP_PERFMON (CAP_SYS_ADMIN before Linux \
    6.6); for processes that closed the descriptor of their registry, CAP_CHECKPOINT_RESTORE. After attaching, it drops \
    the capabilities that only attaching needs, and before it prints, all others; watch and top, which print all the time, \
    keep those to read.",
    "If the file of roam-trace has these capabilities, everyone who may run it can read every process.",
    "roam-trace writes nothing to the program, except for the breakpoints that the kernel puts at the probes while \
    they are attached or armed. \
    It treats everything that it reads as hostile: sizes are bounded, and control characters are escaped.",
    "Only root can arm. What is armed is pinned below /sys/fs/bpf/roam-trace, for root alone. roam-trace believes no pin that does not belong \
    to root or that others may change.",
    "A dump contains command lines, names of processes, methods and connections, and addresses of sockets. It contains \
    arguments of requests if the program was started with ROAM_DEBUG=1.",
    "Text that is longer than the terminal goes through $PAGER, which is started without capabilities, and not at all \
    if roam-trace has capabilities that its user lacks.",
];

/// Prints the page as roff.
///
/// # Errors
///
/// Where the output cannot be written.
pub(super) fn run(out: &mut impl Write) -> Result<Exit> {
    let mut cli = Cli::command();
    cli.build();
    let man = Man::new(cli.clone());
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    writeln!(out, ".SH COMMANDS")?;
    for command in cli.get_subcommands() {
        subcommand(command, out)?;
    }
    let mut end = Roff::new();
    paragraphs(&mut end, "OVERHEAD", &OVERHEAD);
    paragraphs(&mut end, "SECURITY", &SECURITY);
    list(&mut end, "EXIT STATUS", EXIT_STATUS);
    list(&mut end, "EXAMPLES", EXAMPLES);
    end.to_writer(out)?;
    Ok(Exit::Success)
}

/// Writes what a command does, and the options that it alone has.
fn subcommand(command: &Command, out: &mut impl Write) -> io::Result<()> {
    let own = command.clone().mut_args(|arg| {
        let is_common = arg.is_global_set() || arg.get_id() == "help";
        arg.hide(is_common)
    });
    let usage = own.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let about = own.get_about().map(ToString::to_string).unwrap_or_default();
    let mut heading = Roff::new();
    heading.control("SS", [usage]).text([roman(about)]);
    heading.to_writer(out)?;

    let mut options = Vec::new();
    let man = Man::new(own.clone());
    man.render_options_section(&mut options)?;
    let options = String::from_utf8_lossy(&options).replace(".SH OPTIONS\n", "");
    out.write_all(options.as_bytes())?;

    let mut end = Roff::new();
    for line in own
        .get_after_help()
        .map(ToString::to_string)
        .iter()
        .flat_map(|text| text.split("\n\n"))
    {
        end.control("PP", []).text([roman(line)]);
    }
    end.to_writer(out)
}

fn paragraphs(page: &mut Roff, title: &str, paragraphs: &[&str]) {
    page.control("SH", [title]);
    for paragraph in paragraphs {
        page.text([roman(*paragraph)]).control("PP", []);
    }
}

/// Adds a part of the help text: its lines are an item and, after two spaces, its meaning, or a sentence.
fn list(page: &mut Roff, title: &str, text: &str) {
    page.control("SH", [title]);
    for line in text.lines().skip(1) {
        match line.strip_prefix("  ") {
            None => page.control("PP", []).text([roman(line)]),
            Some(meaning) if meaning.starts_with(' ') => page.text([roman(meaning.trim())]),
            Some(item) => {
                let (item, meaning) = item.split_once("  ").unwrap_or((item, ""));
                page.control("TP", []).text([bold(item)]);
                page.text([roman(meaning.trim())])
            }
        };
    }
}
