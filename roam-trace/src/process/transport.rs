//! Looks for the sockets of transports in the memory of a process.
//!
//! A driver reports where its transport object is. Somewhere in it, or behind a
//! pointer in it, is the descriptor of the socket. The search knows no types: it
//! takes every number that is a descriptor of a connected socket. What is one by
//! chance is for others to find out.
//!
//! All of that memory is the process's choice, so the search is bounded in bytes,
//! pointers and time. It reads no memory with a file behind it, which could block.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use roam_dump::model::SocketUnknown;
use rustix::fs::OFlags;

use super::proc::Process;
use crate::privilege;

/// Bytes of an object that are searched.
const OBJECT_BYTES: u64 = 64 << 10;
/// Bytes that are searched behind a pointer.
const POINTEE_BYTES: u64 = 128;
/// Pointers of an object that are followed, and pointers behind these.
const POINTERS: usize = 64;
const SECOND_POINTERS: usize = 256;
/// Bytes that are read of one process.
const PROCESS_BYTES: u64 = 8 << 20;
/// Descriptors that are taken from one object, and from all of a process.
const OBJECT_DESCRIPTORS: usize = 16;
const PROCESS_DESCRIPTORS: usize = 8_192;

/// Where the transport of a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportObject {
    /// Address in the memory of the process.
    pub address: u64,
    /// Its size.
    pub bytes: u32,
}

/// What was found for each link, by its serial: descriptors, or why there is none.
pub type Found = HashMap<u64, Result<Vec<i32>, SocketUnknown>>;

/// What was found for one link.
type Answer = (u64, Result<Vec<i32>, SocketUnknown>);

/// Memory of a process that it alone writes, with no file behind it.
#[derive(Debug, Default)]
pub struct OwnMemory {
    /// Sorted, as the kernel lists it.
    mappings: Vec<Range<u64>>,
}

impl OwnMemory {
    /// Adds a mapping, which lies behind those that were added before.
    pub fn add(&mut self, mapping: Range<u64>) {
        match self.mappings.last_mut() {
            Some(last) if last.end == mapping.start => last.end = mapping.end,
            _ => self.mappings.push(mapping),
        }
    }

    /// The part of `address..address + bytes` that is in it.
    fn within(&self, address: u64, bytes: u64) -> Option<Range<u64>> {
        let index = self
            .mappings
            .partition_point(|mapping| mapping.end <= address);
        let mapping = self
            .mappings
            .get(index)
            .filter(|it| it.contains(&address))?;
        Some(address..address.saturating_add(bytes).min(mapping.end))
    }
}

/// Looks for the descriptors of transports among `sockets`, for `limit` at the most: what a process does not answer
/// by then is given up, with the thread that waits for it.
pub fn find_descriptors(
    process: &Process,
    memory: OwnMemory,
    objects: Vec<(u64, TransportObject)>,
    sockets: HashSet<i32>,
    limit: Duration,
) -> Found {
    let all = |objects: &[(u64, TransportObject)], why| {
        let unknown = objects.iter().map(|&(serial, _)| (serial, Err(why)));
        unknown.collect()
    };
    let file = match process.open_file("mem", OFlags::RDONLY) {
        Ok(file) => file,
        Err(error) => {
            let pid = process.pid();
            log::info!("cannot read the memory of process {pid}: {error}");
            return all(&objects, SocketUnknown::Unreadable);
        }
    };
    // To read memory may take as long as the process likes: it can handle its own page faults.
    let (sender, receiver) = mpsc::channel();
    let searched = objects.clone();
    let worker = thread::Builder::new().spawn(move || {
        // It may outlive this search, and needs none to read an open file.
        if privilege::drop_all().is_err() {
            return;
        }
        let mut search = Search::new(&file, &memory, &sockets);
        for (serial, object) in searched {
            if sender.send((serial, search.object(object))).is_err() {
                break;
            }
        }
    });
    if let Err(error) = worker {
        log::info!("cannot start a thread: {error}");
        return all(&objects, SocketUnknown::Timeout);
    }
    let mut found: Found = all(&objects, SocketUnknown::Timeout);
    if !receive(&receiver, limit, &mut found) {
        let pid = process.pid();
        log::warn!("the memory of process {pid} did not answer in time: giving it up");
    }
    found
}

