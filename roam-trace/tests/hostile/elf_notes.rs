//! Programs whose notes of probes are not true.

use std::process::Command;

use object::{Object, ObjectSection};

use crate::fixture::Fixture;
use crate::measured;

/// Bytes of a note in front of its three addresses: its header and its name.
const ADDRESS: usize = 12 + 8;

/// Where in a program its notes of probes are.
fn notes(program: &[u8]) -> std::ops::Range<usize> {
    let elf = object::File::parse(program).unwrap();
    let section = elf.section_by_name(".note.stapsdt").unwrap();
    let (offset, bytes) = section.file_range().unwrap();
    offset as usize..(offset + bytes) as usize
}

/// This program with its notes changed, hung. It is watched: the registry is dumped, nothing is attached,
/// and why is said.
fn check(change: impl FnOnce(&mut [u8]), expected: &str) {
    let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let range = notes(&program);
    change(&mut program[range]);
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("changed");
    std::fs::write(&path, program).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let target = Fixture::start_by(Command::new(&path), "hang");

    let run = measured::check(&["-p", &target.pid(), "-d", "50ms"]);
    assert_eq!(run.status, 4);
    assert!(run.stderr.contains(expected), "{}", run.stderr);
    assert!(run.stdout.contains("req_id=93"), "{}", run.stdout);
    let probes = ["-p", &target.pid(), "--source", "probes", "-d", "50ms"];
    let run = measured::check(&probes);
    assert_eq!((run.status, &*run.stdout), (4, ""));
    assert!(run.stderr.contains(expected), "{}", run.stderr);
}

fn address(notes: &mut [u8], address: u64) {
    notes[ADDRESS..ADDRESS + 8].copy_from_slice(&address.to_le_bytes());
}

#[test]
fn a_site_where_other_code_is() {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let entry = object::File::parse(&*program).unwrap().entry();
    let into_code = |notes: &mut [u8]| address(notes, entry);
    check(into_code, "is not a probe site: found");
}

#[test]
fn a_site_outside_of_the_code() {
    check(
        |notes| address(notes, u64::MAX - 1),
        "is outside the code of the file",
    );
}

#[test]
fn a_note_longer_than_its_section() {
    // The length of the description.
    check(
        |notes| notes[4..8].copy_from_slice(&u32::MAX.to_le_bytes()),
        "probe note 0 is invalid: longer than its section",
    );
}

#[test]
fn a_note_shorter_than_its_addresses() {
    check(
        |notes| notes[4..8].copy_from_slice(&4_u32.to_le_bytes()),
        "shorter than its addresses",
    );
}

#[test]
fn a_note_with_terminal_escapes() {
    let escape = |notes: &mut [u8]| {
        let provider = ADDRESS + 24;
        notes[provider] = 0x1b;
    };
    check(escape, "a string is not printable");
}
