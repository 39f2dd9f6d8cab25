//! The command line: types only.

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;
use jiff::fmt::friendly::SpanParser;
use roam_trace_common::event::{Direction, Outcome};
use roam_trace_common::limits::{
    ARMED_PROCESSES, CHANNELS, MAX_CAPACITY, READ_STATISTICS, REQUESTS, SHOWN_ROWS,
};

use crate::completion;

/// The end of every help text.
pub(crate) const EXIT_STATUS: &str = "\
Exit status:
  0  a dump was printed, or the process has no connection yet
  1  failure
  2  usage error
  3  no permission; the message names the missing capability
  4  not a roam program; the message states what roam-trace looked for
  5  with --fail-if-stuck: something is stuck; stderr names the root blocker of each user
With several processes, the highest status wins. Every dump that can be printed is printed.";

pub(crate) const EXAMPLES: &str = "\
Examples:
  roam-trace -p 4242               show what process 4242 and those it waits for are waiting for
  roam-trace -p 4242 --no-follow   show what process 4242 alone is waiting for
  roam-trace -p 4242 -d 5s         also count its requests for five seconds
  roam-trace -p 4242 --children    also read its child processes
  roam-trace -p 17 -p 18 --json    dump two processes as JSON
  roam-trace --all --fail-if-stuck 30s
                                   check the health of every roam program
  roam-trace top -p 4242           show live what process 4242 does
  roam-trace list                  list the processes that can be read";

/// Shows what a running roam program is waiting for.
///
/// Prints every request in flight in both directions, with its method, age and phase; every open channel, with the
/// data it carried; and which request blocks which, in the process and in those that it waits for. Reads the registry
/// that the program keeps in memory: the program is neither stopped nor changed, and requests that started before
/// roam-trace are included. Your own processes need no privilege. Processes of other users need CAP_SYS_PTRACE and
/// CAP_DAC_READ_SEARCH. Attaching the probes (-d, watch, histogram) needs CAP_BPF and CAP_PERFMON; arm also needs root.
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
    /// The subcommand; without one, a dump.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of the dump.
    #[command(flatten)]
    pub dump: DumpArgs,
    /// When to use color
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Print on stderr what roam-trace does, and the log of its eBPF programs; -vv prints more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl Cli {
    /// Parses the command line; exits on a usage error and after printing help.
    pub fn parse_or_exit() -> Self {
        Self::try_parse()
            .and_then(Self::checked)
            .and_then(Self::on_terminal)
            .unwrap_or_else(|error| error.exit())
    }

    /// Rejects a command that draws where there is no terminal to draw on.
    fn on_terminal(self) -> Result<Self, clap::Error> {
        match self.command {
            Some(Command::Top(_)) if !stdout().is_terminal() => Err(Self::command().error(
                ErrorKind::Io,
                "top cannot draw, because its output is not a terminal: print a dump with roam-trace -p PID, or a \
                line for each request with roam-trace watch -p PID",
            )),
            _ => Ok(self),
        }
    }

    /// Rejects combinations of options that clap cannot express.
    fn checked(self) -> Result<Self, clap::Error> {
        let error = |text| Err(Self::command().error(ErrorKind::ArgumentConflict, text));
        match (self.dump.source, self.dump.duration) {
            (Source::Registry, Some(_)) => error(
                "-d attaches the probes, and --source registry excludes them: leave out one of the two",
            ),
            _ => Ok(self),
        }
    }
}

/// The processes that a command reads.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("targets").args(["pids", "all"]).required(true)))]
pub struct TargetArgs {
    /// Process to read; repeatable
    #[arg(short, long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)), add = ArgValueCandidates::new(completion::pids))]
    pub pids: Vec<u32>,
    /// Also read the child processes of these processes, and their child processes
    #[arg(long, conflicts_with = "all")]
    pub children: bool,
    /// Read every process that has a registry
    #[arg(long)]
    pub all: bool,
    /// With --all, read only the processes of this user; repeatable
    #[arg(
        long = "user",
        value_name = "UID",
        requires = "all",
        conflicts_with = "pids"
    )]
    pub users: Vec<u32>,
}

