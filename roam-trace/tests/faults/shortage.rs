//! The tracer has too little of what it needs: memory, descriptors, threads, room in its maps.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use roam_dump::render::Counted;
use roam_load::{CONNECTIONS, FLOOD};
use roam_trace_common::limits;

use crate::target::{Target, WATCH, binary, check_no_zombies, watching};
use crate::tracer::{Tracer, wait_for};

/// A control group for tracers, of either version.
struct Cgroup {
    directory: PathBuf,
    is_first_version: bool,
}

impl Cgroup {
    fn create(controller: &str) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("roam-trace-faults-{}", std::process::id());
        let is_first_version = root.join(controller).join("cgroup.procs").exists();
        let directory = match is_first_version {
            true => root.join(controller).join(name),
            false => {
                let enable = format!("+{controller}");
                fs::write(root.join("cgroup.subtree_control"), enable).expect(controller);
                root.join(name)
            }
        };
        fs::create_dir(&directory).unwrap();
        Self {
            directory,
            is_first_version,
        }
    }

    fn of_memory() -> Self {
        let cgroup = Self::create("memory");
        // A kernel without swap may have neither.
        let _ = match cgroup.is_first_version {
            true => cgroup.write("memory.swappiness", "0"),
            false => cgroup.write("memory.swap.max", "0"),
        };
        cgroup
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.directory.join(file), value)
    }

    fn set_limit(&self, bytes: u64) {
        let limit = match self.is_first_version {
            true => "memory.limit_in_bytes",
            false => "memory.max",
        };
        self.write(limit, &bytes.to_string()).unwrap();
    }

    fn used(&self) -> u64 {
        let used = match self.is_first_version {
            true => "memory.usage_in_bytes",
            false => "memory.current",
        };
        let used = fs::read_to_string(self.directory.join(used)).unwrap();
        used.trim().parse().unwrap()
    }

    /// The tracer, in the cgroup from its first instruction on.
    fn tracer(&self) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#])
            .arg(&self.directory)
            .arg(env!("CARGO_BIN_EXE_roam-trace"));
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes may have ended a moment ago.
        wait_for("the cgroup to be empty", || {
            fs::remove_dir(&self.directory).is_ok()
        });
    }
}

const MIB: u64 = 1 << 20;

/// From far too little to nearly enough: it ends with an error or by the kernel's hand.
#[test]
#[ignore = "needs root and a memory cgroup"]
fn tracer_has_no_memory_to_attach() {
    let target = Target::start(&["threads=4", "hold=10000"]);
    target.log.run();
    let cgroup = Cgroup::of_memory();
    let mut killed = 0;
    for mebibytes in [1, 2, 4, 6, 8, 12, 16, 24] {
        cgroup.set_limit(mebibytes * MIB);
        let tracer = Tracer::start_by(cgroup.tracer(), &[target.pid], &["-d", "20ms"]);
        let seen = tracer.seen();
        assert!(matches!(seen.status, None | Some(0 | 1)), "{seen:#?}");
        assert!(!seen.stderr.contains("panicked"), "{seen:#?}");
        killed += u32::from(seen.status.is_none());
    }
    assert!(killed > 0);
    target.run();
    target.pause();
    target.check_untouched();
    drop((target, cgroup));
    check_no_zombies();
}

/// It has attached, and dies while it reads what it is to print.
#[test]
#[ignore = "needs root and a memory cgroup"]
fn tracer_runs_out_of_memory_while_attached() {
    let target = Target::start(&["threads=4", "hold=100000"]);
    target.log.run();
    let cgroup = Cgroup::of_memory();
    let tracer = watching(Tracer::start_by(cgroup.tracer(), &[target.pid], WATCH));
    cgroup.set_limit(cgroup.used() + MIB);
    let seen = tracer.stop();
    assert_eq!(seen.status, None, "{seen:#?}");
    target.run();
    target.pause();
    target.check_untouched();
    drop((target, cgroup));
    check_no_zombies();
}

/// From far too few to enough: each time it is said what there was no room for.
#[test]
#[ignore = "needs root"]
fn tracer_has_few_descriptors() {
    let target = Target::start(&["threads=4"]);
    target.log.run();
    let mut statuses = Vec::new();
    for descriptors in (5..=45).step_by(2) {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={descriptors}"));
        command.arg(env!("CARGO_BIN_EXE_roam-trace"));
        let seen = Tracer::start_by(command, &[target.pid], &["-d", "20ms"]).seen();
        let is_told = seen.stderr.contains("Too many open files");
        assert_eq!(seen.status, Some(i32::from(is_told)), "{seen:#?}");
        statuses.push(is_told);
    }
    assert!(statuses.is_sorted_by(|before, after| before >= after));
    assert_eq!((statuses[0], statuses[statuses.len() - 1]), (true, false));
    target.run();
    target.pause();
    target.end();
}

/// Probes are detached by threads, where there may be any.
#[test]
#[ignore = "needs root and a cgroup of pids"]
fn tracer_may_have_no_threads() {
    let target = Target::start(&["threads=4"]);
    let cgroup = Cgroup::create("pids");
    cgroup.write("pids.max", "1").unwrap();
    let tracer = Tracer::start_by(cgroup.tracer(), &[target.pid], WATCH);
    let tracer = target.watched_by(tracer);
    target.run();
    target.pause();
    let seen = tracer.stop();
    assert_eq!(seen.status, Some(0), "{seen:#?}");
    target.check_counts(&seen);
    target.check_untouched();
    drop((target, cgroup));
    check_no_zombies();
}

/// The rows of connections that are closed stay in the map of what moved, until it is full.
#[test]
#[ignore = "needs root"]
fn map_of_traffic_is_full() {
    let target = Target::start(&["act=connections"]);
    let tracer = target.trace();
    target.act();
    let seen = tracer.stop();
    assert_eq!(seen.status, Some(0), "{seen:#?}");
    let lost = 2 * (CONNECTIONS - u64::from(limits::CONNECTIONS));
    let requests = Counted(lost, "requests");
    let gap = format!("{requests} not counted in the window (kernel map full)");
    assert_eq!(seen.gaps(), [gap]);
    let (started, ended) = seen.counts();
    let log = (target.log.started().done, target.log.ended().done);
    assert_eq!(log, (CONNECTIONS, CONNECTIONS));
    assert_eq!(started + ended + lost, log.0 + log.1);
    target.end();
}

/// What the maps have no room for is counted, and the counts add up.
#[test]
#[ignore = "needs root"]
fn map_is_full() {
    let target = Target::start_by(
        |_| {
            let mut command = Command::new(binary("roam-load"));
            command.env("ROAM_DIAGNOSTIC_REQUESTS", "200000");
            command
        },
        &["act=flood"],
    );
    let tracer = target.trace();
    target.run();
    target.pause();
    target.act();
    let seen = tracer.stop();
    assert_eq!(seen.status, Some(0), "{seen:#?}");
    let lost = FLOOD - u64::from(limits::REQUESTS);
    let requests = Counted(lost, "requests");
    assert_eq!(
        seen.gaps(),
        [
            format!("{requests} lost (kernel map full)"),
            format!("{requests} ended without a row in the kernel map"),
        ]
    );
    let (started, ended) = seen.counts();
    let log = (target.log.started().done, target.log.ended().done);
    assert_eq!((started, ended + lost), log);
    target.end();
}
