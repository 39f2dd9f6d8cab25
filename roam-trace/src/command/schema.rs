//! `roam-trace schema`: the JSON Schema of what `--json` prints.

use std::io::Write;

use anyhow::Result;
use roam_dump::model::Dump;
use schemars::generate::SchemaSettings;

use super::armed::ArmedReport;
use super::histogram::HistogramReport;
use super::shm::ShmReport;
use super::stats::Stats;
use crate::cli::{SchemaArgs, Subject};
use crate::error::Exit;
use crate::live::Line;

/// Prints the schema.
///
/// # Errors
///
/// The output cannot be written.
pub(super) fn run(args: &SchemaArgs, out: &mut impl Write) -> Result<Exit> {
    let generator = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator();
    let schema = match args.subject {
        Subject::Dump => generator.into_root_schema_for::<Dump>(),
        Subject::Armed => generator.into_root_schema_for::<ArmedReport>(),
        Subject::Events => generator.into_root_schema_for::<Line>(),
        Subject::Histogram => generator.into_root_schema_for::<HistogramReport>(),
        Subject::Shm => generator.into_root_schema_for::<ShmReport>(),
        Subject::Stats => generator.into_root_schema_for::<Stats>(),
    };
    serde_json::to_writer_pretty(&mut *out, &schema)?;
    writeln!(out)?;
    Ok(Exit::Success)
}
