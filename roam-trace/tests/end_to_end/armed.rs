//! Probes that are armed before the demo starts.

use std::path::Path;
use std::process::Command;

use crate::demo::ReadyDemo;
use crate::dump::{Rows, Tracer};

/// An executable that is armed, until this is dropped.
pub(crate) struct Armed {
    pins: &'static str,
}

impl Armed {
    /// Arms it with pins of their own, so that tests do not disturb each other.
    ///
    /// `None` if the kernel cannot have armed probes, which the tool says then.
    pub(crate) fn arm(program: &Path, pins: &'static str) -> Option<Self> {
        let armed = Self { pins };
        let run = armed.tool().args(["arm", "--exe"]).arg(program).output();
        let run = run.unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        if said.contains("arming needs uprobe_multi (Linux 6.6), which this kernel does not have") {
            assert_eq!(run.status.code(), Some(1));
            return None;
        }
        assert!(run.status.success(), "{said}");
        Some(armed)
    }

    /// A command that uses what is armed.
    pub(crate) fn tool(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roam-trace"));
        command.env("ROAM_TRACE_PINS", Path::new("/sys/fs/bpf").join(self.pins));
        command
    }

    /// Dumps host and cells by the probes alone, or by `both` sources.
    pub(crate) fn trace(&self, demo: &ReadyDemo, source: &str) -> Rows {
        let arguments = match source {
            "probes" => &["--source", "probes"][..],
            _ => &[],
        };
        Tracer::start_by(self.tool(), &demo.pids(), arguments).finish()
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        let _ = self.tool().arg("disarm").status();
    }
}
