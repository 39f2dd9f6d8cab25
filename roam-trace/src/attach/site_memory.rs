//! The probe sites in the memory of targets: whether a breakpoint is there.
//!
//! A target can keep whoever looks at its memory waiting, so that another thread looks, which is given up after a while.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::mpsc;
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use super::probed::ProbedProcess;
use crate::elf;

/// Bytes of a list of mappings that are read at the most, and sites of a process that are looked at.
const MAPS_BYTES: u64 = 8 << 20;
const SITES: usize = 64;

/// How long opening the memory of all targets may take.
const OPENING: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(2);

/// Sites that were as in the file before anything was attached.
#[derive(Default)]
pub(super) struct SiteMemory(Vec<(File, Vec<u64>)>);

impl SiteMemory {
    /// Opens the memory of targets. Where that is denied, there is nothing to see.
    pub(super) fn open(targets: &[ProbedProcess]) -> Self {
        let targets = targets.to_vec();
        let open = move || {
            Self(
                targets
                    .iter()
                    .filter_map(|target| open(target).ok())
                    .collect(),
            )
        };
        within(OPENING, open).unwrap_or_default()
    }

    /// Waits until no site has a breakpoint.
    pub(super) fn wait_until_restored(self, limit: Duration) {
        let deadline = Instant::now() + limit;
        within(limit, move || {
            while !self.is_restored() && Instant::now() < deadline {
                sleep(PAUSE);
            }
        });
    }

    /// Whether no site has a breakpoint. Those of a process that has ended, or executed another program, are gone.
    fn is_restored(&self) -> bool {
        self.0.iter().all(|(memory, addresses)| {
            addresses
                .iter()
                .all(|&address| is_site(memory, address).unwrap_or(true))
        })
    }
}

/// Does something in a thread of its own; `None` if that takes too long, or there may be no thread.
fn within<T: Send + 'static>(limit: Duration, f: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, done) = mpsc::channel();
    let thread = Builder::new().spawn(move || {
        // Nobody waits for it any more where this fails.
        let _ = sender.send(f());
    });
    thread.ok()?;
    done.recv_timeout(limit).ok()
}

fn open(target: &ProbedProcess) -> io::Result<(File, Vec<u64>)> {
    let directory = format!("/proc/{}", target.tgid);
    let memory = File::open(format!("{directory}/mem"))?;
    let mut maps = Vec::new();
    File::open(format!("{directory}/maps"))?
        .take(MAPS_BYTES)
        .read_to_end(&mut maps)?;
    let maps = String::from_utf8_lossy(&maps);
    let mut addresses = Vec::new();
    for file in &target.files {
        let inode = std::fs::metadata(&file.path)?.ino();
        for mapped in maps.lines().filter_map(Mapped::parse) {
            let offsets = file.sites.iter().map(|site| site.file_offset);
            if mapped.inode == inode {
                addresses.extend(offsets.filter_map(|offset| mapped.address_of(offset)));
            }
        }
    }
    addresses.truncate(SITES);
    // Another tracer may be attached: its breakpoints stay.
    addresses.retain(|&address| is_site(&memory, address).unwrap_or(false));
    Ok((memory, addresses))
}

fn is_site(memory: &File, address: u64) -> io::Result<bool> {
    let mut bytes = [0; elf::MAX_SITE_BYTES];
    match memory.read_at(&mut bytes, address)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(elf::is_site(&bytes[..count])),
    }
}

/// A mapping with code.
struct Mapped {
    start: u64,
    end: u64,
    offset: u64,
    inode: u64,
}

impl Mapped {
    /// A line of `/proc/PID/maps`.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        fields
            .next()
            .filter(|permissions| permissions.as_bytes().get(2) == Some(&b'x'))?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        Some(Self {
            start: hex(start)?,
            end: hex(end)?,
            offset: hex(fields.next()?)?,
            inode: fields.nth(1)?.parse().ok()?,
        })
    }

    /// Where a byte of the file is.
    fn address_of(&self, offset: u64) -> Option<u64> {
        let address = self.start.checked_add(offset.checked_sub(self.offset)?)?;
        (address < self.end).then_some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, offset: u64, expected: Option<u64>) {
        let address = Mapped::parse(line).and_then(|mapped| mapped.address_of(offset));
        assert_eq!(address, expected, "{line}");
    }

    #[test]
    fn addresses() {
        let code = "5600-5700 r-xp 00001000 fe:01 17 /program";
        check(code, 0x1010, Some(0x5610));
        check(code, 0x10ff, Some(0x56ff));
        check(code, 0x1100, None);
        check(code, 0xfff, None);
        check("5600-5700 r--p 00001000 fe:01 17 /program", 0x1010, None);
        check(
            "ffffffffffffff00-5700 r-xp 0 fe:01 17 /program",
            u64::MAX,
            None,
        );
        check("5600", 0, None);
        check("", 0, None);
    }
}
