//! Measures and prints; asserts nothing. Whatever is compared is measured in one run, in turns.

mod builds;
mod calls;
mod dumps;
mod graph;
mod rows;
mod sequence;
mod shm;
mod spread;
mod top;
mod traced;
mod tracer;
mod watch;

use anyhow::Result;
use clap::ValueEnum;

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// Keeping track of one call: the registry against the published `DiagnosticState`
    Sequence,
    /// Calls per second over a unix socket: the drop-in against the published roam-session
    Calls,
    /// `roam-trace -p` on a process with 100,000 requests in flight
    Flood,
    /// `roam-trace` on 100 processes with 1,000 requests in flight each, verdicts and wait graph included
    Processes,
    /// Verdicts, wait graph and text alone, by the number of rows
    Graph,
    /// Reading a shared-memory hub, and what that costs its host and guest
    Shm,
    /// A request whose probes are traced, by ours and by bpftrace; attaching and detaching
    Traced,
    /// A dump by registry and by kernel map, by the number of rows; bpftrace printing its map
    Rows,
    /// What a program loses while `roam-trace top` reads it ten times a second
    Top,
    /// `roam-trace watch` of 200,000 events a second
    Watch,
    /// A clean release build of an application: with the drop-in, with the published roam-session
    Builds,
}

/// Runs the benches named, or all.
pub(crate) fn run(subjects: &[Subject]) -> Result<()> {
    for subject in Subject::value_variants() {
        if subjects.is_empty() || subjects.contains(subject) {
            match subject {
                Subject::Sequence => sequence::run()?,
                Subject::Calls => calls::run()?,
                Subject::Flood => dumps::flood()?,
                Subject::Processes => dumps::processes()?,
                Subject::Graph => graph::run()?,
                Subject::Shm => shm::run()?,
                Subject::Traced => traced::run()?,
                Subject::Rows => rows::run()?,
                Subject::Top => top::run()?,
                Subject::Watch => watch::run()?,
                Subject::Builds => builds::run()?,
            }
        }
    }
    Ok(())
}
