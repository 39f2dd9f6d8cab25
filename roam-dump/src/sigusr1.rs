//! The dump on SIGUSR1: the registry of this process as text, the same as the tracer prints.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use roam_diagnostic::{clock, sigusr1};

pub use roam_diagnostic::callback::register_diagnostic;
pub use roam_diagnostic::sigusr1::{InstallError, THREAD, register_child_pid};

use crate::decode::{from_registry, printable};
use crate::model::{Dump, Process, SCHEMA_VERSION};
use crate::read::read_own;
use crate::render::text;

/// Installs a handler that writes a dump of this process to descriptor 2 on SIGUSR1. A second call does nothing.
///
/// # Errors
///
/// [`InstallError`]; SIGUSR1 then has the effect that it had before.
pub fn install() -> Result<(), InstallError> {
    sigusr1::install(dump)
}

fn dump() -> Vec<u8> {
    let mut image = match read_own() {
        Some(Ok(image)) => image,
        Some(Err(error)) => {
            return format!("roam-dump: cannot read the registry of this process: {error}\n")
                .into();
        }
        None => {
            return b"roam-dump: this process has no registry: it has had no connection yet, or was started with ROAM_DIAGNOSTIC=off\n".into();
        }
    };
    let name = std::fs::read("/proc/self/comm").unwrap_or_default();
    let process = Process::new(std::process::id(), printable(name.trim_ascii_end()));
    let dump = Dump {
        schema_version: SCHEMA_VERSION,
        taken_at: Timestamp::now(),
        verdicts: Vec::new(),
        processes: vec![from_registry(process, &mut image, clock::now_ns())],
        graph: None,
    };
    let options = text::Options {
        color: false,
        time_zone: TimeZone::system(),
    };
    let mut output = Vec::new();
    // Writing to memory does not fail.
    let _ = text::render(&mut output, &dump, &options);
    output
}