/// Adds what a search finds until it ends; `false` if it has not by then.
fn receive(receiver: &Receiver<Answer>, limit: Duration, found: &mut Found) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((serial, descriptors)) => found.insert(serial, descriptors),
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        };
    }
}

/// The search through the memory of one process.
struct Search<'a> {
    file: &'a File,
    memory: &'a OwnMemory,
    sockets: &'a HashSet<i32>,
    bytes_left: u64,
    descriptors_left: usize,
    buffer: Vec<u8>,
}

impl<'a> Search<'a> {
    fn new(file: &'a File, memory: &'a OwnMemory, sockets: &'a HashSet<i32>) -> Self {
        Self {
            file,
            memory,
            sockets,
            bytes_left: PROCESS_BYTES,
            descriptors_left: PROCESS_DESCRIPTORS,
            buffer: Vec::new(),
        }
    }

    /// The sockets in an object and behind its pointers; behind the pointers there, if it has none.
    fn object(&mut self, object: TransportObject) -> Result<Vec<i32>, SocketUnknown> {
        let mut found = BTreeSet::new();
        let bytes = u64::from(object.bytes).min(OBJECT_BYTES);
        let first = self.read(object.address, bytes, POINTERS, &mut found)?;
        let mut second = BTreeSet::new();
        for pointer in first {
            second.extend(self.read(pointer, POINTEE_BYTES, POINTERS, &mut found)?);
        }
        if found.is_empty() {
            for pointer in second.into_iter().take(SECOND_POINTERS) {
                self.read(pointer, POINTEE_BYTES, 0, &mut found)?;
            }
        }
        if found.is_empty() {
            return Err(SocketUnknown::NotFound);
        }
        if found.len() > OBJECT_DESCRIPTORS.min(self.descriptors_left) {
            return Err(SocketUnknown::LimitReached);
        }
        self.descriptors_left -= found.len();
        Ok(found.into_iter().collect())
    }

