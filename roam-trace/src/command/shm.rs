//! `roam-trace shm`: the shared-memory hubs of processes, or the one in a file.

use std::collections::HashSet;
use std::io::Write;
use std::thread::sleep;

use anyhow::{Context, Result, bail};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use roam_dump::model::{Hub, HubContent, SCHEMA_VERSION, Snapshot};
use roam_dump::read::Budget;
use roam_dump::render::{hub, text};
use roam_dump::shm::{HubDetail, join};
use schemars::JsonSchema;
use serde::Serialize;

use super::by_registry::by_registry;
use super::errors::Errors;
use super::report::report;
use super::select::find_named;
use crate::cli::ShmArgs;
use crate::error::Exit;
use crate::pager::text_width;
use crate::privilege;
use crate::process::hub_file::open_path;
use crate::process::hubs::Hubs;
use crate::process::{Share, Target, retire_worker};

/// What `roam-trace shm --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShmReport {
    /// Version of the JSON of a dump, which has hubs of the same form.
    schema_version: u32,
    /// When the hubs were read.
    taken_at: Timestamp,
    /// The hubs.
    hubs: Vec<Hub>,
}

/// Prints the hubs.
///
/// # Errors
///
/// The file cannot be opened, or the output cannot be written.
pub(super) fn run(args: &ShmArgs, color: bool, out: &mut impl Write) -> Result<Exit> {
    let mut errors = Errors::default();
    let targets = find_named(&args.pids, &mut errors);
    let hubs = match &args.file {
        Some(path) => {
            let opened = open_path(path);
            Hubs::of_file(opened.with_context(|| format!("cannot read {}", path.display()))?)
        }
        None => Hubs::find(&targets.iter().collect::<Vec<_>>()),
    };
    if hubs.is_empty() {
        if !targets.is_empty() {
            report(&"no shared-memory hub of roam-shm is mapped");
        }
        return Ok(Exit::Failure.max(errors.exit()));
    }
    let detail = HubDetail {
        slots: args.slots,
        history: args.history,
    };
    let mut before = HashSet::new();
    let exit = loop {
        let taken_at = Timestamp::now();
        let mut found = hubs.read_and_explain(detail);
        join(&mut found, &snapshots(&targets));
        if let (Some(path), [hub]) = (&args.file, &found[..])
            && let HubContent::Error(error) = &hub.content
        {
            bail!("cannot read {}: {error}", path.display());
        }
        let is_unreadable = |hub: &Hub| matches!(hub.content, HubContent::Error(_));
        let exit = match found.iter().all(is_unreadable) {
            true => Exit::Failure,
            false => errors.exit(),
        };
        let Some(interval) = args.watch else {
            privilege::drop_all()?;
            retire_worker();
            print(found, taken_at, args, color, out)?;
            break exit;
        };
        if before.is_empty() {
            // Whatever takes more is open by now.
            privilege::drop_attach_privileges()?;
            retire_worker();
        }
        let lines = rendered(&found, args, false)?;
        writeln!(
            out,
            "{}",
            Zoned::new(taken_at, TimeZone::system()).strftime("%H:%M:%S")
        )?;
        for line in lines.lines() {
            // What is new stands out, but for the first time.
            let is_new = !before.is_empty() && !before.contains(line);
            let mark = if is_new { '*' } else { ' ' };
            writeln!(out, "{mark}{}", line.strip_prefix(' ').unwrap_or(line))?;
        }
        out.flush()?;
        before = lines.lines().map(str::to_owned).collect();
        sleep(interval);
    };
    Ok(exit)
}

/// What the registries of the processes have in flight, as far as they have any: hubs do not need it.
fn snapshots(targets: &[Target]) -> Vec<Snapshot> {
    let shares = Share::divide(Budget::default(), targets);
    let readings = shares.iter().filter_map(|share| {
        let has_registry = share.target.has_registry().unwrap_or_default();
        has_registry
            .then(|| share.target.read(share.budget).ok())?
            .map(|reading| (share.target, reading))
    });
    readings
        .filter_map(|(target, reading)| by_registry(target, reading).ok())
        .collect()
}

fn print(
    hubs: Vec<Hub>,
    taken_at: Timestamp,
    args: &ShmArgs,
    color: bool,
    out: &mut impl Write,
) -> Result<()> {
    if !args.json.json {
        out.write_all(rendered(&hubs, args, color)?.as_bytes())?;
        return Ok(());
    }
    let report = ShmReport {
        schema_version: SCHEMA_VERSION,
        taken_at,
        hubs,
    };
    match args.json.is_pretty() {
        true => serde_json::to_writer_pretty(&mut *out, &report)?,
        false => serde_json::to_writer(&mut *out, &report)?,
    }
    writeln!(out)?;
    Ok(())
}

fn rendered(hubs: &[Hub], args: &ShmArgs, color: bool) -> Result<String> {
    let options = text::Options {
        color,
        time_zone: TimeZone::system(),
        width: text_width(),
        is_full: args.full,
    };
    let mut text = Vec::new();
    for hub in hubs {
        hub::render(&mut text, &options, hub)?;
    }
    Ok(String::from_utf8(text)?)
}