/// Options of the dump.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// Which processes.
    #[command(flatten)]
    pub targets: TargetArgs,
    /// Attach the probes for this long, for example 5s or 1m30s, and count the requests that start and end
    #[arg(short, long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// Where to read rows from
    #[arg(long, default_value = "auto")]
    pub source: Source,
    /// Read only these processes, not those that they wait for
    ///
    /// By default, the process at the other end of a connection with a stuck call is read too, then those that it waits
    /// for in turn: up to 64 processes in all. -d attaches no probes to these. --source probes reads none of them.
    #[arg(long)]
    pub no_follow: bool,
    /// Leave out requests and channels younger than this, for example 10s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub min_age: Option<Duration>,
    /// Keep at most this many rows and names, the oldest requests first, and count the others
    ///
    /// Several processes share two thirds of it. At least half of the limit is available for requests. A row that is
    /// in the registry and in a kernel map counts once. With the default, roam-trace needs at most 64 MB of memory, and
    /// one megabyte more for every further 2,000 rows.
    #[arg(long, value_name = "N", default_value_t = SHOWN_ROWS, value_parser = clap::value_parser!(u32).range(1_000..))]
    pub max_rows: u32,
    /// Count a request as stuck after this long [default: 1s], or after METHOD=DURATION for the methods that match a
    /// pattern; repeatable
    ///
    /// By default, a request is stuck if it is older than 1s and older than ten times the 99th percentile of the
    /// answered calls of its method. DURATION alone replaces the 1s; METHOD=DURATION replaces both conditions. Patterns
    /// may have * and ?, for example --stuck-after 'Notifier.*=2m'. If several match, the last one applies.
    #[arg(long, value_name = "[METHOD=]DURATION", value_parser = stuck_after)]
    pub stuck_after: Vec<StuckAfter>,
    /// Give no verdict to the calls of methods that match this pattern, for example 'Notifier.*'; repeatable
    #[arg(long, value_name = "METHOD")]
    pub ignore: Vec<String>,
    /// Of each ring of a shared-memory hub, also list the last N messages that were read [default N: 16]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_value_t = 0, default_missing_value = "16", hide_default_value = true)]
    pub history: u32,
    /// Whether to print JSON.
    #[command(flatten)]
    pub json: JsonArgs,
    /// Print only the wait graph, for Graphviz
    #[arg(long, conflicts_with = "json")]
    pub dot: bool,
    /// List every request, channel and connection, also those that are alike
    ///
    /// By default, rows that differ in nothing but numbers are one line, with their count, their youngest and oldest
    /// age and the first ids. JSON always has every row.
    #[arg(long)]
    pub full: bool,
    /// Do not start a pager for text that is longer than the terminal
    ///
    /// By default, such text goes through $PAGER, or through less if that is unset.
    #[arg(long)]
    pub no_pager: bool,
    /// If something has been stuck for this long, for example 30s, exit with status 5 and name the root blocker on
    /// stderr
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub fail_if_stuck: Option<Duration>,
}

impl DumpArgs {
    /// Returns whether the dump is printed as text.
    pub fn is_text(&self) -> bool {
        !self.json.json && !self.dot
    }
}

/// JSON instead of text.
#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Print one JSON object instead of text; on a terminal it is indented
    #[arg(long)]
    pub json: bool,
    /// Indent the JSON, also in a file or a pipe
    #[arg(long, requires = "json")]
    pub pretty: bool,
}

impl JsonArgs {
    /// Returns whether the JSON is indented.
    pub fn is_pretty(&self) -> bool {
        self.pretty || stdout().is_terminal()
    }
}

/// A time after which requests are stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckAfter {
    /// A pattern of the methods that it holds for; all without one.
    pub method: Option<String>,
    /// The time.
    pub time: Duration,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print how many calls of each method ended, how, and how long they took
    #[command(after_help = "\
RATE/S is the number of calls that ended per second during --interval. The other columns cover all calls that ended \
since the process started. ERRORS counts the calls that did not return a value. Latencies are those of answered calls, \
which returned a value or an error of the application: P50 is the latency that half of them did not exceed. A \
percentile is at most 4.5% too high.

