//! `roam-trace armed`: what is armed, and what came of it.

use std::io::Write;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use roam_dump::decode::loss_gaps;
use roam_dump::duration::{Age, Took};
use roam_dump::model::{Gap, Process, SCHEMA_VERSION};
use roam_dump::render::Counted;
use schemars::JsonSchema;
use serde::Serialize;
use tabwriter::{Alignment, TabWriter};

use super::report::report_armed;
use crate::armed::{ArmedError, ArmedSet, Executable, Version, shown};
use crate::cli::ArmedArgs;
use crate::error::Exit;
use crate::kernel::Maps;
use crate::process::clock::Clock;
use crate::process::proc;

/// What is printed.
#[derive(Serialize, JsonSchema)]
pub(super) struct ArmedReport {
    /// Version of the JSON, the same as that of a dump.
    schema_version: u32,
    /// When the maps were read.
    taken_at: Timestamp,
    /// Microseconds since the first executable was armed; `None` if nothing is armed.
    #[serde(skip_serializing_if = "Option::is_none")]
    set_age_us: Option<u64>,
    /// The armed executables and libraries, by path.
    executables: Vec<ArmedExecutable>,
    /// The processes that reported something, by pid.
    processes: Vec<ArmedProcess>,
    /// How full the kernel maps are.
    maps: Vec<MapUse>,
    /// What was lost since the set was made.
    gaps: Vec<Gap>,
    /// With `--measure`: how long the programs ran.
    programs: Vec<ProgramUse>,
}

#[derive(Serialize, JsonSchema)]
struct ArmedExecutable {
    path: String,
    /// Major and minor number of its device.
    device: (u32, u32),
    inode: u64,
    /// When its probes were attached.
    armed_at: Timestamp,
    /// Microseconds since then.
    armed_us: u64,
    /// Whether the file is still the one at its path, unmodified.
    current: bool,
}

#[derive(Serialize, JsonSchema)]
struct ArmedProcess {
    process: Process,
    /// Rows in the kernel maps.
    requests: u64,
    /// The same of channels.
    channels: u64,
    /// The same of connections.
    connections: u64,
}

#[derive(Serialize, JsonSchema)]
struct MapUse {
    map: &'static str,
    rows: u64,
    capacity: u64,
}

#[derive(Serialize, JsonSchema)]
struct ProgramUse {
    program: String,
    runs: u64,
    /// Nanoseconds that it ran, altogether.
    run_time_ns: u64,
}

/// Prints what is armed.
///
/// # Errors
///
/// The output cannot be written.
pub(super) fn run(args: &ArmedArgs, out: &mut impl Write) -> Result<Exit> {
    let report = match ArmedSet::open().and_then(|set| read(set.as_ref(), args)) {
        Ok(report) => report,
        Err(error) => return Ok(report_armed(error)),
    };
    if args.json.json {
        match args.json.is_pretty() {
            true => serde_json::to_writer_pretty(&mut *out, &report)?,
            false => serde_json::to_writer(&mut *out, &report)?,
        }
        writeln!(out)?;
    } else {
        write(&report, out)?;
    }
    Ok(Exit::Success)
}

fn read(set: Option<&ArmedSet>, args: &ArmedArgs) -> Result<ArmedReport, ArmedError> {
    let mut report = ArmedReport {
        schema_version: SCHEMA_VERSION,
        taken_at: Timestamp::now(),
        set_age_us: None,
        executables: Vec::new(),
        processes: Vec::new(),
        maps: Vec::new(),
        gaps: Vec::new(),
        programs: Vec::new(),
    };
    let Some(set) = set else {
        return Ok(report);
    };
    let boot_ns = Clock::own().unwrap_or_default().initial_boot_now_ns();
    let age_us = |since_ns: u64| boot_ns.saturating_sub(since_ns) / 1_000;
    report.set_age_us = Some(age_us(set.made_boot_ns()));
    for executable in set.executables() {
        let armed_us = age_us(executable.armed_boot_ns);
        report.executables.push(ArmedExecutable {
            path: shown(&executable.path),
            device: executable.file.device,
            inode: executable.file.inode,
            armed_at: report.taken_at - SignedDuration::from_micros(armed_us as i64),
            armed_us,
            current: is_current(executable),
        });
    }
    let maps = set.snapshot()?;
    let mut pids: Vec<u32> = set.processes()?.into_keys().collect();
    pids.sort_unstable();
    let targets = pids.len();
    report.processes = pids
        .into_iter()
        .filter_map(|pid| process(pid, &maps))
        .collect();
    report.maps = [
        ("REQUESTS", maps.requests.len()),
        ("CHANNELS", maps.channels.len()),
        ("CONNECTIONS", maps.connections.len()),
        ("TARGETS", targets),
    ]
    .into_iter()
    .map(|(map, rows)| MapUse {
        map,
        rows: rows as u64,
        capacity: set.room(map).unwrap_or_default().into(),
    })
    .collect();
    report.gaps = loss_gaps(maps.losses.iter(), false).collect();
    if let Some(duration) = args.measure {
        let programs = set.measure(duration)?.into_iter();
        report.programs = programs
            .map(|time| ProgramUse {
                program: time.program,
                runs: time.runs,
                run_time_ns: time.run_time.as_nanos() as u64,
            })
            .collect();
    }
    Ok(report)
}

