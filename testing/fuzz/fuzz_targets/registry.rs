//! From the bytes of a registry to a printed dump: with any bytes it ends and prints no terminal escapes.
#![no_main]

use std::io;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use roam_dump::analysis::{Facts, Thresholds};
use roam_dump::decode::from_registry;
use roam_dump::explain;
use roam_dump::model::{Dump, Process, SCHEMA_VERSION};
use roam_dump::read::{Budget, read, read_connections};
use roam_dump::render::{json, text};
use roam_trace_common::registry::Table;
use roam_trace_fuzz::region::Shifting;

const NOW_NS: u64 = 1 << 40;

fuzz_target!(|input: &[u8]| {
    let _ = read_connections(&Shifting::new(input), &mut Budget::default());
    let Ok(mut image) = read(&Shifting::new(input)) else {
        return;
    };
    // Rows do not overlap, but connections are read twice.
    let room = |table: Table| input.len() / table.slot_bytes();
    assert!(image.requests.len() <= room(Table::Requests));
    assert!(image.channels.len() <= room(Table::Channels));
    assert!(image.connections.len() <= 2 * room(Table::Connections));

    let process = Process::new(1, "hostile");
    let mut processes = vec![from_registry(process, &mut image, NOW_NS)];
    let explained = explain(&mut processes, &Facts::default(), &Thresholds::default());
    let dump = Dump {
        schema_version: SCHEMA_VERSION,
        taken_at: Timestamp::UNIX_EPOCH,
        verdicts: explained.verdicts,
        processes,
        hubs: Vec::new(),
        graph: Some(explained.graph),
    };
    let options = text::Options {
        time_zone: TimeZone::UTC,
        ..text::Options::plain()
    };
    let mut printed = Vec::new();
    text::render(&mut printed, &dump, &options).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    assert!(!printed.contains(steers), "{printed:?}");

    json::render(&mut io::sink(), &dump, false).unwrap();
});

/// Whether a terminal interprets the character.
fn steers(character: char) -> bool {
    let is_bidi = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character != '\n' && (character.is_control() || is_bidi)
}
