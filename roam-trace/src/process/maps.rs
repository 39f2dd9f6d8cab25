//! The mappings of a process.
//!
//! Read as bytes: file names are the process's choice and need not be UTF-8. The number and the length of the lines are
//! its choice as well, so both are limited.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::{ControlFlow, Range};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use roam_trace_common::registry::REGION_NAME;
use rustix::fs::OFlags;

use super::allowance::Allowance;
use super::mapping::{FileId, Mapping, Visit};
use super::mapping_query;
use super::proc::{Process, open_at};
use crate::error::TargetError;

/// Bytes of the list of mappings, and mappings, that are read of one process: more than Linux lets most have.
const LIST_BYTES: u64 = 8 << 20;
const MAPPINGS: usize = 131_072;
/// Registries of one process that are opened: a program has one, a few with libraries of its own.
const REGISTRIES: usize = 64;
/// Files of one process that are looked at as shared-memory hubs: a program has one or two.
const HUBS: usize = 64;
/// Bytes that all else takes that is kept of one process: a thousand files or ranges.
const PROCESS_BYTES: usize = 128 << 10;
/// Bytes that it takes of all processes together.
const KEPT_BYTES: usize = 8 << 20;
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// A process can make its list long, and each line of it slow.
static READING: Allowance = Allowance::new(Duration::from_millis(1_000));

/// Leaves that much time of a processor for the lists of all processes from now on: for a command that reads them again and
/// again.
pub fn renew_allowance(whole: Duration) {
    READING.renew(whole);
}

/// What a tracer wants to know of the mappings of a process.
#[derive(Debug, Default)]
pub struct Mappings {
    /// Files with the name of a registry.
    pub registries: Vec<MappedFile>,
    /// Files with code.
    pub executables: Vec<MappedFile>,
    /// Files that it maps to share changes with others: what may be a shared-memory hub.
    pub hubs: Vec<MappedFile>,
    /// Files with memory whose changes others see, but for registries, which a forked child still maps.
    pub shared: HashSet<FileId>,
    /// Memory that the process alone writes.
    pub own_memory: OwnMemory,
    /// Whether there may be more registries.
    pub is_cut: bool,
    /// Whether there is more of all else.
    pub is_memory_cut: bool,
    bytes: usize,
}

/// A file that a process maps; where it does for the first time.
#[derive(Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// The file.
    pub file: FileId,
    /// The addresses.
    pub range: Range<u64>,
    /// The file's name; line breaks in it may be escaped. Empty if it is too long.
    pub path: Vec<u8>,
}

/// Memory of a process that it alone writes, with no file behind it.
#[derive(Debug, Clone, Default)]
pub struct OwnMemory {
    /// Sorted, as the kernel lists it.
    ranges: Vec<Range<u64>>,
}

impl OwnMemory {
    /// Adds a range, which lies behind those that were added before.
    pub fn add(&mut self, range: Range<u64>) {
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }

    /// Returns the part of `address..address + bytes` that is in it.
    pub fn within(&self, address: u64, bytes: u64) -> Option<Range<u64>> {
        let index = self.ranges.partition_point(|range| range.end <= address);
        let range = self.ranges.get(index)?;
        let end = address.saturating_add(bytes).min(range.end);
        range.contains(&address).then_some(address..end)
    }
}

impl Mappings {
    /// Reads the mappings of a process, within limits.
    ///
    /// # Errors
    ///
    /// [`TargetError`] if the process cannot be read, does not answer or has ended.
    pub fn of(process: &Process) -> Result<Self, TargetError> {
        let user = process.user();
        process
            .ask(move |directory| Self::read(&open_at(directory, "maps", OFlags::RDONLY)?, user))
            .map_err(|error| process.error("read the mappings of", error))
    }

    fn read(list: &File, user: u32) -> io::Result<Self> {
        let mut found = Self::default();
        match found.collect(user, |visit| mapping_query::visit(list, visit)) {
            Err(error) if mapping_query::is_missing(&error) => {
                found.collect(user, |visit| visit_lines(list, visit))?;
            }
            collected => collected?,
        }
        Ok(found)
    }

