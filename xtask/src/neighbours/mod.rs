//! What an unprivileged user can do to a tracer that runs as root: starts each attack beside a demo that hangs, then
//! all of them at once, and tries whether the tool still finds what hangs, and at what cost.

mod attacks;
mod commands;
mod measured;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Signal;

use attacks::{ATTACKS, Attack, EVERY, HELD};
use commands::{Line, words};
use measured::{Measured, interrupt, measure};

use crate::demo::{Demo, Programs};
use crate::process::{self, Process};
use crate::tally::Tally;
use crate::{machine, paths, vm};

/// Until an attacker has made all that it makes, on a busy machine too.
const READY: Duration = Duration::from_secs(120);
/// Until an attacker's processes are gone.
const GONE: Duration = Duration::from_secs(60);
/// What [`Line::Unit`] counts as stuck.
const STUCK: Duration = Duration::from_secs(31);
/// When a tracer that is to end gets its signal.
const AT_WORK_AFTER: Duration = Duration::from_millis(300);
const ATTACHED_AFTER: Duration = Duration::from_secs(2);
/// Until it must have ended.
const SIGNAL_WITHIN: Duration = Duration::from_secs(1);
const SIGNALS: [(&str, Signal); 3] = [
    ("INT", Signal::INT),
    ("TERM", Signal::TERM),
    ("HUP", Signal::HUP),
];

/// The pid that the kernel gave last. The tool reads processes by pid, and an attacker would see to it that its own come
/// first.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
const FIRST_PID: u32 = 300;
/// How many pids are left for the demo, and for whatever else starts at the same time.
const PIDS: u32 = 1_000;

/// The kernel of the virtual machine. It has FUSE built in.
const KERNEL: &str = "6.12";

/// Runs the attacks whose names were given, or all, and prints the table of docs/reliability.md.
pub(crate) fn run(names: &[String], small: bool) -> Result<Tally> {
    let programs = Programs::build()?;
    process::require(process::cargo("build --release --package attackers"))?;
    let every = Attack {
        name: EVERY,
        what: "all of these at once",
        small: "",
        is_crowd: true,
    };
    let is_wanted = |attack: &&Attack| {
        let name = attack.name.split(' ').next();
        names.is_empty() || names.iter().any(|wanted| name == Some(wanted))
    };
    let wanted: Vec<_> = ATTACKS.iter().chain([&every]).filter(is_wanted).collect();
    let mut sum = Tally::default();
    if !wanted.is_empty() {
        sum += beside_demo(&programs, &wanted, small)?;
    }
    if HELD.iter().any(|attack| is_wanted(&attack)) {
        sum += run_in_guest(&programs)?;
    }
    ensure!(sum != Tally::default(), "no attack has such a name");
    Ok(sum)
}

/// Runs the attacks that hold other processes in the kernel. The machine must be a virtual one.
pub(crate) fn run_held() -> Result<Tally> {
    fs::set_permissions("/dev/fuse", Permissions::from_mode(0o666))?;
    beside_demo(&Programs::built(), &HELD.iter().collect::<Vec<_>>(), false)
}

fn run_in_guest(programs: &Programs) -> Result<Tally> {
    let this = std::env::current_exe()?;
    let others = vec![
        programs.trace().get_program().into(),
        programs.demo(1, &[]).get_program().into(),
        attackers(),
    ];
    let arguments = ["reliability", "--hostile-neighbours", "--held"];
    vm::run_one(KERNEL, &arguments, this, others)
}

