//! The acts of a load: what it does to itself on command.
#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::Ordering;

use roam_diagnostic::probe;
use roam_diagnostic::registry::Connection;
use roam_trace_common::registry::{HEADER_BYTES, HeaderRecord, REGION_NAME};
use zerocopy::IntoBytes;

use crate::log::{Log, STORM, mix};
use crate::work;

/// Threads that a storm has in all, at once, and requests of each.
const STORM_THREADS: usize = 2_000;
const STORM_AT_ONCE: usize = 20;
const STORM_REQUESTS: usize = 5;

/// Connections that come and go.
pub const CONNECTIONS: u64 = 10_000;

/// Requests of a flood.
pub const FLOOD: u64 = 150_000;

/// Performs an act. Returns the child if the act forked one; some acts end the program instead.
pub(crate) fn act(
    what: &str,
    log: &Log,
    connection: Connection,
    log_path: &str,
) -> Option<libc::pid_t> {
    match what {
        "connections" => connections(log),
        "exec" => exec(log_path),
        "flood" => flood(log, connection),
        "fork" => return Some(fork(log, connection)),
        "leave" => leave(),
        "segv" => segv(),
        "storm" => storm(log, connection),
        _ => panic!("unknown act {what}"),
    }
    None
}

/// Executes itself again, with a log of its own.
fn exec(log_path: &str) {
    let error = Command::new("/proc/self/exe")
        .arg(format!("{log_path}.exec"))
        .exec();
    panic!("{error}");
}

/// Executes itself again, to do so that many times.
pub(crate) fn exec_again(log: &Log, log_path: &str, execs: u32) {
    log.threads.store(0, Ordering::Release);
    let error = Command::new("/proc/self/exe")
        .arg(log_path)
        .arg(format!("execs={execs}"))
        .exec();
    panic!("{error}");
}

/// Executes a program without roam.
fn leave() {
    let error = Command::new("sleep").arg("1000").exec();
    panic!("{error}");
}

/// A child without exec that passes every probe site until the program is to end. Returns its pid.
fn fork(log: &Log, connection: Connection) -> libc::pid_t {
    // SAFETY: the child takes no lock that another thread may hold: it calls probes, and a registry that does
    // nothing in a child.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let mut is_right = true;
        while is_right && log.quit.load(Ordering::Acquire) == 0 {
            is_right = pass_all_sites(connection);
            log.child_rounds.fetch_add(1, Ordering::AcqRel);
        }
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if is_right { 0 } else { 1 }) };
    }
    child
}

/// Waits for a child's end.
///
/// # Panics
///
/// If the child did not exit with 0.
pub(crate) fn collect(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0), "the child ended badly");
}

/// Passes every probe site, and makes a request as a session would. Returns whether a value computed meanwhile
/// is right.
fn pass_all_sites(connection: Connection) -> bool {
    let serial = u64::MAX;
    let mut passed = serial;
    probe::connection_open(serial, serial, passed, 1);
    passed = mix(passed);
    probe::request_start(serial, connection.serial().0, passed, passed, 1, 1, serial);
    probe::request_phase(serial, 3, 0, 0);
    passed = mix(passed);
    probe::channel_open(serial, serial, passed, serial, 1, 1);
    probe::channel_data(serial, 1, passed, 1);
    probe::channel_close(serial);
    passed = mix(passed);
    probe::request_end(serial, 1, 0);
    probe::connection_close(serial);
    !work::start(connection, passed).is_live() && passed == mix(mix(mix(serial)))
}

/// Ends the program as a bad pointer does.
fn segv() {
    // SAFETY: none; that it ends the program is the purpose.
    unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
}

/// Threads that come and go, each with a few requests.
fn storm(log: &Log, connection: Connection) {
    for _ in 0..STORM_THREADS / STORM_AT_ONCE {
        std::thread::scope(|scope| {
            for _ in 0..STORM_AT_ONCE {
                scope.spawn(|| {
                    for _ in 0..STORM_REQUESTS {
                        work::request(&log.by_thread[STORM], connection, STORM);
                    }
                });
            }
        });
    }
}

/// Connections with a request each.
fn connections(log: &Log) {
    for _ in 0..CONNECTIONS {
        let connection = work::open();
        work::request(&log.by_thread[STORM], connection, STORM);
        connection.close();
        connection.release();
    }
}

/// More requests in flight at once than a tracer makes room for.
fn flood(log: &Log, connection: Connection) {
    let own = &log.by_thread[STORM];
    let begun: Vec<_> = (0..FLOOD)
        .map(|_| work::begin(own, connection, STORM))
        .collect();
    for begun in &begun {
        work::finish(own, begun);
    }
}

/// Goes on in a grandchild that has a session of its own.
pub(crate) fn become_daemon() {
    for _ in 0..2 {
        // SAFETY: there is no other thread yet.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child > 0 {
            // SAFETY: ends this process at once; the child goes on.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: needs no memory. The grandchild's, which leads no group, makes no difference.
        unsafe { libc::setsid() };
    }
}

/// Closes every descriptor, those of the registry and of the standard streams among them.
pub(crate) fn close_descriptors() {
    // SAFETY: nothing in this program uses a descriptor from here on; what is mapped stays.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 0_u32, u32::MAX, 0_u32) };
    assert_eq!(result, 0);
}

/// A registry as a library with another version of `roam-diagnostic` has it.
pub(crate) fn publish_other_version(version: u32) {
    let header = HeaderRecord {
        abi_version: version,
        process_id: std::process::id(),
        process_start_ticks: 0,
        ..registry_image::header([0; 7])
    };
    let name = std::ffi::CString::new(REGION_NAME).expect("a name without zeros");
    // SAFETY: the descriptor is fresh and stays open, the mapping is never accessed but here, and has a page.
    unsafe {
        let file = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
        assert!(file >= 0);
        assert_eq!(libc::ftruncate(file, HEADER_BYTES as libc::off_t), 0);
        let mapped = libc::mmap(
            std::ptr::null_mut(),
            HEADER_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file,
            0,
        );
        assert!(mapped != libc::MAP_FAILED);
        let bytes = header.as_bytes();
        mapped
            .cast::<u8>()
            .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
    }
}