    /// Adds the mappings that `list` visits, until there were enough of them.
    fn collect(
        &mut self,
        user: u32,
        list: impl FnOnce(&mut Visit<'_>) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<()> {
        let turn = READING.turn(user);
        let mut known = HashSet::new();
        let mut count = 0;
        let end = list(&mut |mapping| {
            if count == MAPPINGS || turn.is_spent() {
                return ControlFlow::Break(());
            }
            count += 1;
            self.add(mapping, &mut known);
            ControlFlow::Continue(())
        })?;
        if end.is_break() {
            (self.is_cut, self.is_memory_cut) = (true, true);
        }
        Ok(())
    }

    fn add(&mut self, mapping: &Mapping<'_>, known: &mut HashSet<FileId>) {
        if mapping.is_own_memory() {
            self.is_memory_cut |= !self.keep(size_of::<Range<u64>>());
            if !self.is_memory_cut {
                self.own_memory.add(mapping.start..mapping.end);
            }
        }
        if mapping.file.inode == 0 {
            return;
        }
        let file = || MappedFile {
            file: mapping.file,
            range: mapping.start..mapping.end,
            path: mapping.path.to_vec(),
        };
        let registry = mapping.path.strip_prefix(b"/memfd:");
        let registry = registry.and_then(|name| name.strip_prefix(REGION_NAME.as_bytes()));
        if registry == Some(b" (deleted)") {
            if known.insert(mapping.file) {
                match self.registries.len() < REGISTRIES {
                    true => self.registries.push(file()),
                    false => self.is_cut = true,
                }
            }
        } else if mapping.is_executable && known.insert(mapping.file) {
            match self.keep(size_of::<MappedFile>() + mapping.path.len()) {
                true => self.executables.push(file()),
                false => self.is_memory_cut = true,
            }
        }
        if mapping.is_shared && registry.is_none() && !self.shared.contains(&mapping.file) {
            if mapping.is_writable && self.hubs.len() < HUBS {
                match self.keep(size_of::<MappedFile>() + mapping.path.len()) {
                    true => self.hubs.push(file()),
                    false => self.is_memory_cut = true,
                }
            }
            match self.keep(size_of::<FileId>()) {
                true => drop(self.shared.insert(mapping.file)),
                false => self.is_memory_cut = true,
            }
        }
    }

    /// Makes room; `false` if there is none.
    fn keep(&mut self, bytes: usize) -> bool {
        let has_room =
            self.bytes + bytes <= PROCESS_BYTES && KEPT.load(Relaxed) + bytes <= KEPT_BYTES;
        if has_room {
            self.bytes += bytes;
            KEPT.fetch_add(bytes, Relaxed);
        }
        has_room
    }
}

/// Visits the mappings in the text of `/proc/PID/maps`. A break means that there may be more.
fn visit_lines(list: impl Read, visit: &mut Visit<'_>) -> io::Result<ControlFlow<()>> {
    let mut reader = BufReader::with_capacity(1 << 16, list.take(LIST_BYTES));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if let Some(line) = line.strip_suffix(b"\n")
            && let Some(mapping) = Mapping::parse(line)
            && visit(&mapping).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        line.clear();
    }
    Ok(match reader.get_ref().limit() {
        0 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
}

impl Drop for Mappings {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: impl Read) -> Mappings {
        let mut found = Mappings::default();
        found.collect(0, |visit| visit_lines(list, visit)).unwrap();
        found
    }

    #[test]
    fn what_is_kept() {
        let list = b"5600-5700 r-xp 0 fe:01 17 /program
5700-5800 r-xp 0 fe:01 17 /program
5800-5900 rw-p 0 00:00 0
5900-5a00 rw-p 0 00:00 0 [heap]
7f00-7f10 rw-s 0 00:01 2061 /memfd:roam-diagnostic (deleted)
7f10-7f20 rw-s 0 00:01 2062 /memfd:other (deleted)
";
        let found = read(&list[..]);
        let inodes =
            |files: &[MappedFile]| files.iter().map(|it| it.file.inode).collect::<Vec<_>>();
        assert_eq!(inodes(&found.executables), [17]);
        assert_eq!(inodes(&found.registries), [2061]);
        let shared: Vec<_> = found.shared.iter().map(|file| file.inode).collect();
        assert_eq!(shared, [2062]);
        assert_eq!(
            found.own_memory.within(0x5800, 0x1000),
            Some(0x5800..0x5a00)
        );
        assert!(!found.is_cut);
    }

    #[test]
    fn more_than_is_read() {
        let line = |inode: usize| format!("1-2 r-xp 0 fe:01 {inode} /x\n").into_bytes();
        let many: Vec<u8> = (1..=PROCESS_BYTES).flat_map(line).collect();
        let found = read(&many[..]);
        assert!(
            found.is_memory_cut && found.bytes <= PROCESS_BYTES && !found.executables.is_empty()
        );
        let endless = read(io::repeat(b'x'));
        assert!(endless.is_cut);
    }

    #[test]
    fn own_memory_is_found_by_address() {
        let mut memory = OwnMemory::default();
        for range in [16..32, 32..48, 64..80] {
            memory.add(range);
        }
        assert_eq!(memory.within(20, 100), Some(20..48));
        assert_eq!(memory.within(48, 8), None);
        assert_eq!(memory.within(79, 8), Some(79..80));
        assert_eq!(memory.within(80, 8), None);
        assert_eq!(memory.within(0, 32), None);
    }
}