    /// Adds the sockets in a piece of memory, and returns its pointers. There is nothing in memory that is not the
    /// process's own, or gone.
    fn read(
        &mut self,
        address: u64,
        bytes: u64,
        pointers: usize,
        found: &mut BTreeSet<i32>,
    ) -> Result<BTreeSet<u64>, SocketUnknown> {
        let Some(range) = self.memory.within(address, bytes) else {
            return Ok(BTreeSet::new());
        };
        let bytes = range.end - range.start;
        self.bytes_left =
            (self.bytes_left.checked_sub(bytes)).ok_or(SocketUnknown::LimitReached)?;
        self.buffer.resize(bytes as usize, 0);
        let read = match self.file.read_at(&mut self.buffer, range.start) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(SocketUnknown::Unreadable);
            }
            Err(_) => 0,
        };
        let content = &self.buffer[..read];
        // As aligned as they are in memory.
        let skipped = |align: u64| (range.start.next_multiple_of(align) - range.start) as usize;
        let numbers = content.get(skipped(4)..).unwrap_or_default();
        let numbers = numbers.as_chunks().0.iter();
        found.extend(
            numbers
                .map(|&number| i32::from_ne_bytes(number))
                .filter(|number| self.sockets.contains(number)),
        );
        let words = content.get(skipped(8)..).unwrap_or_default();
        let words = words
            .as_chunks()
            .0
            .iter()
            .map(|&word| u64::from_ne_bytes(word));
        Ok(words
            .filter(|&word| word % 8 == 0 && self.memory.within(word, 1).is_some())
            .take(pointers)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::process::maps::for_each_mapping;

    /// Looks for `sockets` in that memory of this process.
    fn find(address: u64, bytes: u32, sockets: &[&UnixStream]) -> Result<Vec<i32>, SocketUnknown> {
        let own = Process::open(std::process::id()).unwrap();
        let mut memory = OwnMemory::default();
        for_each_mapping(&own, |mapping| {
            if mapping.is_own_memory() {
                memory.add(mapping.start..mapping.end);
            }
        })
        .unwrap();
        let sockets = sockets.iter().map(|socket| socket.as_raw_fd()).collect();
        let object = TransportObject { address, bytes };
        let limit = Duration::from_secs(10);
        let mut found = find_descriptors(&own, memory, vec![(7, object)], sockets, limit);
        found.remove(&7).unwrap()
    }

    fn find_in<T>(object: &T, sockets: &[&UnixStream]) -> Result<Vec<i32>, SocketUnknown> {
        let address = std::ptr::from_ref(object).expose_provenance() as u64;
        find(address, size_of::<T>() as u32, sockets)
    }

    #[test]
    fn in_the_object_and_behind_pointers() {
        let (own, other) = UnixStream::pair().unwrap();
        let found = Ok(vec![own.as_raw_fd()]);
        let direct = Box::new([-1, own.as_raw_fd(), 0, 0]);
        assert_eq!(find_in(&*direct, &[&own, &other]), found);
        assert_eq!(find_in(&direct, &[&own, &other]), found);
        let twice = Box::new(direct);
        assert_eq!(find_in(&twice, &[&own, &other]), found);
        assert_eq!(find_in(&[0_u64; 8], &[&own]), Err(SocketUnknown::NotFound));
        assert_eq!(find_in(&twice, &[]), Err(SocketUnknown::NotFound));
    }

    #[test]
    fn nothing_beyond_its_limits() {
        let (own, _other) = UnixStream::pair().unwrap();
        for (address, bytes) in [
            (0, 0),
            (0, u32::MAX),
            (u64::MAX, u32::MAX),
            (u64::MAX - 7, 8),
        ] {
            assert_eq!(find(address, bytes, &[&own]), Err(SocketUnknown::NotFound));
        }
        // Far behind what is searched of an object.
        let mut large = vec![0; (OBJECT_BYTES as usize / 4) + 2];
        large[OBJECT_BYTES as usize / 4] = own.as_raw_fd();
        let address = large.as_ptr().expose_provenance() as u64;
        assert_eq!(
            find(address, u32::MAX, &[&own]),
            Err(SocketUnknown::NotFound)
        );
        // Everything that there is.
        let many: Vec<_> = (0..OBJECT_DESCRIPTORS)
            .map(|_| UnixStream::pair().unwrap())
            .collect();
        let many: Vec<_> = many.iter().flat_map(|(a, b)| [a, b]).collect();
        let all: Vec<_> = many.iter().map(|socket| socket.as_raw_fd()).collect();
        let address = all.as_ptr().expose_provenance() as u64;
        let bytes = size_of_val(&all[..]) as u32;
        assert_eq!(
            find(address, bytes, &many),
            Err(SocketUnknown::LimitReached)
        );
    }

    #[test]
    fn a_search_that_does_not_end_is_given_up() {
        let (sender, receiver) = mpsc::channel();
        let timeout = Err(SocketUnknown::Timeout);
        let mut found = Found::from([(1, timeout.clone()), (2, timeout.clone())]);
        sender.send((1, Ok(vec![9]))).unwrap();
        assert!(!receive(&receiver, Duration::from_millis(20), &mut found));
        assert_eq!(found, Found::from([(1, Ok(vec![9])), (2, timeout)]));
        drop(sender);
        assert!(receive(&receiver, Duration::from_secs(60), &mut found));
    }

    #[test]
    fn memory_with_a_file_behind_it_is_not_read() {
        let mut memory = OwnMemory::default();
        for mapping in [16..32, 32..48, 64..80] {
            memory.add(mapping);
        }
        assert_eq!(memory.within(20, 100), Some(20..48));
        assert_eq!(memory.within(48, 8), None);
        assert_eq!(memory.within(79, 8), Some(79..80));
        assert_eq!(memory.within(80, 8), None);
        assert_eq!(memory.within(0, 32), None);
    }
}
