//! What the commands have in common: where their output goes and how they end.

mod arm;
mod armed;
mod by_kernel;
mod by_pins;
mod by_registry;
mod disarm;
mod doctor;
mod dump;
mod errors;
mod histogram;
mod list;
mod live;
mod man;
mod pins;
mod report;
mod schema;
mod select;
mod shm;
mod stats;
mod top;
mod watch;

use std::io::{self, BufWriter, Write};

use anstream::{AutoStream, ColorChoice};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::{Cli, Color, Command};
use crate::error::Exit;
use report::report;

/// Bytes that are written to stdout at a time.
const BUFFER_BYTES: usize = 1 << 16;

/// Runs the command that was asked for.
pub fn run(cli: &Cli) -> Exit {
    start_log(cli.verbose);
    raise_descriptor_limit();
    let stdout = io::stdout();
    let color = match cli.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => AutoStream::choice(&stdout) != ColorChoice::Never,
    };
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, stdout.lock());
    let done = match &cli.command {
        None => dump::run(&cli.dump, color, cli.verbose > 0, &mut out),
        Some(Command::Stats(args)) => stats::run(args, &mut out),
        Some(Command::Top(args)) => top::run(args, color, cli.verbose > 0),
        Some(Command::Watch(args)) => watch::run(args, cli.verbose > 0, &mut out),
        Some(Command::Histogram(args)) => histogram::run(args, cli.verbose > 0, &mut out),
        Some(Command::Shm(args)) => shm::run(args, color, &mut out),
        Some(Command::List) => list::run(color, &mut out),
        Some(Command::Arm(args)) => arm::run(args, &mut out),
        Some(Command::Armed(args)) => armed::run(args, &mut out),
        Some(Command::Disarm(args)) => disarm::run(args, &mut out),
        Some(Command::Doctor(args)) => doctor::run(args, color, &mut out),
        Some(Command::Man) => man::run(&mut out),
        Some(Command::Schema(args)) => schema::run(args, &mut out),
    };
    let flushed = out.flush().map_err(anyhow::Error::from);
    match (done, flushed) {
        (Ok(exit), Err(error)) if is_closed_pipe(&error) => exit,
        (done, flushed) => finish(done.and_then(|exit| flushed.map(|()| exit))),
    }
}

fn finish(done: anyhow::Result<Exit>) -> Exit {
    match done {
        Ok(exit) => exit,
        Err(error) if is_closed_pipe(&error) => Exit::Success,
        Err(error) => {
            report(&format_args!("{error:#}"));
            Exit::Failure
        }
    }
}

/// Every process that is looked at takes some descriptors, and who has many processes must not hide another one.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::info!("cannot raise the limit of open files: {error}");
    }
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    env_logger::Builder::new()
        .filter_level(level)
        .format(|out, record| writeln!(out, "roam-trace: {}", record.args()))
        .init();
}

/// Whether the reader of stdout went away, which is its right.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
