//! A dump of an application, between two samples of its logs.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::application::{Application, Programs};
use super::scene::Calls;
use crate::process::Process;
use crate::verdicts::with_verdicts;

/// How long roam-trace may take, on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

/// A dump, and the calls before and after it.
pub(super) struct Look {
    pub(super) json: Value,
    pub(super) calls: [Calls; 2],
    /// Whether nothing was stuck for three seconds.
    pub(super) is_healthy: bool,
    /// What roam-trace printed about what is.
    pub(super) complaint: String,
}

/// Looks at all processes of an application that there are.
pub(super) fn look(programs: &Programs, application: &Application) -> Result<Look> {
    let before = Calls::read(application)?;
    let stderr = application.directory.join("roam-trace.stderr");
    let mut trace = programs.trace();
    trace.args(["--json", "--fail-if-stuck", "3s"]);
    for pid in application.pids.values() {
        if !is_gone(*pid) {
            trace.args(["-p", &pid.to_string()]);
        }
    }
    trace.stderr(fs::File::create(&stderr)?);
    let finished = Process::start(trace)?.finish(WITHIN)?;
    let complaint = fs::read_to_string(&stderr)?;
    let json = serde_json::from_str(&finished.text).with_context(|| complaint.clone())?;
    let json = with_verdicts(json);
    Ok(Look {
        json,
        calls: [before, Calls::read(application)?],
        is_healthy: finished.success,
        complaint,
    })
}

fn is_gone(pid: u32) -> bool {
    !fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}
