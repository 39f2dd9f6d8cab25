//! `cargo xtask incidents`: plants incidents in a realistic application and judges what roam-trace says of them.

mod application;
mod healthy;
mod judge;
mod scene;

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::{self, Process};
use crate::tally::Tally;
use crate::{paths, pool};
use application::{Application, Condition, Programs};
use judge::{Judgement, Root};
use scene::{Calls, Scene};

/// How old an incident is when it is looked at: older than what is usual, also where a busy machine makes calls slow.
const QUIET_AGE: Duration = Duration::from_secs(4);
const LOADED_AGE: Duration = Duration::from_secs(6);
/// The share of runs whose first root has to be the true one.
const RIGHT: f64 = 0.98;
/// False statements that are shown of each run.
const SHOWN: usize = 8;
/// How long roam-trace may take, on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs of each incident under each condition
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: u32,
    /// Incidents to run [default: all]
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Conditions to run them under [default: each incident's worst]
    #[arg(long, value_enum)]
    condition: Vec<Condition>,
    /// Runs at the same time
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: usize,
    /// Background calls per second where there is load
    #[arg(long, value_name = "N", default_value_t = 200)]
    rate: u32,
    /// Length of long polls in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 6)]
    poll: u64,
    /// Look at healthy applications that often instead
    #[arg(long, value_name = "LOOKS", conflicts_with_all = ["only", "condition"])]
    healthy: Option<u32>,
}

impl Args {
    /// Each incident once, under its worst condition.
    pub(crate) fn once() -> Self {
        Self {
            runs: 1,
            only: Vec::new(),
            condition: Vec::new(),
            jobs: 4,
            rate: 200,
            poll: 6,
            healthy: None,
        }
    }

    fn start(&self, programs: &Programs, condition: Condition) -> Result<Application> {
        let poll = Duration::from_secs(self.poll);
        Application::start(programs, condition, self.rate, poll)
    }
}

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

/// Runs incidents and prints a table. Fails where the true root does not stand first often enough, and where a
/// statement is false.
pub(crate) fn run(args: &Args) -> Result<Tally> {
    let programs = Programs::build()?;
    let mut list = programs.application();
    list.arg("list");
    let list: Value = serde_json::from_str(&process::read(list)?)?;
    if let Some(looks) = args.healthy {
        return healthy::run(args, &programs, &list["usual"], looks);
    }
    let incidents = list["incidents"].as_array().context("no incidents")?;
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
        let judged = look_at(args, &programs, &list["usual"], run);
        print(run, &judged);
        (run.name(), judged)
    });
    Ok(report(incidents, &judged))
}

/// Plants the incident in a new application, and judges the dump of it.
fn look_at(args: &Args, programs: &Programs, usual: &Value, run: &Run) -> Result<Judgement> {
    let mut application = args.start(programs, run.condition)?;
    application.plant(run.name())?;
    thread::sleep(match run.condition.is_loaded() {
        true => LOADED_AGE,
        false => QUIET_AGE,
    });
    let dump = look(programs, &application)?;
    let scene = Scene::new(&application, dump.calls, &run.incident["truth"], usual)?;
    let judgement = judge::judge(&scene, &dump.json);
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

/// A dump, and the calls before and after it.
struct Look {
    json: Value,
    calls: [Calls; 2],
    /// Whether nothing was stuck for three seconds.
    is_healthy: bool,
    /// What roam-trace printed about what is.
    complaint: String,
}

fn look(programs: &Programs, application: &Application) -> Result<Look> {
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

/// Statements that differ in numbers only are one, with their count.
fn summary(statements: &[String]) -> Vec<String> {
    let mut kinds: BTreeMap<String, (usize, &String)> = BTreeMap::new();
    for statement in statements {
        let kind = statement
            .chars()
            .filter(|letter| !letter.is_ascii_digit())
            .collect();
        kinds.entry(kind).or_insert((0, statement)).0 += 1;
    }
    let count = kinds.len();
    let kinds = kinds.into_values().take(SHOWN);
    let mut lines: Vec<_> = kinds
        .map(|(count, example)| format!("({count}) {example}"))
        .collect();
    if count > SHOWN {
        lines.push(format!("and {} other kinds", count - SHOWN));
    }
    lines
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