Exit status: as for a dump.")]
    Stats(StatsArgs),
    /// Show live what processes do: methods, calls in flight, connections, channels, tables
    #[command(after_help = "\
? lists the keys. top reads registries, which costs the program next to nothing. If a process has no registry, or one \
without requests (ROAM_DIAGNOSTIC=probes), top reads the armed probes. Its verdicts rest on the registries of the \
processes that it shows; a dump also reads their sockets, and the processes that they wait for.

Exit status: 0, also after an interrupt; otherwise as for a dump.")]
    Top(TopArgs),
    /// List the processes that can be read, those with stuck requests first
    #[command(after_help = "\
STUCK is the number of stuck requests. OLDEST WAIT is the age of the oldest of them; if no request is stuck, the age \
of the oldest request. A + after a number means that the process has more rows than roam-trace reads.

Exit status: 0, also if no process is found; 1 on failure.")]
    List,
    /// Print a line for each request that ends, as it happens
    #[command(after_help = "\
Attaches the probes, which needs CAP_BPF and CAP_PERFMON. It ends when -d is over, at Ctrl-C, or when every process \
has ended. The kernel applies the filters. If events are lost, a line says how many, where they are missing.

Exit status: as for a dump.")]
    Watch(WatchArgs),
    /// Count how long calls take, and print a histogram of each method
    #[command(after_help = "\
Attaches the probes, which needs CAP_BPF and CAP_PERFMON. It prints when -d is over, at Ctrl-C, or when every process \
has ended. The kernel counts the answered calls, which returned a value or an error of the application; a latency is \
the time from the start of a call to its end. P50 is the latency that half of the calls did not exceed. Percentiles \
and the maximum are at most 4.5% too high.

Exit status: as for a dump.")]
    Histogram(HistogramArgs),
    /// Print the shared-memory hubs of processes or of a file: slots, peers, rings and doorbells
    #[command(after_help = "\
A message in a ring was written and is not read yet. A slot in use is in flight if a message in a ring names it, and \
otherwise allocated.

Exit status: 0 if a hub was printed, 1 if there is none or it cannot be read; 3 and 4 as for a dump.")]
    Shm(ShmArgs),
    /// Attach the probes of executables until they are disarmed: every process that starts later is traced from its
    /// start
    #[command(after_help = "\
The probes stay attached after roam-trace has ended, until `roam-trace disarm` or a reboot. A dump of a process that \
started later needs neither -d nor a registry. Of a process that was running before, the probes report only what began \
since: the rest comes from its registry. Arming needs root and Linux 6.6 or later.

Do not write into an armed file, as cp does: the kernel puts breakpoints where the probes were, and the program can \
crash. Replace the file with a new one, as install and package managers do.

Exit status: 0 if everything is armed, 1 on failure, 3 if a permission is missing, 4 if a file has no probes.")]
    Arm(ArmArgs),
    /// List what is armed: executables, processes, rows and losses
    #[command(
        after_help = "Exit status: 0, also if nothing is armed; 1 on failure; 3 if a permission is missing."
    )]
    Armed(ArmedArgs),
    /// Detach the probes of armed executables
    #[command(after_help = "\
Without --exe, it removes everything that is armed, also by another version of roam-trace.

Exit status: 0 if it was armed and no longer is, 1 on failure, 3 if a permission is missing.")]
    Disarm(DisarmArgs),
    /// Check what this machine, this user and a process allow, and say how to fix the rest
    #[command(after_help = "\
A line starts with \"todo\" if your own processes cannot be read without it, and with \"no\" if it is missing and \
needed for something else.

Exit status: 0 if no line starts with \"todo\", 1 if one does; 3 and 4 as for a dump.")]
    Doctor(DoctorArgs),
    /// Print the man page; `roam-trace man | man -l -` shows it
    Man,
    /// Print the JSON Schema of what --json prints
    Schema(SchemaArgs),
}

