//! Looks for the sockets of transports in the memory of a process.
//!
//! A driver reports where its transport object is. Somewhere in it, or behind a
//! pointer in it, is the descriptor of the socket. The search knows no types: it
//! takes every number that is a descriptor of a connected socket, and leaves it to
//! [`claims`](super::claims) which of them are that by chance.
//!
//! All of that memory is the process's choice, so the search is bounded in bytes,
//! pointers and time. It reads no memory with a file behind it, which could block.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use roam_dump::model::SocketUnknown;
use rustix::fs::OFlags;

use super::claims::{Claim, Claims, Decided, Path, TransportObject, decide};
use super::maps::{Mappings, OwnMemory};
use super::proc::Process;
use super::worker::Idle;
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
/// Numbers that are taken from one object, and from all of a process.
const OBJECT_CLAIMS: usize = 64;
const PROCESS_CLAIMS: usize = 65_536;

static IDLE: Idle = Idle::none();

/// What was found for one link.
type Answer = (u64, Result<Vec<Claim>, SocketUnknown>);

/// Looks for the descriptors of transports among `sockets`, for `limit` at the most: what a process does not answer
/// by then is given up, with the thread that waits for it.
pub fn find_descriptors(
    process: &Process,
    mappings: Arc<Mappings>,
    objects: Vec<(u64, TransportObject)>,
    sockets: HashSet<i32>,
    limit: Duration,
) -> Decided {
    let all = |why| {
        objects
            .iter()
            .map(|&(serial, _)| (serial, Err(why)))
            .collect()
    };
    let file = match process.open_file("mem", OFlags::RDONLY) {
        Ok(file) => file,
        Err(error) => {
            let pid = process.pid();
            log::info!("cannot read the memory of process {pid}: {error}");
            return all(SocketUnknown::Unreadable);
        }
    };
    let worker = match IDLE.take() {
        Ok(worker) => worker,
        Err(error) => {
            log::info!("cannot start a thread: {error}");
            return all(SocketUnknown::Timeout);
        }
    };
    let (sender, receiver) = mpsc::channel();
    let searched = objects.clone();
    // To read memory may take as long as the process likes: it can handle its own page faults.
    worker.run(move || {
        // It may outlive this search, and needs none to read an open file.
        if privilege::drop_all().is_err() {
            return;
        }
        let mut search = Search::new(&file, &mappings.own_memory, &sockets);
        for (serial, object) in searched {
            if sender.send((serial, search.object(object))).is_err() {
                break;
            }
        }
    });
    let unanswered = objects
        .iter()
        .map(|&(serial, _)| (serial, Err(SocketUnknown::Timeout)));
    let mut claims: Claims = unanswered.collect();
    if receive(&receiver, limit, &mut claims) {
        IDLE.put_back(worker);
    } else {
        let pid = process.pid();
        log::warn!("cannot find all sockets of process {pid}: its memory was not read in time");
    }
    decide(&objects, claims)
}

/// Adds what a search finds until it ends; `false` if it has not by then.
fn receive(receiver: &Receiver<Answer>, limit: Duration, claims: &mut Claims) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((serial, found)) => claims.insert(serial, found),
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
    claims_left: usize,
    buffer: Vec<u8>,
}

/// A pointer, and how it was reached.
type Pointer = (u64, Path);

impl<'a> Search<'a> {
    fn new(file: &'a File, memory: &'a OwnMemory, sockets: &'a HashSet<i32>) -> Self {
        Self {
            file,
            memory,
            sockets,
            bytes_left: PROCESS_BYTES,
            claims_left: PROCESS_CLAIMS,
            buffer: Vec::new(),
        }
    }

    /// The sockets in an object and behind its pointers; behind the pointers there, if it has none.
    fn object(&mut self, object: TransportObject) -> Result<Vec<Claim>, SocketUnknown> {
        let mut claims = Vec::new();
        let bytes = u64::from(object.bytes).min(OBJECT_BYTES);
        let first = self.read((object.address, [None; 3]), bytes, 0, &mut claims)?;
        let mut second = Vec::new();
        for pointer in first.into_iter().take(POINTERS) {
            second.extend(self.read(pointer, POINTEE_BYTES, 1, &mut claims)?);
        }
        if claims.is_empty() {
            for pointer in second.into_iter().take(SECOND_POINTERS) {
                self.read(pointer, POINTEE_BYTES, 2, &mut claims)?;
            }
        }
        if claims.is_empty() {
            return Err(SocketUnknown::NotFound);
        }
        let count = claims.len();
        self.claims_left = (self.claims_left.checked_sub(count))
            .filter(|_| count <= OBJECT_CLAIMS)
            .ok_or(SocketUnknown::LimitReached)?;
        Ok(claims)
    }

