//! What the command line looks like. Never does anything.

use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use jiff::fmt::friendly::SpanParser;
use roam_trace_common::limits::SHOWN_ROWS;

/// What every help text ends with.
const EXIT_STATUS: &str = "\
Exit status:
  0  a dump was printed, or the process has no connection yet
  1  failure
  2  the command line makes no sense
  3  no permission; the message names the capability that is missing
  4  not a roam program; the message names what was looked for
  5  with --fail-if-stuck: something is stuck; stderr names the root blocker
With several processes it is the highest one. What can be printed is printed whatever the status.";

const EXAMPLES: &str = "\
Examples:
  roam-trace -p 4242               what process 4242 is waiting for, now
  roam-trace -p 4242 -d 5s         and what moved during five seconds
  roam-trace -p 17 -p 18 --json    two processes, for another program
  roam-trace -p 4242 --children    a host and its cells, and who waits for whom
  roam-trace --all --fail-if-stuck 30s
                                   for a health check
  roam-trace list                  which processes can be looked at";

/// Shows what a running roam program is waiting for.
///
/// Prints every request in flight, in both directions, with its method, its age and how far it got, and
/// every open channel with what moved over it. Reads the registry that the program keeps in shared memory:
/// the program is neither stopped nor changed, and calls that began long ago are shown. Looking at your own
/// processes needs no privilege, at those of others CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, and watching
/// probes with -d CAP_BPF and CAP_PERFMON.
#[derive(Debug, Parser)]
#[command(
    name = "roam-trace",
    version,
    after_help = EXIT_STATUS,
    after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"),
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do instead of a dump.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The dump.
    #[command(flatten)]
    pub dump: DumpArgs,
    /// When to use colours; auto also looks at NO_COLOR
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Say on stderr what is looked at, with the kernel side's own lines; twice for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Cli {
    /// Parses the command line; ends the program where it makes no sense or asks for help.
    pub fn parse_or_exit() -> Self {
        Self::try_parse()
            .and_then(Self::checked)
            .unwrap_or_else(|error| error.exit())
    }

    /// Refuses what clap cannot see to be senseless.
    fn checked(self) -> Result<Self, clap::Error> {
        let error = |text| Err(Self::command().error(ErrorKind::ArgumentConflict, text));
        match (self.dump.source, self.dump.duration) {
            (Source::Probes, None) => error(
                "--source probes needs -d: probes only tell what happens while they are watched",
            ),
            (Source::Registry, Some(_)) => {
                error("-d watches the probes, which --source registry excludes")
            }
            _ => Ok(self),
        }
    }
}

/// What to dump and how.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("targets").args(["pids", "all"]).required(true)))]
pub struct DumpArgs {
    /// A process to look at; repeatable
    #[arg(short, long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub pids: Vec<u32>,
    /// Look at the children of these processes too, and at theirs
    #[arg(long, conflicts_with = "all")]
    pub children: bool,
    /// Look at every process that has a registry
    #[arg(long)]
    pub all: bool,
    /// Watch the probes that long, such as 5s or 1m30s, and tell how many requests started and ended
    #[arg(short, long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// Where rows come from
    #[arg(long, default_value = "auto")]
    pub source: Source,
    /// Leave out requests and channels younger than this, such as 10s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub min_age: Option<Duration>,
    /// Keep no more rows and names than that, the oldest requests first, and count the others
    ///
    /// Over all processes. Half of them may be requests, whatever else there is. With the default roam-trace
    /// takes at most 64 MB of memory, and a megabyte more for every 2,000.
    #[arg(long, value_name = "N", default_value_t = SHOWN_ROWS, value_parser = clap::value_parser!(u32).range(1_000..))]
    pub max_rows: u32,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Print the wait graph alone, for Graphviz
    #[arg(long, conflicts_with = "json")]
    pub dot: bool,
    /// End with status 5 where something is stuck for that long, such as 30s, and name the root blocker on
    /// stderr
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub fail_if_stuck: Option<Duration>,
}

/// What to do instead of a dump.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the processes that can be looked at, with what they have in flight
    #[command(
        after_help = "A number with a + is the least: there are more rows than are read.\n\nExit status: 0 also when there is none, 1 failure."
    )]
    List,
    /// Check what this machine, this user and a process allow, and say what to do about the rest
    #[command(
        after_help = "Exit status: 0 when every line is ok, 1 when not; 3 and 4 as for a dump."
    )]
    Doctor(DoctorArgs),
}

/// What to check.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// A process to check as well
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub pid: Option<u32>,
}

/// Where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The registry where there is one, else the probes; both with -d
    Auto,
    /// The registry alone
    Registry,
    /// The probes alone: what began after roam-trace did; needs -d
    Probes,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

fn duration(text: &str) -> Result<Duration, String> {
    SpanParser::new()
        .parse_unsigned_duration(text)
        .map_err(|_| "not a duration such as 5s, 500ms or 1m30s".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_duration(text: &str, expected: Option<u64>) {
        let millis = duration(text).ok().map(|time| time.as_millis() as u64);
        assert_eq!(millis, expected, "{text}");
    }

    #[test]
    fn durations() {
        check_duration("5s", Some(5_000));
        check_duration("500ms", Some(500));
        check_duration("1m30s", Some(90_000));
        check_duration("1m 30s", Some(90_000));
        check_duration("0s", Some(0));
        check_duration("5", None);
        check_duration("", None);
        check_duration("soon", None);
        check_duration("99999999999999999999s", None);
    }

    fn check_usage(arguments: &[&str], accepted: bool) {
        let line = ["roam-trace"].iter().chain(arguments);
        let parsed = Cli::try_parse_from(line).and_then(Cli::checked);
        assert_eq!(parsed.is_ok(), accepted, "{arguments:?}");
    }

    #[test]
    fn usage() {
        check_usage(&["-p", "1"], true);
        check_usage(&["-p", "1", "-p", "2", "-d", "5s", "--json"], true);
        check_usage(&["list", "-v", "--color", "never"], true);
        check_usage(&["doctor"], true);
        check_usage(&["doctor", "-p", "1"], true);
        check_usage(&["-p", "1", "--children", "--dot"], true);
        check_usage(&["--all", "--fail-if-stuck", "30s"], true);
        check_usage(&["--all", "-p", "1"], false);
        check_usage(&["--all", "--children"], false);
        check_usage(&["--all", "--json", "--dot"], false);
        check_usage(&[], false);
        check_usage(&["-p", "0"], false);
        check_usage(&["-p", "-1"], false);
        check_usage(&["-p", "2147483648"], false);
        check_usage(&["-p", "1", "list"], false);
        check_usage(&["--source", "both", "-p", "1"], false);
        check_usage(&["--source", "probes", "-p", "1"], false);
        check_usage(&["--source", "probes", "-p", "1", "-d", "1s"], true);
        check_usage(&["--source", "registry", "-p", "1", "-d", "1s"], false);
    }
}
