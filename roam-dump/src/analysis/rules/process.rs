//! What holds up a process as a whole.

use crate::analysis::context::Analysis;
use crate::analysis::evidence;
use crate::analysis::finding::Finding;
use crate::analysis::reason::Reason;
use crate::model::ProcessState;

/// Why nothing in a process moves, if that is so.
pub(in crate::analysis) fn judge_process(analysis: &Analysis<'_>, process: u32) -> Option<Finding> {
    let index = analysis.index;
    let state = analysis.state(process);
    if state != ProcessState::Alive {
        let pid = index.pid(process);
        let evidence = evidence::process(index, pid, None);
        return Some(analysis.found(Reason::ProcessNotAlive { pid, state }, evidence));
    }
    let blocked = analysis.health.blocked(process)?;
    let evidence = evidence::runtime_blocked(index, process, blocked);
    let reason = Reason::RuntimeBlocked { process, blocked };
    Some(analysis.found(reason, evidence).since(blocked.idle_us))
}