    /// Adds the sockets in a piece of memory, and returns its pointers. There is nothing in memory that is not the
    /// process's own, or gone.
    fn read(
        &mut self,
        (address, path): Pointer,
        bytes: u64,
        depth: usize,
        claims: &mut Vec<Claim>,
    ) -> Result<Vec<Pointer>, SocketUnknown> {
        let Some(range) = self.memory.within(address, bytes) else {
            return Ok(Vec::new());
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
        let at = |offset: usize| {
            let mut path = path;
            path[depth] = Some(offset as u32);
            path
        };
        for (offset, number) in aligned::<4>(range.start, content) {
            let descriptor = i32::from_ne_bytes(number);
            if self.sockets.contains(&descriptor) {
                let path = at(offset);
                claims.push(Claim { descriptor, path });
            }
        }
        Ok(aligned::<8>(range.start, content)
            .map(|(offset, word)| (u64::from_ne_bytes(word), at(offset)))
            .filter(|&(word, _)| word % 8 == 0 && self.memory.within(word, 1).is_some())
            .collect())
    }
}

/// The aligned words of a piece of memory, and their offsets.
fn aligned<const BYTES: usize>(
    address: u64,
    content: &[u8],
) -> impl Iterator<Item = (usize, [u8; BYTES])> {
    let skipped = (address.next_multiple_of(BYTES as u64) - address) as usize;
    let words = content.get(skipped..).unwrap_or_default();
    let words = words.as_chunks().0.iter();
    (skipped..).step_by(BYTES).zip(words.copied())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Looks for `sockets` in that memory of this process.
    fn find(address: u64, bytes: u32, sockets: &[&UnixStream]) -> Result<Vec<i32>, SocketUnknown> {
        let own = Process::open(std::process::id()).unwrap();
        let mappings = Arc::new(Mappings::of(&own).unwrap());
        let sockets = sockets.iter().map(|socket| socket.as_raw_fd()).collect();
        let object = TransportObject { address, bytes };
        let limit = Duration::from_secs(10);
        let mut found = find_descriptors(&own, mappings, vec![(7, object)], sockets, limit);
        let found = found.remove(&7).unwrap()?;
        Ok(found.iter().map(|found| found.descriptor).collect())
    }

    fn find_in<T>(object: &T, sockets: &[&UnixStream]) -> Result<Vec<i32>, SocketUnknown> {
        let address = std::ptr::from_ref(object).expose_provenance() as u64;
        find(address, size_of::<T>() as u32, sockets)
    }

    /// Two sockets with descriptors that are in no memory by chance.
    fn sockets() -> (UnixStream, UnixStream) {
        let (own, other) = UnixStream::pair().unwrap();
        let high = |socket: UnixStream| rustix::io::fcntl_dupfd_cloexec(socket, 977).unwrap();
        (high(own).into(), high(other).into())
    }

    #[test]
    fn in_the_object_and_behind_pointers() {
        let (own, other) = sockets();
        let found = Ok(vec![own.as_raw_fd()]);
        // As large as what is searched behind a pointer: behind them may be the sockets of the search itself.
        let mut direct = Box::new([0; POINTEE_BYTES as usize / 4]);
        direct[1] = own.as_raw_fd();
        assert_eq!(find_in(&*direct, &[&own, &other]), found);
        assert_eq!(find_in(&direct, &[&own, &other]), found);
        let mut twice = Box::new([None; POINTEE_BYTES as usize / 8]);
        twice[0] = Some(&*direct);
        assert_eq!(find_in(&twice, &[&own, &other]), found);
        assert_eq!(find_in(&[0_u64; 8], &[&own]), Err(SocketUnknown::NotFound));
        assert_eq!(find_in(&twice, &[]), Err(SocketUnknown::NotFound));
    }

    #[test]
    fn nothing_beyond_its_limits() {
        let (own, _other) = sockets();
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
        let many: Vec<_> = (0..OBJECT_CLAIMS)
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
        let timeout = || Err(SocketUnknown::Timeout);
        let mut claims = Claims::from([(1, timeout()), (2, timeout())]);
        sender.send((1, Ok(Vec::new()))).unwrap();
        assert!(!receive(&receiver, Duration::from_millis(20), &mut claims));
        assert_eq!(claims, Claims::from([(1, Ok(Vec::new())), (2, timeout())]));
        drop(sender);
        assert!(receive(&receiver, Duration::from_secs(60), &mut claims));
    }
}