/// Options of `watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Which processes.
    #[command(flatten)]
    pub targets: TargetArgs,
    /// End after this long, for example 10s
    #[arg(short, long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// Which events to print
    #[arg(long, default_value = "ends")]
    pub events: WatchedEvents,
    /// Which methods and which direction.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Of the ends, only those of requests that took at least this long, for example 50ms
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub min_latency: Option<Duration>,
    /// Of the ends, only those with this outcome; repeatable
    #[arg(long = "outcome", value_name = "OUTCOME", value_parser = outcome())]
    pub outcomes: Vec<Outcome>,
    /// Print a JSON object on each line instead of text
    #[arg(long)]
    pub json: bool,
}

/// Options of `histogram`.
#[derive(Debug, Args)]
pub struct HistogramArgs {
    /// Which processes.
    #[command(flatten)]
    pub targets: TargetArgs,
    /// Count for this long, for example 10s
    #[arg(short, long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// Which methods and which direction.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Whether to print JSON.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Which requests are reported.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Only methods that match this pattern, which may have * and ?, for example 'Http.*'; repeatable
    #[arg(long = "method", value_name = "METHOD")]
    pub methods: Vec<String>,
    /// Only requests in this direction
    #[arg(long)]
    pub direction: Option<OneDirection>,
}

/// A direction of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OneDirection {
    /// Those that the process makes
    Outgoing,
    /// Those that the process serves
    Incoming,
}

impl From<OneDirection> for Direction {
    fn from(direction: OneDirection) -> Self {
        match direction {
            OneDirection::Outgoing => Self::Outgoing,
            OneDirection::Incoming => Self::Incoming,
        }
    }
}

/// Events that `watch` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WatchedEvents {
    /// The ends of requests
    Ends,
    /// Starts, phases and ends of requests; opening, data and closing of channels
    All,
}

/// Options of `arm`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("files").args(["exes", "pids"]).required(true).multiple(true)))]
pub struct ArmArgs {
    /// Executable or library to arm; repeatable
    #[arg(long = "exe", value_name = "PATH", num_args = 1..)]
    pub exes: Vec<PathBuf>,
    /// Process whose executable and libraries to arm; repeatable
    #[arg(short, long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)), add = ArgValueCandidates::new(completion::pids))]
    pub pids: Vec<u32>,
    /// Stay in the foreground and arm each executable again when it is replaced
    #[arg(long)]
    pub watch: bool,
    /// Room for this many requests in flight, over all processes; applies only if nothing is armed yet
    #[arg(long, value_name = "N", default_value_t = REQUESTS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CAPACITY)))]
    pub max_requests: u32,
    /// Room for this many open channels, over all processes; applies only if nothing is armed yet
    #[arg(long, value_name = "N", default_value_t = CHANNELS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CAPACITY)))]
    pub max_channels: u32,
    /// Room for this many processes; applies only if nothing is armed yet
    #[arg(long, value_name = "N", default_value_t = ARMED_PROCESSES, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CAPACITY)))]
    pub max_processes: u32,
}

/// Options of `armed`.
#[derive(Debug, Args)]
pub struct ArmedArgs {
    /// Measure for this long, for example 1s, how often the eBPF programs run and for how long; needs CAP_SYS_ADMIN
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub measure: Option<Duration>,
    /// Whether to print JSON.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Options of `disarm`.
#[derive(Debug, Args)]
pub struct DisarmArgs {
    /// Disarm only this executable or library; repeatable
    #[arg(long = "exe", value_name = "PATH", num_args = 1..)]
    pub exes: Vec<PathBuf>,
}

/// Options of `schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// What prints the JSON
    #[arg(value_enum, default_value_t = Subject::Dump)]
    pub subject: Subject,
}

/// What prints JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// A dump
    Dump,
    /// The subcommand stats
    Stats,
    /// The subcommand armed
    Armed,
    /// A line of the subcommand watch
    Events,
    /// The subcommand histogram
    Histogram,
    /// The subcommand shm
    Shm,
}

