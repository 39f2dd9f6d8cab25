//! Messages on stderr.

use std::fmt::Display;
use std::io::{self, Write};

use crate::privilege::Missing;

/// Prints a message to stderr, in one line.
pub(super) fn report(what: &dyn Display) {
    // Nobody is left to report to where stderr is closed.
    let _ = writeln!(io::stderr(), "roam-trace: {what}");
}

/// Reports how many processes were left out because they cannot be read, with what is missing for one of them.
pub(super) fn report_denied(denied: &[Missing]) {
    if let Some(missing) = denied.first() {
        let count = denied.len();
        let plural = if count == 1 { "" } else { "es" };
        report(&format_args!(
            "no permission to read {count} process{plural}: {missing}"
        ));
    }
}
