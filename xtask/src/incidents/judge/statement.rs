//! What any verdict says, whatever it is of: the states of processes and drivers, and who waits for whom in a cycle.

use serde_json::Value;

use super::json::{list, number, pid, text};
use crate::incidents::scene::Scene;

/// What is true where a verdict of a process says something else.
pub(super) fn untrue(scene: &Scene, dump: &Value, of: u32, verdict: &Value) -> Vec<String> {
    let code = text(&verdict["code"]);
    let mut untrue: Vec<_> = list(&verdict["evidence"])
        .filter_map(|fact| untrue_fact(scene, of, code, fact))
        .collect();
    untrue.extend(untrue_sentence(scene, dump, of, verdict));
    if code == "inconsistent" {
        untrue.push("both ends agree".to_owned());
    }
    untrue.dedup();
    untrue
}

fn untrue_fact(scene: &Scene, of: u32, code: &str, fact: &Value) -> Option<String> {
    let of = fact["pid"].as_u64().map_or(of, |pid| pid as u32);
    let is_so = match text(&fact["fact"]) {
        "driver" if code == "runtime_starved" => may_starve(scene, of),
        "driver" if code == "write_blocked" => scene.is_one_of("write_blocked", of),
        "delivering" => scene.is_one_of("full", of),
        "process" if fact["state"] == "stopped" => scene.is_stopped(of),
        "process" if fact["state"] == "dead" => scene.is_dead(of),
        // That there might be one is no claim that there is.
        "cycle" if code == "deadlock" => {
            let mut members = list(&fact["processes"]).map(|process| number(&process["pid"]));
            let is_so = members.all(|pid| scene.is_one_of("deadlock", pid));
            return (!is_so).then(|| "there is no such deadlock".to_owned());
        }
        _ => true,
    };
    (!is_so).then(|| format!("{} is not in that state", scene.name(of)))
}

/// Whether a driver of a process may have work and not run.
fn may_starve(scene: &Scene, pid: u32) -> bool {
    let lists = ["blocked", "blocked_links"];
    lists.iter().any(|list| scene.is_one_of(list, pid))
        || scene.is_stopped(pid)
        || scene.is_dead(pid)
}

/// What a sentence says besides its evidence.
pub(super) fn untrue_sentence(
    scene: &Scene,
    dump: &Value,
    of: u32,
    verdict: &Value,
) -> Vec<String> {
    let sentence = text(&verdict["text"]);
    let mut untrue = Vec::new();
    if sentence.contains("shares no socket") {
        untrue.push("it has neighbours".to_owned());
    }
    let names_others = processes_of(sentence).next().is_some();
    if verdict["code"] == "runtime_starved" && !names_others && !may_starve(scene, of) {
        untrue.push(format!("{} runs", scene.name(of)));
    }
    if let Some(reader) = reader(sentence)
        && !list(&scene.truth["full"]).any(|full| full[1] == reader)
    {
        untrue.push(format!("{reader} is not what is to read it"));
    }
    for (name, of, rest) in processes_of(sentence) {
        let Some(truth) = scene.process(of) else {
            untrue.push(format!("{name}[{of}] is no process of the application"));
            continue;
        };
        let is_so = if rest.starts_with(" is stopped") {
            scene.is_stopped(of)
        } else if rest.starts_with(" is dead") || rest.starts_with(" is a zombie") {
            scene.is_dead(of)
        } else if rest.starts_with(" not traced") {
            !list(&dump["processes"]).any(|process| pid(process) == of)
        } else {
            true
        };
        if !is_so {
            untrue.push(format!("{truth} is not in that state"));
        }
    }
    untrue
}

/// The method that a sentence says does not read a channel.
fn reader(sentence: &str) -> Option<&str> {
    let (before, after) = sentence.split_once(") does not read")?;
    let (_, reader) = before.rsplit_once(", which ")?;
    let (method, _) = reader.split_once(" (req_id=")?;
    after.is_empty().then_some(method)
}

/// The processes that a sentence names, each with what follows.
fn processes_of(sentence: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    sentence.match_indices('[').filter_map(|(open, _)| {
        let (process, rest) = sentence[open + 1..].split_once(']')?;
        // The uid follows in dumps of several users.
        let pid = process.split(' ').next()?;
        let name = sentence[..open].rsplit([' ', '(']).next()?;
        Some((name, pid.parse().ok()?, rest))
    })
}
