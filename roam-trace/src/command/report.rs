//! What goes wrong, on stderr.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints what went wrong to stderr, in one line.
pub(super) fn report(what: &dyn Display) {
    // Nobody is left to report to where stderr is closed.
    let _ = writeln!(io::stderr(), "roam-trace: {what}");
}
