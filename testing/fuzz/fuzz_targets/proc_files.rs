//! Files in `/proc` of a process that chose its name, its mappings and its links.
#![no_main]

use libfuzzer_sys::fuzz_target;
use procfs::FromRead;
use procfs::process::Stat;
use roam_trace::process::clock::Offsets;
use roam_trace::process::descriptors::socket_inode;
use roam_trace::process::mapping::Mapping;
use roam_trace::process::proc::status_number;

/// Bytes of a process's name, as `prctl(PR_SET_NAME)` takes it.
const NAME_BYTES: usize = 15;

fuzz_target!(|file: &[u8]| {
    for line in file.split(|&byte| byte == b'\n') {
        if let Some(mapping) = Mapping::parse(line) {
            assert!(line.ends_with(mapping.path));
        }
        let _ = socket_inode(line);
    }
    for field in ["Tgid", "NSpid", "Seccomp"] {
        let _ = status_number(file, field);
    }
    let _ = Offsets::parse(file);
    check_name(file);
});

/// The name stands in the middle of `stat`, and must not be taken for what comes behind it.
fn check_name(name: &[u8]) {
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    let name = &name[..name.len().min(NAME_BYTES)];
    let mut stat = b"17 (".to_vec();
    stat.extend(name);
    stat.extend(
        b") S 4 17 17 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 3 0 4242 9 9 99 1 1 1 0 0 0 0 0 0 ",
    );
    stat.extend(b"0 0 0 17 1 0 0 0 0 0 1 1 1 1 1 1 1 0\n");
    let stat = Stat::from_read(&stat[..]).unwrap();
    assert_eq!(
        (stat.pid, stat.state, stat.ppid, stat.starttime),
        (17, 'S', 4, 4242)
    );
}
