//! What the verdict of a row says of this row. `Err` is what is true instead.

use serde_json::Value;

use super::json::{list, number, text};
use crate::incidents::scene::{Scene, State};

/// How many calls make usual what takes at most so many times the 99th percentile of their times.
const USUAL_CALLS: u32 = 20;
const USUAL_TIMES: u64 = 10;

/// Looks at the verdict of a request.
pub(super) fn request(scene: &Scene, pid: u32, row: &Value) -> Result<(), String> {
    let verdict = &row["verdict"];
    let (code, sentence) = (text(&verdict["code"]), text(&verdict["text"]));
    let name = text(&row["connection_name"]);
    let Some(wire) = scene.wire(pid, row) else {
        return Ok(());
    };
    let callee = scene.name(wire.0);
    if row["direction"] == "outgoing" {
        let mut callees = list(&verdict["evidence"]).filter(|fact| fact["relation"] == "callee");
        let is_so = callees.all(|fact| number(&fact["pid"]) == wire.0);
        ensure(is_so, || format!("{callee} is its callee"))?;
    }
    // A handler of the proxy is nobody's code, and in no log.
    let Some(handler) = scene.handler(&wire) else {
        return Ok(());
    };
    let was = |state| handler.contains(&state);
    let runs = handler == [Some(State::Running); 2];
    match code {
        "handler_running" => ensure(was(Some(State::Running)), || {
            format!("the handler in {callee} is {handler:?}")
        }),
        "handler_not_started" | "not_sent" => {
            ensure(was(None), || format!("{callee} has started it"))
        }
        "no_response" | "peer_silent" | "inconsistent"
            if sentence.contains("neither received nor answered") =>
        {
            ensure(was(None), || format!("{callee} has received it"))
        }
        "response_not_sent" | "response_not_read" => {
            ensure(!runs, || "the handler runs".to_owned())
        }
        "no_answer" => ensure(was(Some(State::Panicked)), || {
            "the handler did not panic".to_owned()
        }),
        "caller_gone" => {
            let caller = scene.caller(&wire);
            let waits = caller
                .iter()
                .flatten()
                .all(|call| call.state == State::Running);
            let peer = scene.other_end(pid, name);
            let is_gone = peer.is_none_or(|(peer, _)| scene.is_dead(peer));
            let is_known = caller.iter().any(Option::is_some);
            ensure(!waits || is_gone || !is_known, || {
                "its caller waits for it".to_owned()
            })
        }
        "connection_closed" => {
            let connection = scene.connections.get(&(pid, name.to_owned()));
            let is_open = connection.is_some_and(|connection| {
                connection.is_open && !scene.is_dead(connection.peer_pid)
            });
            ensure(!is_open, || "its connection is open".to_owned())
        }
        _ => Ok(()),
    }
}

/// Looks at a request that is called usual, beside the statistics of both ends.
pub(super) fn usual(dump: &Value, row: &Value) -> Result<(), String> {
    if row["verdict"]["code"] != "usual" {
        return Ok(());
    }
    let methods = list(&dump["processes"]).flat_map(|process| list(&process["methods"]));
    let mut same = methods.filter(|method| method["method_id"] == row["method_id"]);
    let is_so = same.any(|method| {
        let [ok, error] = ["ok", "user_error"].map(|key| number(&method["outcomes"][key]));
        let p99_us = method["latency"]["p99_us"].as_u64().unwrap_or(0);
        ok + error >= USUAL_CALLS && row["age_us"].as_u64() <= Some(USUAL_TIMES * p99_us)
    });
    ensure(is_so, || "it takes longer than usual".to_owned())
}

/// Looks at the verdict of a channel. What the process itself knows of its ends is so; that the other process has no
/// row for its end shows something only where that process runs.
pub(super) fn channel(scene: &Scene, pid: u32, row: &Value) -> Result<(), String> {
    let mut evidence = list(&row["verdict"]["evidence"]);
    let is_guess = evidence.any(|fact| fact["by_other_process"] == true);
    let is_so = !is_guess || scene.is_one_of("writer_gone", pid);
    ensure(is_so, || "both of its ends are there".to_owned())
}

/// Looks at the verdict of a connection.
pub(super) fn connection(scene: &Scene, pid: u32, row: &Value) -> Result<(), String> {
    match text(&row["verdict"]["code"]) {
        "runtime_starved" if scene.is_one_of("blocked_links", pid) => {
            let mut blocked = list(&scene.truth["blocked_links"]);
            let is_so = blocked.any(|link| link[1] == row["name"]);
            ensure(is_so, || "its driver runs".to_owned())
        }
        "not_connected" => ensure(scene.is_one_of("retrying", pid), || {
            "it has all its links".to_owned()
        }),
        "write_blocked" => ensure(scene.is_one_of("write_blocked", pid), || {
            "its socket has room".to_owned()
        }),
        _ => Ok(()),
    }
}

/// Looks at a finding about a process as a whole.
pub(super) fn finding(scene: &Scene, pid: u32, finding: &Value) -> Result<(), String> {
    let is_any = |lists: &[&str]| lists.iter().any(|list| scene.is_one_of(list, pid));
    let is_so = match text(&finding["finding"]) {
        "stopped" => scene.is_stopped(pid),
        "dead" => scene.is_dead(pid),
        "runtime_blocked" => is_any(&["blocked"]) || scene.is_stopped(pid),
        "unread_bytes" => {
            is_any(&["blocked", "blocked_links", "full", "write_blocked"]) || scene.is_stopped(pid)
        }
        "links_lost" => {
            let losses = u64::from(number(&finding["losses"]));
            let anew = scene.reconnected(pid);
            let truth = || format!("{} connected anew {anew} times", scene.name(pid));
            // The present outage is one of them.
            ensure(losses <= anew + 1, truth)?;
            is_any(&["retrying"])
        }
        "descriptors_near_limit" => is_any(&["descriptors"]),
        "table_near_full" => false,
        _ => true,
    };
    ensure(is_so, || {
        format!("{} is not in that state", scene.name(pid))
    })
}

fn ensure(is_so: bool, truth: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(truth()) }
}
