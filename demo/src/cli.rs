//! The command line; types only.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

/// A roam host and its cells, with background traffic and hangs on request.
#[derive(Debug, Parser)]
#[command(name = "roam-demo", version)]
pub struct Cli {
    /// What this process does.
    #[command(subcommand)]
    pub command: Command,
}

/// The kinds of process.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a host and its cells, generate traffic and hang on request
    ///
    /// When the processes run and the requested hang is complete, the host prints
    /// one JSON line: its processes and every request that a correct dump must
    /// show. Host and cells end on SIGTERM or SIGINT.
    Host(HostOptions),
    /// Run as a cell (started by the host)
    #[command(hide = true)]
    Cell(CellOptions),
    /// Keep inherited descriptors open until standard input ends (started by a cell)
    #[command(hide = true)]
    Hold,
}

/// Options of `roam-demo host`.
#[derive(Debug, Args)]
pub struct HostOptions {
    /// Number of cell processes; `chain`, `forward` and `deadlock` need two
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub cells: u32,

    /// Links between the host and each cell
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub links: u32,

    /// What the links between the host and the cells are made of
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Transport::Socket)]
    pub transport: Transport,

    /// Background calls per second, per link from the host and per cell to the host; 0 for none
    #[arg(long, value_name = "CALLS", default_value_t = 20)]
    pub rate: u32,

    /// Which hang to produce
    #[arg(long, value_name = "KIND", value_enum)]
    pub hang: Option<HangKind>,

    /// Time to run normally before the hang, such as 3s
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "hang")]
    pub hang_after: Option<Duration>,

    /// Start N calls that never finish, spread over the cells and their links
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub flood: u32,

    /// Worker threads of the host's runtime [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: Option<u32>,

    /// Block every worker thread of the host after the hang
    #[arg(long)]
    pub block_workers: bool,

    /// Restart a cell when it ends, and print a JSON line about it
    #[arg(long, conflicts_with_all = ["hang", "flood"])]
    pub restart: bool,

    /// Log the start and the end of every call to FILE.PID in each process
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Write the standard error of cell N to FILE.N instead of the host's standard error
    #[arg(long, value_name = "FILE")]
    pub cell_stderr: Option<PathBuf>,
}

/// What links are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// A unix socket for every link
    Socket,
    /// A shared-memory hub for all cells; links between cells are unix sockets
    Shm,
}

/// The hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HangKind {
    /// A handler of cell 1 never answers; two channels stay open
    Handler,
    /// The host waits for cell 1, which waits for cell 2, which never answers
    Chain,
    /// Cell 1 stops reading a stream: its driver blocks, and with it every call on that link
    Reader,
    /// Callers time out and drop their futures; the handlers still run
    Dropped,
    /// Cell 1 forwards a call to cell 2, which never answers
    Forward,
    /// Every worker thread of cell 1 is blocked: its driver does not run
    Starved,
    /// A handler of cell 1 panics: no response is sent
    Panic,
    /// The host closes a link to cell 1 while a handler of cell 1 runs
    Orphan,
    /// Cell 1 is stopped by a signal
    PeerStopped,
    /// Cell 1 is killed, and another process keeps its end of the link open
    PeerDead,
    /// Cells 1 and 2 each hold a lock while they call the other, and each call needs the callee's lock
    Deadlock,
    /// The host does not read a response that has arrived
    Unread,
    /// Shared memory: a message for cell 1 is in its ring, and the signal of its doorbell was lost
    Doorbell,
    /// Shared memory: cell 1 is killed, and messages to it keep slots of the host
    Leak,
    /// Shared memory: cell 1 reads nothing, and messages to it take all slots of the host
    Exhausted,
    /// Shared memory: cell 1 is stopped by a signal, with messages in its ring
    ConsumerStopped,
}

impl HangKind {
    /// The transport that it needs; `None` if it can be produced on any.
    pub(crate) fn transport(self) -> Option<Transport> {
        match self {
            Self::Doorbell | Self::Leak | Self::Exhausted | Self::ConsumerStopped => {
                Some(Transport::Shm)
            }
            // They look into the socket, or need a second one, or a driver that stops reading.
            Self::Reader | Self::Starved | Self::Orphan | Self::PeerDead | Self::Unread => {
                Some(Transport::Socket)
            }
            Self::Handler
            | Self::Chain
            | Self::Dropped
            | Self::Forward
            | Self::Panic
            | Self::PeerStopped
            | Self::Deadlock => None,
        }
    }
}

/// Options of `roam-demo cell`.
#[derive(Debug, Args)]
pub struct CellOptions {
    /// Number of this cell, from 1
    #[arg(long)]
    pub index: u32,
    /// Background calls per second to the host
    #[arg(long)]
    pub rate: u32,
    /// Socket on which the host connects
    #[arg(long, required_unless_present = "hub_path")]
    pub listen: Option<PathBuf>,
    /// Shared-memory hub of the host, instead of a socket
    #[arg(long, requires_all = ["peer_id", "doorbell_fd"], conflicts_with = "listen")]
    pub hub_path: Option<PathBuf>,
    /// Which peer of the hub this cell is
    #[arg(long, requires = "hub_path")]
    pub peer_id: Option<u8>,
    /// Descriptor of its doorbell
    #[arg(long, requires = "hub_path")]
    pub doorbell_fd: Option<i32>,
    /// How often it does
    #[arg(long)]
    pub links: u32,
    /// Socket on which another cell connects, or the host a second time, and its name
    #[arg(long, value_name = "NAME=SOCKET", value_parser = named_socket)]
    pub accept: Option<NamedSocket>,
    /// Socket of another cell to connect to, and its name
    #[arg(long, value_name = "NAME=SOCKET", value_parser = named_socket)]
    pub connect: Option<NamedSocket>,
    /// The link that --accept takes may be closed
    #[arg(long, requires = "accept")]
    pub accepted_may_close: bool,
    /// Forward what this cell does not serve to the cell it connects to
    #[arg(long, requires = "connect")]
    pub forward: bool,
    /// Log the start and the end of every call to FILE.PID
    #[arg(long)]
    pub log: Option<PathBuf>,
}

/// A peer's name and the socket to reach it by.
#[derive(Debug, Clone)]
pub struct NamedSocket {
    /// What the connection is called in a dump.
    pub name: String,
    /// The socket's path.
    pub path: PathBuf,
}

fn duration(text: &str) -> Result<Duration, jiff::Error> {
    Duration::try_from(text.parse::<SignedDuration>()?)
}

fn named_socket(argument: &str) -> Result<NamedSocket, String> {
    let (name, path) = argument.split_once('=').ok_or("expected NAME=SOCKET")?;
    Ok(NamedSocket {
        name: name.to_owned(),
        path: path.into(),
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn help_of_host() {
        let mut command = Cli::command();
        let host = command.find_subcommand_mut("host").expect("host exists");
        insta::assert_snapshot!(host.render_long_help());
    }

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
