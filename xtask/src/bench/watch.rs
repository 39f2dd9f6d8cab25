//! What `roam-trace watch` takes of a processor while a program ends 200,000 requests a second, all of them printed or
//! one in a hundred, what the program takes, and whether all that is lost is counted.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::tracer::{Load, Tools};
use crate::process::Process;

/// For how long the program makes requests.
const SECONDS: u64 = 30;
const WITHIN: Duration = Duration::from_secs(60);
/// Room for requests in flight.
const REQUESTS: u64 = 1_024;

pub(super) fn run() -> Result<()> {
    println!(
        "`roam-trace watch` of a program that ends 200,000 requests a second for {SECONDS} s:"
    );
    let tools = Tools::build()?;
    for (what, arguments) in [
        ("all, as text", &[][..]),
        ("all, as JSON", &["--json"]),
        ("one in 100, by method", &["--method", "Load.rare"]),
        ("one in 100, by outcome", &["--outcome", "user-error"]),
    ] {
        let mut load = tools.load(REQUESTS)?;
        let Watched {
            made,
            took,
            events,
            lost,
            cpu,
            program_cpu,
            peak_megabytes,
        } = watch(&tools, &mut load, arguments)?;
        println!(
            "{what}: {:.1}% of a core, {peak_megabytes:.0} MB; the program: {:.2} us of CPU time per request; {:.0} \
            requests a second; {events} events printed and {lost} lost of {made} requests",
            100.0 * cpu.as_secs_f64() / took.as_secs_f64(),
            1e6 * program_cpu.as_secs_f64() / made as f64,
            made as f64 / took.as_secs_f64(),
        );
        if arguments
            .first()
            .is_none_or(|argument| *argument == "--json")
        {
            ensure!(events + lost == made, "the losses are not exact");
        }
    }
    Ok(())
}

/// What a tracer did, and what it took.
struct Watched {
    made: u64,
    took: Duration,
    events: u64,
    lost: u64,
    cpu: Duration,
    program_cpu: Duration,
    peak_megabytes: f64,
}

fn watch(tools: &Tools, load: &mut Load, arguments: &[&str]) -> Result<Watched> {
    // Nobody reads what it prints: that would take as much as it does.
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1 >/dev/null"]);
    command.arg(tools.trace().get_program());
    command.args(["watch", "-v", "-p", &load.pid().to_string()]);
    command.args(arguments);
    let tracer = Process::start(command)?;
    tracer.wait_for(WITHIN, |line| line.contains(": watching "))?;
    let (began, program_began) = (Instant::now(), cpu_time(load.pid())?);
    let made = load.pace(SECONDS)?;
    let (took, program_cpu) = (began.elapsed(), cpu_time(load.pid())? - program_began);
    tracer.signal(Signal::INT)?;
    let finished = tracer.finish(WITHIN)?;
    let (events, lost) =
        summary(&finished.text).with_context(|| format!("roam-trace said {}", finished.text))?;
    Ok(Watched {
        made,
        took,
        events,
        lost,
        cpu: finished.cpu,
        program_cpu,
        peak_megabytes: finished.peak_megabytes(),
    })
}

/// What the first thread of a process has taken of processors.
fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/schedstat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let nanoseconds = text.split(' ').next().unwrap_or_default();
    let nanoseconds = nanoseconds.parse().with_context(|| text.clone())?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// The numbers in its last line.
fn summary(text: &str) -> Option<(u64, u64)> {
    let line = text
        .lines()
        .rev()
        .find_map(|line| line.strip_suffix(" lost"))?;
    let line = line.strip_prefix("roam-trace: ")?.replace(',', "");
    let (events, lost) = line.split_once(" events ")?;
    Some((events.parse().ok()?, lost.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn the_summary_has_two_numbers() {
        let text = "roam-trace: attached\nroam-trace: 6,000,000 events, 12 lost\n";
        assert_eq!(summary(text), Some((6_000_000, 12)));
        assert_eq!(summary("roam-trace: attached\n"), None);
    }
}
