//! Probes that are armed before the demo starts.

use std::path::Path;
use std::process::Command;

use crate::demo::ReadyDemo;
use crate::dump::{Rows, Tracer};

const PINS: (&str, &str) = ("ROAM_TRACE_PINS", "/sys/fs/bpf/roam-trace-test-demo");

/// An executable that is armed, until this is dropped.
pub(crate) struct Armed;

impl Armed {
    pub(crate) fn arm(program: &Path) -> Self {
        let armed = Self;
        let status = tool().args(["arm", "--exe"]).arg(program).status();
        assert!(status.unwrap().success());
        armed
    }

    /// Dumps host and cells by the probes alone, or by `both` sources.
    pub(crate) fn trace(&self, demo: &ReadyDemo, source: &str) -> Rows {
        let arguments = match source {
            "probes" => &["--source", "probes"][..],
            _ => &[],
        };
        Tracer::start_by(tool(), &demo.pids(), arguments).finish()
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        let _ = tool().arg("disarm").status();
    }
}

pub(crate) fn tool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roam-trace"));
    command.env(PINS.0, PINS.1);
    command
}
