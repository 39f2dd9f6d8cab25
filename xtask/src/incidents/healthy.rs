//! Healthy applications: nothing may be said of them but that a long poll is usual, and their statistics are those
//! that they count themselves.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::application::{Application, Condition, Programs};
use super::args::Args;
use super::judge;
use super::look::look;
use super::scene::Scene;
use super::summary::summary;
use crate::pool;
use crate::tally::Tally;

/// Time between two looks at one application.
const PAUSE: Duration = Duration::from_millis(500);
/// Looks at one application.
const LOOKS: u32 = 25;
/// Calls that a dump may count as ended and their caller not yet, or the other way round.
const UNDER_WAY: u64 = 50;

/// Calls that make a middle time comparable, and what clocks may differ by, in milliseconds.
const MANY: u64 = 100;
const CLOCK_MS: f64 = 2.0;

const CONDITIONS: [Condition; 5] = [
    Condition::Quiet,
    Condition::Loaded,
    Condition::QuietLongpolls,
    Condition::LoadedLongpolls,
    Condition::Churning,
];

/// Looks that often at applications under each condition, and prints what was said of them.
pub(super) fn run(args: &Args, programs: &Programs, looks: u32) -> Result<Tally> {
    let count = looks.div_ceil(LOOKS) as usize;
    let conditions: Vec<_> = CONDITIONS.into_iter().cycle().take(count).collect();
    let mut sum = Tally::default();
    for judged in pool::map(&conditions, args.jobs, |&condition| {
        look_at(args, programs, condition)
    }) {
        sum += judged?;
    }
    Ok(sum)
}

fn look_at(args: &Args, programs: &Programs, condition: Condition) -> Result<Tally> {
    let mut application = args.start(programs, condition)?;
    let mut tally = Tally::default();
    let mut last = None;
    let truth = json!({});
    for _ in 0..LOOKS {
        thread::sleep(PAUSE);
        let before = application.count()?;
        let dump = look(programs, &application)?;
        let after = application.count()?;
        let scene = Scene::new(&application, dump.calls, &truth)?;
        let judgement = judge::judge(&scene, &dump.json);
        let mut said = judgement.false_statements;
        said.extend(alarms(&dump.json));
        said.extend(miscounts(&application, &dump.json, [&before, &after]));
        if !dump.is_healthy {
            said.push(format!("status not 0: {}", dump.complaint));
        }
        tally += Tally::one(said.is_empty());
        for line in summary(&said) {
            println!("{}: FALSE {line}", condition.name());
        }
        last = Some((judgement.known, judgement.unknown));
    }
    let (known, unknown) = last.context("no look")?;
    let all = known + unknown;
    println!(
        "{}: {tally} looks, {known} of {all} connections known",
        condition.name()
    );
    Ok(tally)
}

/// Whatever alarms of a system in which nothing hangs.
fn alarms(dump: &Value) -> Vec<String> {
    let mut alarms = Vec::new();
    let roots = dump["graph"]["roots"].as_array().into_iter().flatten();
    for root in roots.filter(|root| root["is_alarm"] != false) {
        let first = root["nodes"][0].as_u64().unwrap_or(0) as usize;
        alarms.push(format!("a root: {}", dump["graph"]["nodes"][first]));
    }
    verdicts(&dump["processes"], &mut alarms);
    alarms
}

/// Every verdict but `usual`, wherever it stands.
fn verdicts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| verdicts(value, found)),
        Value::Object(fields) => {
            let said = ["code", "finding"].map(|key| fields.get(key).and_then(Value::as_str));
            if let Some(said) = said.into_iter().flatten().find(|said| *said != "usual") {
                found.push(format!("{said}: {}", value["text"]));
            }
            fields.values().for_each(|value| verdicts(value, found));
        }
        _ => {}
    }
}

/// Statistics of a dump that contradict what its processes counted themselves before and after it.
fn miscounts(application: &Application, dump: &Value, own: [&Value; 2]) -> Vec<String> {
    let [before, after] = own.map(|counts| counted(application, counts));
    let mut wrong = Vec::new();
    for process in dump["processes"].as_array().into_iter().flatten() {
        let pid = process["process"]["pid"].as_u64().unwrap_or(0);
        for method in process["methods"].as_array().into_iter().flatten() {
            let name = method["method"].as_str().unwrap_or("");
            let is_incoming = method["direction"] == "incoming";
            let key = (pid, is_incoming, name.to_owned());
            let (Some(before), Some(after)) = (before.get(&key), after.get(&key)) else {
                continue;
            };
            let mut say = |what: &str, said: f64, own: [f64; 2]| {
                let process = &process["process"]["name"];
                let direction = &method["direction"];
                let line = format!(
                    "{process} {direction} {name}: {what} {said}, by its own count {own:?}"
                );
                wrong.push(line);
            };
            let outcomes = &method["outcomes"];
            let said = ["ok", "user_error"].map(|outcome| outcomes[outcome].as_u64().unwrap_or(0));
            let (said, own) = (said[0] + said[1], [before, after].map(|own| own.answered));
            if said + UNDER_WAY < own[0] || said > own[1] + UNDER_WAY {
                say("answered", said as f64, own.map(|own| own as f64));
            }
            // A handler's own clock starts when it is polled for the first time, a caller's with the call.
            let p50_ms = method["latency"]["p50_us"].as_f64().map(|us| us / 1e3);
            if let Some(said) = p50_ms.filter(|_| own[0] >= MANY && !is_incoming) {
                let own = [before, after].map(|own| own.p50_ms);
                let (least, most) = (own[0].min(own[1]), own[0].max(own[1]));
                if said < least * 0.9 - CLOCK_MS || said > most * 1.1 + CLOCK_MS {
                    say("p50 in milliseconds", said, own);
                }
            }
        }
    }
    wrong
}

/// What a process counted of a method.
struct Counted {
    answered: u64,
    p50_ms: f64,
}

/// What processes counted, by pid, whether calls came in, and method.
fn counted(application: &Application, counts: &Value) -> HashMap<(u64, bool, String), Counted> {
    let mut all = HashMap::new();
    for (name, &pid) in &application.pids {
        for count in counts[name].as_array().into_iter().flatten() {
            let method = count["method"].as_str().unwrap_or("").to_owned();
            let counted = Counted {
                answered: count["count"]["answered"].as_u64().unwrap_or(0),
                p50_ms: count["count"]["p50_ms"].as_f64().unwrap_or(0.0),
            };
            all.insert((pid.into(), count["incoming"] == true, method), counted);
        }
    }
    all
}
