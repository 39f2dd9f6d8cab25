//! Runs incidents, each in an application of its own, and prints the table of docs/verdicts.md.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::application::{Condition, Programs};
use super::args::Args;
use super::judge::{self, Judgement, Root};
use super::look::look;
use super::scene::Scene;
use super::summary::summary;
use crate::tally::Tally;
use crate::{paths, pool};

/// How old an incident is when it is looked at: older than what is usual, also where a busy machine makes calls slow.
const QUIET_AGE: Duration = Duration::from_secs(4);
const LOADED_AGE: Duration = Duration::from_secs(6);
/// The share of runs whose first root has to be the true one.
const RIGHT: f64 = 0.98;

/// One run of an incident.
struct Run<'a> {
    incident: &'a Value,
    condition: Condition,
    number: u32,
}

impl<'a> Run<'a> {
    fn name(&self) -> &'a str {
        self.incident["name"].as_str().unwrap_or("")
    }

    fn title(&self) -> String {
        format!(
            "{}, {}, run {}",
            self.name(),
            self.condition.name(),
            self.number
        )
    }
}

/// Runs incidents. Fails where the true root does not stand first often enough, and where a statement is false.
pub(super) fn run(args: &Args, programs: &Programs, list: &Value) -> Result<Tally> {
    let incidents = list.as_array().context("no incidents")?;
    for only in &args.only {
        let is_known = incidents.iter().any(|incident| incident["name"] == **only);
        ensure!(is_known, "there is no incident {only}");
    }
    let is_wanted = |incident: &&Value| {
        args.only.is_empty() || args.only.iter().any(|only| incident["name"] == **only)
    };
    let mut runs = Vec::new();
    for incident in incidents.iter().filter(is_wanted) {
        let worst = Condition::named(incident["worst"].as_str().unwrap_or(""))?;
        let conditions = match args.condition.as_slice() {
            [] => &[worst][..],
            chosen => chosen,
        };
        for &condition in conditions {
            runs.extend((1..=args.runs).map(|number| Run {
                incident,
                condition,
                number,
            }));
        }
    }
    let judged = pool::map(&runs, args.jobs, |run| {
        let judged = look_at(args, programs, run);
        print(run, &judged);
        (run.name(), judged)
    });
    Ok(report(incidents, &judged))
}

/// Plants the incident in a new application, and judges the dump of it.
fn look_at(args: &Args, programs: &Programs, run: &Run) -> Result<Judgement> {
    let mut application = args.start(programs, run.condition)?;
    application.plant(run.name())?;
    thread::sleep(match run.condition.is_loaded() {
        true => LOADED_AGE,
        false => QUIET_AGE,
    });
    let dump = look(programs, &application)?;
    let scene = Scene::new(&application, dump.calls, &run.incident["truth"])?;
    let mut judgement = judge::judge(&scene, &dump.json);
    // A root that no health check hears of is not told.
    if dump.is_healthy && scene.truth["is_alarm"] == true && judgement.root == Root::Right {
        judgement.root = Root::Unknown;
    }
    judgement
        .false_statements
        .extend(second_age(&dump.complaint));
    if judgement.root != Root::Right || !judgement.false_statements.is_empty() {
        let directory = paths::scratch().join("incidents");
        fs::create_dir_all(&directory)?;
        let name = format!(
            "{}-{}-{}.json",
            run.name(),
            run.condition.name(),
            run.number
        );
        fs::write(directory.join(name), dump.json.to_string())?;
    }
    Ok(judgement)
}

/// A headline with two ages: what stands first has been stuck for one time only.
fn second_age(complaint: &str) -> Option<String> {
    let (_, headline) = complaint.split_once("stuck for ")?;
    let (_, what) = headline.split_once("s: ")?;
    let (what, _) = what.split_once(": ").unwrap_or((what, ""));
    let is_age = |word: &str| {
        let number = word.strip_suffix('s').unwrap_or("");
        number.contains('.') && number.parse::<f64>().is_ok()
    };
    let has_age = what.split_whitespace().any(is_age);
    has_age.then(|| format!("headline: \"{}\": it has two ages", complaint.trim()))
}

fn print(run: &Run, judged: &Result<Judgement>) {
    let mut text = run.title();
    match judged {
        Ok(judgement) => {
            match &judgement.root {
                Root::Right => text += ": root right",
                Root::Unknown => text += ": root unknown",
                Root::Wrong(root) => text += &format!(": WRONG root: {root}"),
            }
            text += &format!(
                "; {} of {} connections known",
                judgement.known,
                judgement.known + judgement.unknown
            );
            for line in summary(&judgement.false_statements) {
                text += &format!("\n  FALSE {line}");
            }
        }
        Err(error) => text += &format!(": {error:#}"),
    }
    println!("{text}");
}

/// A row of the table.
#[derive(Default)]
struct Row {
    runs: u32,
    right: u32,
    unknown: u32,
    wrong: u32,
    false_statements: usize,
    failed: u32,
}

impl Row {
    fn add(&mut self, judged: &Result<Judgement>) {
        self.runs += 1;
        match judged {
            Ok(judgement) => {
                match judgement.root {
                    Root::Right => self.right += 1,
                    Root::Unknown => self.unknown += 1,
                    Root::Wrong(_) => self.wrong += 1,
                }
                self.false_statements += judgement.false_statements.len();
            }
            Err(_) => self.failed += 1,
        }
    }

    fn print(&self, what: &str) {
        let Self {
            runs,
            right,
            unknown,
            wrong,
            false_statements,
            ..
        } = self;
        println!("| {what} | {runs} | {right} | {unknown} | {wrong} | {false_statements} |");
    }
}

/// Prints the table of docs/verdicts.md.
fn report(incidents: &[Value], judged: &[(&str, Result<Judgement>)]) -> Tally {
    println!(
        "\n| incident | runs | true root first | unknown | another root first | false statements |\n| --- | --- | --- | --- | --- | --- |"
    );
    let mut sum = Row::default();
    let mut tally = Tally::default();
    for incident in incidents {
        let mut row = Row::default();
        for (_, judged) in judged.iter().filter(|(name, _)| incident["name"] == **name) {
            row.add(judged);
            sum.add(judged);
        }
        if row.runs > 0 {
            row.print(incident["about"].as_str().unwrap_or(""));
            tally += Tally::one(row.false_statements == 0 && row.wrong == 0 && row.failed == 0);
        }
    }
    sum.print("all");
    println!();
    let known: u32 = judged
        .iter()
        .flat_map(|(_, judged)| judged)
        .map(|judged| judged.known)
        .sum();
    println!("{known} connections whose other end is known");
    tally += Tally::one(f64::from(sum.right) >= RIGHT * f64::from(sum.runs));
    tally
}

#[cfg(test)]
mod tests {
    use super::second_age;

    fn check(complaint: &str, is_wrong: bool) {
        assert_eq!(second_age(complaint).is_some(), is_wrong, "{complaint}");
    }

    #[test]
    fn a_headline_has_one_age() {
        let name = "roam-trace: stuck for 17.4s: db[7] Db.get";
        check(&format!("{name} running 9.8s: it has no call out"), true);
        check(
            &format!("{name} running: the handler has run for 17.4s"),
            false,
        );
        check(name, false);
        check("", false);
    }
}
