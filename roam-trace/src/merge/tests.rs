//! A registry with requests, held against kernel maps that are read before it and once more afterwards.

use std::time::Duration;

use roam_dump::decode::{KernelRows, from_kernel};
use roam_dump::model::{Gap, Process, Snapshot, Source};
use roam_dump::read::Budget;
use roam_trace_common::event::{
    Direction, Phase, RecordKey, RequestKind, RequestValue, TargetEnd, TrafficValue,
};

use super::{Comparison, Coverage, Registries};
use crate::kernel::{Exited, Losses, Maps};

const PID: u32 = 7;
/// When the registry is read.
const NOW_NS: u64 = 100_000_000_000;
/// When a request began that both should have.
const OLD_NS: u64 = 10_000_000_000;

#[derive(Clone, Copy)]
struct Row {
    serial: u64,
    phase: Phase,
    started_ns: u64,
    is_seen: bool,
}

const SEEN: Row = Row {
    serial: 1,
    phase: Phase::Sent,
    started_ns: OLD_NS,
    is_seen: true,
};

const UNSEEN: Row = Row {
    serial: 2,
    is_seen: false,
    ..SEEN
};

fn maps(rows: &[Row]) -> Maps {
    let value = |row: &Row| {
        let key = RecordKey {
            serial: row.serial,
            tgid: PID,
            reserved: 0,
        };
        let value = RequestValue {
            request_id: row.serial,
            started_ns: row.started_ns,
            direction: Direction::Outgoing.code(),
            kind: RequestKind::Call.code(),
            phase: row.phase.code(),
            seen: row.is_seen.into(),
            ..RequestValue::default()
        };
        (key, value)
    };
    Maps {
        requests: rows.iter().map(value).collect(),
        ..Maps::default()
    }
}

/// As a registry gives it.
fn snapshot(rows: &[Row]) -> Snapshot {
    let process = Process::new(PID, "demo");
    let maps = maps(rows);
    let rows = KernelRows {
        requests: maps.requests.iter().collect(),
        ..KernelRows::default()
    };
    let mut snapshot = from_kernel(process, rows, &[], NOW_NS, &Budget::default());
    for row in &mut snapshot.requests {
        row.source = Source::Registry;
    }
    snapshot
}

/// The kernel maps were read 5 ms before the registry.
fn compare(registry: &[Row], before: &[Row], is_whole: bool, room: usize) -> Comparison {
    let registries = Registries {
        images: Vec::new(),
        read_ns: NOW_NS,
        is_whole,
        room: Budget {
            rows: room,
            ..Budget::default()
        },
    };
    let coverage = Coverage {
        age: Some(Duration::from_millis(5)),
        since_start: false,
        losses: &Losses::default(),
    };
    let before = maps(before);
    Comparison::new(
        snapshot(registry),
        registries,
        before.rows_of(PID),
        &coverage,
    )
}

fn check_finished(
    mut comparison: Comparison,
    after: &[Row],
    sources: &[(u64, Source)],
    gaps: &[&str],
) {
    let after = maps(after);
    comparison.settle(&after);
    let snapshot = comparison.finish(&after);
    let rows = snapshot.requests.iter();
    let mut found: Vec<_> = rows.map(|row| (row.serial, row.source)).collect();
    found.sort_by_key(|&(serial, _)| serial);
    assert_eq!(found, sources);
    let texts: Vec<_> = snapshot.gaps.iter().map(Gap::to_string).collect();
    assert_eq!(texts, gaps);
    assert_eq!(snapshot.source, Source::Both);
}

/// Compares the registry with the kernel maps `[before, after]`.
fn check(registry: &[Row], maps: [&[Row]; 2], sources: &[(u64, Source)], gaps: &[&str]) {
    let comparison = compare(registry, maps[0], true, 10);
    check_finished(comparison, maps[1], sources, gaps);
}

#[test]
fn a_row_is_of_both_once_a_probe_saw_it() {
    use Source::{Both, Registry};
    check(&[SEEN], [&[SEEN]; 2], &[(1, Both)], &[]);
    check(&[UNSEEN], [&[UNSEEN]; 2], &[(2, Registry)], &[]);
}

#[test]
fn rows_that_only_the_probes_saw() {
    let gap = "1 request missing in the registry (seen by a probe)";
    check(&[], [&[SEEN], &[SEEN]], &[(1, Source::Probes)], &[gap]);
    // Ended between the readings.
    check(&[], [&[SEEN], &[]], &[], &[]);
    let unseen_end = "1 request left out (no probe saw the end)";
    check(&[], [&[UNSEEN], &[UNSEEN]], &[], &[unseen_end]);
}

#[test]
fn rows_that_only_the_registry_has() {
    use Source::{Both, Registry};
    let gap = "1 request missing in the kernel map (held by the registry)";
    check(&[SEEN], [&[], &[]], &[(1, Registry)], &[gap]);
    check(&[SEEN], [&[], &[SEEN]], &[(1, Both)], &[]);
    check(&[UNSEEN], [&[], &[UNSEEN]], &[(2, Registry)], &[]);
    let young = Row {
        started_ns: NOW_NS - 500_000_000,
        ..SEEN
    };
    check(&[young], [&[], &[]], &[(1, Registry)], &[]);
}

/// The seeded row of a request that could not be read again.
#[test]
fn rows_that_stay_half_written() {
    let comparison = compare(&[], &[UNSEEN], false, 10);
    check_finished(comparison, &[UNSEEN], &[(2, Source::Registry)], &[]);
}

#[test]
fn rows_that_there_is_no_room_for() {
    let gaps = [
        "1 request missing in the registry (seen by a probe)",
        "1 younger request left out (limit reached; see --max-rows)",
    ];
    check_finished(compare(&[], &[SEEN], true, 0), &[SEEN], &[], &gaps);
}

/// Compares the phase in the registry with those in the kernel map before and after.
fn check_phases(registry: Phase, before: Phase, after: Option<Phase>, agree: bool) {
    let row = |phase| Row { phase, ..SEEN };
    let after: Vec<_> = after.into_iter().map(row).collect();
    let gaps: &[_] = match agree {
        true => &[],
        false => &["1 request with different phases in the registry and in the kernel map"],
    };
    let sources = [(1, Source::Both)];
    check(&[row(registry)], [&[row(before)], &after], &sources, gaps);
}

#[test]
fn phases() {
    use Phase::{HandedOver, Queued, Responded, Sent};
    check_phases(Sent, Sent, Some(Sent), true);
    // It went on between the readings, and further until the second look.
    check_phases(Sent, Queued, Some(Sent), true);
    check_phases(Sent, Queued, Some(Responded), true);
    check_phases(Sent, Queued, None, true);
    check_phases(Sent, Queued, Some(HandedOver), false);
    check_phases(Queued, Sent, Some(Sent), false);
}

#[test]
fn a_process_that_executed_another_program_has_no_differences() {
    let mut comparison = compare(&[UNSEEN], &[SEEN], true, 10);
    assert!(!comparison.is_settled());
    let maps = Maps {
        exited: vec![Exited {
            tgid: PID,
            end: TargetEnd::Exec,
            ended_ns: NOW_NS,
            traffic: TrafficValue::default(),
        }],
        ..Maps::default()
    };
    comparison.settle(&maps);
    assert!(comparison.is_settled());
    assert_eq!(comparison.finish(&maps).gaps, []);
}