fn is_current(executable: &Executable) -> bool {
    Version::at(&executable.path).is_ok_and(|version| version == executable.version())
}

/// One that ended meanwhile is none.
fn process(pid: u32, maps: &Maps) -> Option<ArmedProcess> {
    let process = proc::Process::open(pid).ok()?;
    let rows = maps.rows_of(pid);
    Some(ArmedProcess {
        process: Process::new(pid, process.name()),
        requests: rows.requests.len() as u64,
        channels: rows.channels.len() as u64,
        connections: rows.connections.len() as u64,
    })
}

fn write(report: &ArmedReport, out: &mut impl Write) -> std::io::Result<()> {
    if report.set_age_us.is_none() {
        return writeln!(out, "nothing is armed");
    }
    let mut table = TabWriter::new(&mut *out).padding(2);
    writeln!(table, "ARMED FOR\tEXECUTABLE")?;
    for executable in &report.executables {
        write!(table, "{}\t{}", Age(executable.armed_us), executable.path)?;
        writeln!(
            table,
            "{}",
            if executable.current {
                ""
            } else {
                " (replaced)"
            }
        )?;
    }
    table.flush()?;
    if !report.processes.is_empty() {
        writeln!(out)?;
        // Numbers are read from the right, names from the left: they come last.
        let mut table = TabWriter::new(&mut *out)
            .padding(2)
            .alignment(Alignment::Right);
        writeln!(table, "REQUESTS\tCHANNELS\tCONNECTIONS\t  PROCESS")?;
        for row in &report.processes {
            let ArmedProcess {
                process,
                requests,
                channels,
                connections,
            } = row;
            writeln!(table, "{requests}\t{channels}\t{connections}\t  {process}")?;
        }
        table.flush()?;
    }
    writeln!(out)?;
    let maps: Vec<_> = report.maps.iter().map(map_use).collect();
    writeln!(out, "in use: {}", maps.join(", "))?;
    for gap in &report.gaps {
        writeln!(out, "incomplete: {gap}")?;
    }
    if !report.programs.is_empty() {
        writeln!(out)?;
        let mut table = TabWriter::new(&mut *out)
            .padding(2)
            .alignment(Alignment::Right);
        writeln!(table, "RUNS\tTIME\tEACH\t  PROGRAM")?;
        for program in &report.programs {
            let each_ns = program.run_time_ns.checked_div(program.runs);
            let each = each_ns.map_or_else(|| "-".to_owned(), |each| format!("{each} ns"));
            writeln!(
                table,
                "{}\t{}\t{each}\t  {}",
                program.runs,
                Took(program.run_time_ns / 1_000),
                program.program
            )?;
        }
        table.flush()?;
    }
    Ok(())
}

fn map_use(map: &MapUse) -> String {
    let what = match map.map {
        "TARGETS" => "processes".to_owned(),
        name => name.to_lowercase(),
    };
    let (rows, of) = (Counted(map.rows, ""), Counted(map.capacity, &what));
    format!("{rows}of {of}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(report: &ArmedReport) -> String {
        let mut out = Vec::new();
        write(report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn reports() {
        let executable = |path: &str, armed_us, current| ArmedExecutable {
            path: path.to_owned(),
            device: (8, 1),
            inode: 42,
            armed_at: Timestamp::UNIX_EPOCH,
            armed_us,
            current,
        };
        let map = |map, rows, capacity| MapUse {
            map,
            rows,
            capacity,
        };
        let mut report = ArmedReport {
            schema_version: SCHEMA_VERSION,
            taken_at: Timestamp::UNIX_EPOCH,
            set_age_us: Some(7_000_000_000),
            executables: vec![
                executable("/usr/bin/demo-host", 7_000_000_000, false),
                executable("/usr/bin/demo-host", 61_000_000, true),
            ],
            processes: vec![ArmedProcess {
                process: Process::new(4242, "demo-host"),
                requests: 90_000,
                channels: 3,
                connections: 2,
            }],
            maps: vec![
                map("REQUESTS", 90_000, 131_072),
                map("CHANNELS", 3, 65_536),
                map("CONNECTIONS", 2, 16_384),
                map("TARGETS", 1, 4_096),
            ],
            gaps: vec![Gap::Other {
                text: "3 requests lost (kernel map full)".to_owned(),
            }],
            programs: vec![
                ProgramUse {
                    program: "request_start".to_owned(),
                    runs: 28_088,
                    run_time_ns: 16_291_040,
                },
                ProgramUse {
                    program: "channel_open".to_owned(),
                    runs: 0,
                    run_time_ns: 0,
                },
            ],
        };
        insta::assert_snapshot!(text(&report));
        report.set_age_us = None;
        assert_eq!(text(&report), "nothing is armed\n");
    }
}
