//! Messages on stderr.

use std::fmt::Display;
use std::io::{self, Write};

use crate::armed::ArmedError;
use crate::error::Exit;

/// Prints a message to stderr, in one line.
pub(super) fn report(what: &dyn Display) {
    // Nobody is left to report to where stderr is closed.
    let _ = writeln!(io::stderr(), "roam-trace: {what}");
}

/// Prints why something about armed probes failed, with the causes. Returns the exit status.
pub(super) fn report_armed(error: ArmedError) -> Exit {
    let exit = error.exit();
    report(&format_args!("{:#}", anyhow::Error::new(error)));
    exit
}

/// Names processes in a message.
pub(super) fn processes(pids: &[u32]) -> String {
    const NAMED: usize = 3;
    let named: Vec<_> = pids.iter().take(NAMED).map(u32::to_string).collect();
    let named = named.join(", ");
    match pids.len() {
        1 => format!("process {named}"),
        count if count > NAMED => format!("processes {named} and {} more", count - NAMED),
        _ => format!("processes {named}"),
    }
}

#[cfg(test)]
mod tests {
    use super::processes;

    #[test]
    fn processes_are_named_while_they_are_few() {
        assert_eq!(processes(&[7]), "process 7");
        assert_eq!(processes(&[7, 8, 9]), "processes 7, 8, 9");
        assert_eq!(
            processes(&[7, 8, 9, 10, 11]),
            "processes 7, 8, 9 and 2 more"
        );
    }
}
