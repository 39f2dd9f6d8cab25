//! Regions that no registry wrote: reading them fails or leaves rows out, and never panics.

use proptest::prelude::*;
use registry_image::{damage, row};
use roam_dump::decode::{from_registry, printable};
use roam_dump::model::{Gap, Process, Snapshot};
use roam_dump::read::{Budget, MethodTotals, ReadError, read, read_within};
use roam_trace_common::registry::{
    ABI_VERSION, HEADER_BYTES, HeaderRecord, MAGIC, RequestRecord, StatisticsRecord, Table,
};

/// A header over tables of a few slots each.
fn header() -> HeaderRecord {
    registry_image::header([4; 7])
}

fn region(header: HeaderRecord, fill: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..HEADER_BYTES * 7).map(fill).collect();
    registry_image::put_header(&mut bytes, &header);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Snapshot, ReadError> {
    let mut image = read(bytes)?;
    let process = Process::new(1, "hostile");
    Ok(from_registry(process, &mut image, 1 << 40))
}

fn check(change: impl Fn(&mut HeaderRecord), expected: &str) {
    let mut header = header();
    change(&mut header);
    let error = decode(&region(header, |_| 0)).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn an_empty_registry_is_an_empty_snapshot() {
    let snapshot = decode(&region(header(), |_| 0)).unwrap();
    assert!(snapshot.requests.is_empty() && snapshot.gaps.is_empty());
}

#[test]
fn damaged_headers_are_rejected() {
    check(|header| header.magic = 1, "does not start with");
    check(|header| header.abi_version = 9, "ABI version 9");
    check(|header| header.tables[1].slot_bytes = 64, "unexpected size");
    check(|header| header.tables[1].capacity = u32::MAX, "more slots");
    check(|header| header.tables[1].high_water = 5, "more slots");
    check(|header| header.tables[1].offset = u64::MAX - 7, "outside");
    check(|header| header.tables[1].offset = 4_097, "outside");
    check(|header| header.tables[1].offset = 0, "outside");
    check(|header| header.tables[5].capacity = 1_000, "outside");
    assert!(matches!(decode(b"short"), Err(ReadError::NotARegistry)));
    assert!(matches!(decode(b""), Err(ReadError::NotARegistry)));
}

#[test]
fn every_field_of_the_header_at_every_extreme() {
    for field in (0..size_of::<HeaderRecord>()).step_by(4) {
        for value in damage::EXTREMES {
            let mut bytes = region(header(), |_| 0x42);
            damage::set(&mut bytes, field, value);
            // Rejected or read: either way it ends, with no more rows than there are.
            if let Ok(snapshot) = decode(&bytes) {
                assert!(snapshot.requests.len() <= bytes.len() / 128);
            }
        }
    }
}

#[test]
fn what_a_dump_has_no_room_for_is_counted() {
    let mut bytes = region(header(), |_| 0);
    for slot in 0..4 {
        let request = RequestRecord {
            // The later slots began earlier.
            started_ns: 9 - slot,
            ..row::request(slot)
        };
        registry_image::put(&mut bytes, &header(), Table::Requests, slot, &request);
    }
    let mut budget = Budget {
        rows: 4,
        ..Budget::default()
    };
    // Half of it: names, of which there are eight, would leave none.
    let image = read_within(&bytes[..], &mut budget).unwrap();
    let serials: Vec<_> = image.requests.iter().map(|row| row.serial).collect();
    assert_eq!(serials, [row::serial(3), row::serial(2)]);
    assert_eq!((image.truncated.requests, budget.rows), (2, 0));
}

fn statistics(slots: u32, row: impl Fn(u64) -> StatisticsRecord) -> Vec<u8> {
    let header = registry_image::header([0, 0, 0, 0, 0, 0, slots]);
    let mut bytes = vec![0; registry_image::bytes(&header) as usize];
    registry_image::put_header(&mut bytes, &header);
    for slot in 0..slots.into() {
        registry_image::put(&mut bytes, &header, Table::Statistics, slot, &row(slot));
    }
    bytes
}

#[test]
fn more_methods_than_are_added_up() {
    let bytes = statistics(34, |slot| row::statistics(slot % 29));
    let mut budget = Budget {
        methods: 24,
        ..Budget::default()
    };
    let image = read_within(&bytes[..], &mut budget).unwrap();
    assert_eq!((image.statistics.len(), budget.methods), (24, 0));
    assert_eq!(image.truncated.statistics, 5);
    let ended: u64 = image.statistics.iter().map(MethodTotals::ended).sum();
    assert_eq!(ended, 3 * (34 - 5));
}

#[test]
fn more_rows_of_statistics_than_are_read() {
    let bytes = statistics(100, |_| row::statistics(1));
    let mut budget = Budget {
        statistics: 70,
        ..Budget::default()
    };
    let image = read_within(&bytes[..], &mut budget).unwrap();
    assert_eq!(image.statistics[0].ended(), 3 * 70);
    assert_eq!((image.truncated.statistics, budget.statistics), (30, 0));
}

#[test]
fn invalid_rows_are_counted() {
    // Every serial and sequence is the same even number, every code is out of range.
    let snapshot = decode(&region(header(), |_| 0x42)).unwrap();
    assert!(snapshot.requests.is_empty() && snapshot.channels.is_empty());
    assert!(!snapshot.gaps.is_empty());
}

#[test]
fn rows_that_stay_half_written_are_counted_whatever_their_sequence() {
    // The greatest odd number: nothing comes after it.
    let snapshot = decode(&region(header(), |_| 0xff)).unwrap();
    assert!(snapshot.requests.is_empty() && snapshot.channels.is_empty());
    assert!(
        snapshot.gaps.contains(&Gap::Torn { count: 16 }),
        "{:?}",
        snapshot.gaps
    );
}

#[test]
fn nothing_from_a_target_steers_a_terminal() {
    for (bytes, expected) in [
        (&b"plain name"[..], "plain name"),
        (b"\x1b[2J", "\\u{1b}[2J"),
        (b"a\nb\r", "a\\nb\\r"),
        (b"\xc2\x9b31m", "\\u{9b}31m"),
        ("\u{202e}gpj".as_bytes(), "\\u{202e}gpj"),
        (b"\xff\"q\"", "\u{fffd}\"q\""),
    ] {
        assert_eq!(printable(bytes), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_rows_never_panic(seed in proptest::collection::vec(any::<u8>(), 64..512)) {
        let _ = decode(&region(header(), |index| seed[index * 31 % seed.len()]));
    }

    #[test]
    fn random_headers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..8_192)) {
        let _ = decode(&bytes);
        let mut with_magic = bytes;
        if with_magic.len() >= 12 {
            with_magic[..8].copy_from_slice(&MAGIC.to_le_bytes());
            with_magic[8..12].copy_from_slice(&ABI_VERSION.to_le_bytes());
        }
        let _ = decode(&with_magic);
    }
}