/// Options of `stats`.
#[derive(Debug, Args)]
pub struct StatsArgs {
    /// Which processes.
    #[command(flatten)]
    pub targets: TargetArgs,
    /// Time between the two readings that RATE/S is computed from
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "1s")]
    pub interval: Duration,
    /// Read at most this many rows of statistics, over all processes, and count the others; every method, direction
    /// and thread has one
    #[arg(long, value_name = "N", default_value_t = READ_STATISTICS as u32, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_rows: u32,
    /// Whether to print JSON.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Options of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Which processes.
    #[command(flatten)]
    pub targets: TargetArgs,
    /// Time between two readings, at least 100ms
    #[arg(long, value_name = "DURATION", value_parser = interval, default_value = "1s")]
    pub interval: Duration,
    /// End after this long, for example 30s
    #[arg(short, long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// Where to read rows from
    #[arg(long, default_value = "auto")]
    pub source: TopSource,
    /// Read at most this many rows and names, over all processes, the oldest requests first, and count the others
    #[arg(long, value_name = "N", default_value_t = TOP_ROWS, value_parser = clap::value_parser!(u32).range(1_000..))]
    pub max_rows: u32,
}

/// Rows that `top` reads unless the user asks for more: a hundred thousand would take a tenth of a second each time.
const TOP_ROWS: u32 = 10_000;

/// Where `top` reads rows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TopSource {
    /// The registry; the armed probes if there is no registry, or one without requests
    Auto,
    /// The probes, attached until top ends, of the processes that run when it starts
    Probes,
}

/// Options of `shm`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("hubs").args(["pids", "file"]).required(true)))]
pub struct ShmArgs {
    /// Process whose hubs to print; repeatable
    #[arg(short, long = "pid", value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)), add = ArgValueCandidates::new(completion::pids))]
    pub pids: Vec<u32>,
    /// File of a hub; the processes that use it are not looked for
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Also print the state of every slot: F free, A allocated, I in flight
    ///
    /// Slots that all peers share have a second line: the last digit of the peer that has each slot, 0 for the host. If
    /// a pool has more than 4,096 slots, a character stands for several: A if any is allocated, else I if any is in
    /// flight.
    #[arg(long)]
    pub slots: bool,
    /// Of each ring, also list the last N messages that were read [default N: 16]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_value_t = 0, default_missing_value = "16", hide_default_value = true)]
    pub history: u32,
    /// List all messages of each ring, not only the first ones
    #[arg(long)]
    pub full: bool,
    /// Print again at this interval, at least 100ms, and mark the lines that changed with *
    #[arg(long, value_name = "DURATION", value_parser = interval, conflicts_with = "json")]
    pub watch: Option<Duration>,
    /// Whether to print JSON.
    #[command(flatten)]
    pub json: JsonArgs,
}

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Process to check as well
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)), add = ArgValueCandidates::new(completion::pids))]
    pub pid: Option<u32>,
}

/// Where to read rows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The registry, or the probes if there is no registry; with -d, or if they are armed, both
    Auto,
    /// The registry only
    Registry,
    /// The probes only: requests that started after the probes were attached with -d, or armed
    Probes,
}

/// When to use color.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The outcomes by their names in JSON, with - for _.
fn outcome() -> impl TypedValueParser<Value = Outcome> {
    let names = [
        ("ok", Outcome::Ok),
        ("user-error", Outcome::UserError),
        ("unknown-method", Outcome::UnknownMethod),
        ("invalid-payload", Outcome::InvalidPayload),
        ("cancelled", Outcome::Cancelled),
        ("dropped", Outcome::Dropped),
        ("connection-closed", Outcome::ConnectionClosed),
        ("aborted", Outcome::Aborted),
        ("no-answer", Outcome::NoAnswer),
    ];
    PossibleValuesParser::new(names.map(|(name, _)| name)).try_map(move |given| {
        let outcome = names.iter().find(|(name, _)| *name == given);
        outcome.map(|&(_, outcome)| outcome).ok_or("not an outcome")
    })
}

fn stuck_after(text: &str) -> Result<StuckAfter, String> {
    let (method, time) = match text.rsplit_once('=') {
        Some(("", _)) => return Err("no method in front of =".to_owned()),
        Some((method, time)) => (Some(method.to_owned()), time),
        None => (None, text),
    };
    let time = duration(time)?;
    Ok(StuckAfter { method, time })
}

fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        interval if interval < Duration::from_millis(100) => Err("at least 100ms".to_owned()),
        interval => Ok(interval),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    SpanParser::new()
        .parse_unsigned_duration(text)
        .map_err(|_| "not a duration; write for example 5s, 500ms or 1m30s".to_owned())
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

    fn check_stuck_after(text: &str, expected: Option<(Option<&str>, u64)>) {
        let parsed = stuck_after(text).ok();
        let parsed = parsed.as_ref().map(|parsed| {
            let millis = parsed.time.as_millis() as u64;
            (parsed.method.as_deref(), millis)
        });
        assert_eq!(parsed, expected, "{text}");
    }

    #[test]
    fn times_of_methods() {
        check_stuck_after("5s", Some((None, 5_000)));
        check_stuck_after("Notifier.*=2m", Some((Some("Notifier.*"), 120_000)));
        check_stuck_after("=5s", None);
        check_stuck_after("Notifier.*=", None);
        check_stuck_after("Notifier.*", None);
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
        check_usage(&["-p", "1", "--no-follow"], true);
        check_usage(&["stats", "-p", "1", "--no-follow"], false);
        check_usage(&["list", "-v", "--color", "never"], true);
        check_usage(&["doctor"], true);
        check_usage(&["doctor", "-p", "1"], true);
        check_usage(&["-p", "1", "--children", "--dot"], true);
        check_usage(&["-p", "1", "--stuck-after", "5s", "--ignore", "A.*"], true);
        check_usage(
            &["-p", "1", "--stuck-after", "A.b=5s", "--stuck-after", "1s"],
            true,
        );
        check_usage(&["-p", "1", "--stuck-after", "A.b"], false);
        check_usage(&["stats", "-p", "1"], true);
        check_usage(&["stats", "--all", "--interval", "5s", "--json"], true);
        check_usage(&["stats"], false);
        check_usage(
            &["top", "-p", "1", "-d", "30s", "--interval", "100ms"],
            true,
        );
        check_usage(&["top", "--all", "--source", "probes"], true);
        check_usage(&["top", "-p", "1", "--interval", "99ms"], false);
        check_usage(&["top", "-p", "1", "--source", "registry"], false);
        check_usage(&["top"], false);
        check_usage(&["watch", "-p", "1", "--min-latency", "50ms"], true);
        check_usage(&["watch", "--all", "--events", "all", "--json"], true);
        check_usage(
            &["watch", "-p", "1", "--method", "A.*", "--method", "B.*"],
            true,
        );
        check_usage(&["watch", "-p", "1", "--outcome", "user-error"], true);
        check_usage(&["watch", "-p", "1", "--outcome", "fine"], false);
        check_usage(&["watch", "-p", "1", "--direction", "incoming"], true);
        check_usage(&["watch", "--min-latency", "50ms"], false);
        check_usage(&["shm", "-p", "1", "--watch", "100ms"], true);
        check_usage(&["shm", "-p", "1", "--watch", "0s"], false);
        check_usage(&["histogram", "-p", "1", "-d", "10s", "--json"], true);
        check_usage(&["histogram", "-p", "1", "--outcome", "ok"], false);
        check_usage(&["--all", "--fail-if-stuck", "30s"], true);
        check_usage(&["--all", "--user", "0", "--user", "1000"], true);
        check_usage(&["--user", "1000"], false);
        check_usage(&["-p", "1", "--user", "1000"], false);
        check_usage(&["--all", "-p", "1"], false);
        check_usage(&["--all", "--children"], false);
        check_usage(&["--all", "--json", "--dot"], false);
        check_usage(&["--all", "--json", "--pretty"], true);
        check_usage(&["--all", "--pretty"], false);
        check_usage(&[], false);
        check_usage(&["-p", "0"], false);
        check_usage(&["-p", "-1"], false);
        check_usage(&["-p", "2147483648"], false);
        check_usage(&["-p", "1", "list"], false);
        check_usage(&["--source", "both", "-p", "1"], false);
        check_usage(&["--source", "probes", "-p", "1"], true);
        check_usage(&["--source", "probes", "-p", "1", "-d", "1s"], true);
        check_usage(&["--source", "registry", "-p", "1", "-d", "1s"], false);
    }
}
