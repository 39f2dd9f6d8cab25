//! The registry where it is out of the ordinary: without a descriptor, in a core dump, of two versions.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, ReadCache};
use roam_dump::read::{self, RegionMemory};
use roam_trace_common::registry::{ABI_VERSION, MAGIC};

use crate::binary::library;
use crate::target::{Target, binary, check_no_zombies};
use crate::tracer::wait_for;

#[test]
#[ignore = "needs root"]
fn daemon_closed_its_descriptors() {
    let target = Target::start(&["start=daemon", "hold=3"]);
    let descriptors = fs::read_dir(format!("/proc/{}/fd", target.pid)).unwrap();
    assert_eq!(descriptors.count(), 0);
    let tracer = target.trace();
    target.run();
    target.pause();
    let seen = tracer.stop();
    assert_eq!(seen.requests().len(), 3);
    target.end_as(&seen);
}

/// A library that was built with another roam-diagnostic: its registry is left out, and the dump says so.
#[test]
#[ignore = "needs root"]
fn two_versions_of_the_registry() {
    let other = ABI_VERSION + 1;
    let target = Target::start(&["hold=3", &format!("region={other}")]);
    let tracer = target.trace();
    target.run();
    target.pause();
    let seen = tracer.stop();
    assert_eq!(seen.status, Some(0), "{seen:#?}");
    target.check_counts_with_gaps(&seen);
    assert_eq!(
        seen.gaps(),
        [format!(
            "cannot read a registry: it has ABI version {other}, and this reader has version {ABI_VERSION}; use the roam-trace that belongs to the program's roam-diagnostic"
        )]
    );
    assert_eq!(seen.requests().len(), 3);
    target.end();
}

/// Two libraries that were built each with a roam-diagnostic of its own. Their rows have the same serials: the
/// dump distinguishes them, the kernel does not, which is reported, and what is lost by it is counted.
#[test]
#[ignore = "needs root"]
fn two_registries_in_one_process() {
    let command = |directory: &Path| {
        let mut command = Command::new(binary("roam-load-host"));
        for name in ["libroam_load.a.so", "libroam_load.b.so"] {
            let copy = directory.join(name);
            fs::copy(library(), &copy).unwrap();
            command.arg(copy);
        }
        command
    };
    let target = Target::start_by(command, &["hold=3"]);
    wait_for("both loads", || {
        target.log.threads.load(Ordering::Acquire) == 4
    });
    let tracer = target.trace();
    target.run();
    target.pause();
    let seen = tracer.stop();
    assert_eq!(seen.status, Some(0), "{seen:#?}");
    assert_eq!(seen.requests().len(), 6);
    let gaps = seen.gaps();
    let (together, lost): (Vec<_>, Vec<_>) = gaps.iter().partition(|gap| {
        *gap == "the process has several registries, and their probes are counted together"
    });
    assert_eq!(together.len(), 1, "{gaps:?}");
    let lost: u64 = lost
        .iter()
        .filter(|gap| gap.ends_with(" ended without a row in the kernel map"))
        .map(|gap| gap.split(' ').next().unwrap().replace(',', ""))
        .map(|count| count.parse::<u64>().unwrap())
        .sum();
    let (started, ended) = seen.counts();
    let log = (target.log.started().done, target.log.ended().done);
    assert_eq!((started, ended + lost), log, "{gaps:?}");
    target.end();
}

/// Where the kernel puts core dumps, until this is dropped.
struct CorePattern(String);

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

impl CorePattern {
    fn set(pattern: &str) -> Self {
        let before = fs::read_to_string(CORE_PATTERN).unwrap();
        fs::write(CORE_PATTERN, pattern).unwrap();
        Self(before)
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        let _ = fs::write(CORE_PATTERN, &self.0);
    }
}

/// Bytes that a core dump of the load may have: its registry is a mapping of 62 MB with 0.2 MB in use.
const CORE_BYTES: u64 = 16 << 20;

/// Requests that are in flight when the target crashes.
const HELD: usize = 1_000;

#[test]
#[ignore = "needs root"]
fn core_dump_has_the_registry() {
    let command = |_: &Path| {
        let mut command = Command::new("prlimit");
        command.arg("--core=unlimited").arg(binary("roam-load"));
        command
    };
    let words = ["act=segv", &format!("hold={HELD}")];
    let mut target = Target::start_by(command, &words);
    let pid = target.pid;
    let core = target.directory.path().join(format!("core.{pid}"));
    let pattern = CorePattern::set(core.to_str().unwrap());
    let tracer = target.trace();
    target.run();
    target.tell_to_act();
    target.collect();
    drop(pattern);
    let seen = tracer.seen();
    assert_eq!(seen.status, Some(1), "{seen:#?}");
    target.check_results();

    let bytes = fs::metadata(&core).unwrap().len();
    assert!(bytes < CORE_BYTES, "{bytes}");
    let region = RegionInCore::find(&core).expect("a registry");
    let image = read::read(&region).unwrap();
    assert_eq!(image.header.process_id, pid);
    let threads = 2;
    let requests = image.requests.len();
    assert!((HELD..=HELD + threads).contains(&requests), "{requests}");
    drop(target);
    check_no_zombies();
}

/// The registry in a core dump: parts of the file that follow one another in memory.
struct RegionInCore {
    core: fs::File,
    /// Where each part begins in the region, and where it is in the file.
    parts: Vec<Part>,
}

struct Part {
    start: u64,
    bytes: u64,
    file_offset: u64,
    file_bytes: u64,
}

impl RegionInCore {
    fn find(path: &Path) -> Option<Self> {
        let core = fs::File::open(path).unwrap();
        let data = ReadCache::new(core.try_clone().unwrap());
        let header = FileHeader64::<Endianness>::parse(&data).unwrap();
        let endian = header.endian().unwrap();
        let segments = header.program_headers(endian, &data).unwrap();
        let mut loaded = segments
            .iter()
            .filter(|segment| segment.p_type(endian) == PT_LOAD)
            .skip_while(|segment| {
                let mut magic = [0; 8];
                segment.p_filesz(endian) < 8
                    || core
                        .read_exact_at(&mut magic, segment.p_offset(endian))
                        .is_err()
                    || magic != MAGIC.to_ne_bytes()
            })
            .peekable();
        let base = loaded.peek()?.p_vaddr(endian);
        let mut end = base;
        let mut parts = Vec::new();
        while let Some(segment) = loaded.next_if(|segment| segment.p_vaddr(endian) == end) {
            parts.push(Part {
                start: end - base,
                bytes: segment.p_memsz(endian),
                file_offset: segment.p_offset(endian),
                file_bytes: segment.p_filesz(endian),
            });
            end += segment.p_memsz(endian);
        }
        Some(Self { core, parts })
    }
}

impl RegionMemory for RegionInCore {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.parts.iter().map(|part| part.bytes).sum())
    }

    /// Reads up to the end of a part; what the dump left out is no data.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let inside = |part: &&Part| (part.start..part.start + part.file_bytes).contains(&at);
            let Some(part) = self.parts.iter().find(inside) else {
                break;
            };
            let into = at - part.start;
            let bytes = (part.file_bytes - into).min((buffer.len() - done) as u64) as usize;
            let buffer = &mut buffer[done..done + bytes];
            self.core.read_exact_at(buffer, part.file_offset + into)?;
            done += bytes;
        }
        Ok(done)
    }
}