/// Tries the attacks one after the other.
fn beside_demo(programs: &Programs, attacks: &[&Attack], small: bool) -> Result<Tally> {
    machine::prepare_to_attach()?;
    let began = Instant::now();
    let pids: u32 = fs::read_to_string("/proc/sys/kernel/pid_max")?
        .trim()
        .parse()?;
    fs::write(LAST_PID, (pids - PIDS).to_string())?;
    let demo = Demo::start(programs, &["--hang", "handler"])?;
    std::thread::sleep(STUCK.saturating_sub(began.elapsed()));
    let mut sum = Tally::default();
    println!(
        "\nwall time in s / CPU time in s / memory in MB; the last column: until a signal ended the tool, in s"
    );
    let titles = Line::ALL.map(Line::title).join(" | ");
    println!("| attack | {titles} | signal |");
    println!("|{}", " --- |".repeat(Line::ALL.len() + 2));
    for attack in attacks {
        let started = match attack.name {
            EVERY => ATTACKS.iter().map(|attack| start(attack, small)).collect(),
            _ => vec![start(attack, small)],
        };
        let attackers: Vec<_> = started.into_iter().collect::<Result<_>>()?;
        sum += attacked(programs, &demo, attack)?;
        for attacker in attackers {
            attacker.finish(GONE)?;
        }
    }
    demo.stop()?;
    Ok(sum)
}

fn attackers() -> PathBuf {
    paths::target().join("release/attackers")
}

/// Starts an attack and waits until it is complete.
fn start(attack: &Attack, small: bool) -> Result<Process> {
    let mut command = Command::new(attackers());
    let line = if small { attack.small } else { attack.name };
    command.args(line.split(' ').filter(|word| !word.is_empty()));
    fs::write(LAST_PID, FIRST_PID.to_string())?;
    let attacker = Process::start(command)?;
    attacker.wait_for(READY, |line| line == "ready")?;
    Ok(attacker)
}

/// Tries every command beside an attack, and every signal.
fn attacked(programs: &Programs, demo: &Demo, attack: &Attack) -> Result<Tally> {
    let command = |line: Line| {
        let mut command = programs.trace();
        command.args(line.arguments(demo));
        command
    };
    let mut sum = Tally::default();
    let mut cells = vec![attack.what.to_owned()];
    let mut failures = Vec::new();
    for line in Line::ALL {
        let measured = measure(command(line), &words(demo))?;
        let wrong = line.judge(&measured, demo, attack);
        cells.push(cell(&measured));
        if !wrong.is_empty() {
            let stderr = measured.stderr.lines.into_iter().take(5);
            failures.push(format!("FAILED {}: {}", line.title(), wrong.join(", ")));
            failures.extend(stderr.map(|line| format!("    {line}")));
        }
        sum += Tally::one(wrong.is_empty());
    }
    let mut slowest = Duration::ZERO;
    let until_a_signal = ["-p", &demo.host.to_string(), "-d", "1h"].map(str::to_owned);
    let interrupted = [
        (Line::All.arguments(demo), AT_WORK_AFTER),
        (until_a_signal.to_vec(), ATTACHED_AFTER),
    ];
    for (name, signal) in SIGNALS {
        for (arguments, after) in &interrupted {
            // Whoever runs this may ignore SIGINT, and its children would too.
            let mut tool = Command::new("env");
            tool.arg("--default-signal")
                .arg(programs.trace().get_program())
                .args(arguments);
            let took = interrupt(tool, signal, *after)?.unwrap_or_default();
            let is_in_time = took <= SIGNAL_WITHIN;
            if !is_in_time {
                let arguments = arguments.join(" ");
                failures.push(format!("FAILED `{arguments}`, SIG{name}: {took:.1?}"));
            }
            slowest = slowest.max(took);
            sum += Tally::one(is_in_time);
        }
    }
    cells.push(format!("{:.1}", slowest.as_secs_f64()));
    println!("| {} |", cells.join(" | "));
    for line in failures {
        println!("{line}");
    }
    Ok(sum)
}

/// Wall time, CPU time and memory.
fn cell(measured: &Measured) -> String {
    format!(
        "{:.1} / {:.1} / {:.0}",
        measured.took.as_secs_f64(),
        measured.cpu.as_secs_f64(),
        measured.peak_bytes as f64 / f64::from(1 << 20),
    )
}
