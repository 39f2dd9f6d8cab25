//! The dump on SIGUSR1: the registry of this process as text, the same as the tracer prints of it alone. A thread of its
//! own writes it; nothing else in the process waits for that.
//!
//! The shared-memory hubs that the process maps are read as well. Of doorbells, and of which process is which peer, only
//! the tracer knows.
//!
//! The verdicts rest on the rows of this process: what its peers do, and which bytes lie in its sockets, only the
//! tracer sees.
//!
//! The processes of a program often share one standard error, and a dump may be longer than what a pipe takes at once.
//! Therefore a dump is written in parts of at most 4,096 bytes, which a pipe does not mix with what others write. Each
//! part stands between two marker lines, with the pid, the number of the dump in that process, the section, the part and
//! the number of parts of that section:
//!
//! ```text
//! --- roam-dump begin pid=4242 dump=1 section=registry part=1/3 ---
//! …
//! --- roam-dump end pid=4242 dump=1 section=registry part=1/3 ---
//! ```
//!
//! The lines between the markers of one process and dump, in the order of the parts, are that dump. Its section
//! `callbacks` follows once the callbacks have returned, if there are any. Parts end where lines end; of a line that is
//! too long for a part, each piece but the last ends with `…`. If standard error takes no byte for one second, the rest
//! of the dump is dropped.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use jiff::Timestamp;
use roam_diagnostic::{clock, sigusr1};

pub use roam_diagnostic::callback::register_diagnostic;
pub use roam_diagnostic::sigusr1::{InstallError, THREAD, register_child_pid};

use crate::analysis::{Facts, Thresholds};
use crate::decode::{from_registry, printable};
use crate::explain;
use crate::explain_hubs;
use crate::model::{Dump, Evidence, Hub, Process, SCHEMA_VERSION, Snapshot, Verdict};
use crate::read::{ReadError, read_own};
use crate::render::text;
use crate::shm::{join, own_hubs};

/// After which time rows are read again that verdicts need to be confirmed: a driver that got work just before they were
/// read has run by then.
const CONFIRM_AFTER: Duration = Duration::from_millis(20);

/// After which time hubs are read again in which something may be wrong: a reader that runs has read by then what was in
/// its ring.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Installs a handler that writes a dump of this process to descriptor 2 on SIGUSR1, between the marker lines that
/// [the module](self) describes. Signals that arrive while a dump is written cause one more. A second call does nothing.
///
/// # Errors
///
/// [`InstallError`]; SIGUSR1 then has the effect that it had before.
pub fn install() -> Result<(), InstallError> {
    sigusr1::install(dump)
}

fn dump() -> String {
    let snapshot = match snapshot() {
        Some(Ok(snapshot)) => snapshot,
        Some(Err(error)) => {
            return format!("roam-dump: cannot read the registry of this process: {error}\n");
        }
        None => {
            return "roam-dump: this process has no registry: it has had no connection yet, or was started with ROAM_DIAGNOSTIC=off\n".to_owned();
        }
    };
    let dump = explained(snapshot);
    let mut output = Vec::new();
    // Writing to memory does not fail.
    let _ = text::render(&mut output, &dump, &text::Options::plain());
    let mut text = String::from_utf8_lossy(&output).into_owned();
    if dump.verdicts.iter().any(lacks_evidence) {
        let pid = std::process::id();
        text.push_str(&format!(
            "\npeer unknown: a process sees its own rows only; to see its peers, run roam-trace -p {pid}\n"
        ));
    }
    text
}

fn lacks_evidence(verdict: &Arc<Verdict>) -> bool {
    let mut evidence = verdict.evidence.iter();
    evidence.any(|evidence| matches!(evidence, Evidence::Missing { .. }))
}

/// The rows of this process; `None` if it has no registry.
fn snapshot() -> Option<Result<Snapshot, ReadError>> {
    let image = read_own()?;
    let name = std::fs::read("/proc/self/comm").unwrap_or_default();
    let process = Process::new(std::process::id(), printable(name.trim_ascii_end()));
    Some(image.map(|mut image| from_registry(process, &mut image, clock::now_ns())))
}

/// The rows with their verdicts, as far as this process alone shows them.
fn explained(first: Snapshot) -> Dump {
    let facts = Facts {
        hubs: hubs(),
        ..Facts::default()
    };
    let thresholds = Thresholds::default();
    let mut processes = vec![first];
    let mut taken_at = Timestamp::now();
    let mut explained = explain(&mut processes, &facts, &thresholds);
    if !explained.unconfirmed.is_empty() {
        sleep(CONFIRM_AFTER);
        if let Some(Ok(again)) = snapshot() {
            taken_at = Timestamp::now();
            processes = vec![again];
            explained = explain(&mut processes, &facts, &thresholds);
        }
    }
    let mut hubs = facts.hubs;
    join(&mut hubs, &processes);
    Dump {
        schema_version: SCHEMA_VERSION,
        taken_at,
        verdicts: explained.verdicts,
        processes,
        hubs,
        graph: Some(explained.graph),
    }
}

/// The hubs that this process maps, with what two readings of them show.
fn hubs() -> Vec<Hub> {
    let before = own_hubs();
    let mut hubs = before.clone();
    explain_hubs(&before, &mut hubs);
    if hubs.iter().any(|hub| !hub.findings.is_empty()) {
        sleep(READ_AGAIN_AFTER);
        hubs = own_hubs();
        explain_hubs(&before, &mut hubs);
    }
    hubs
}
