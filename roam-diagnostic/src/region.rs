//! The memory behind the registry: a sealed memory file that other processes can
//! find and read, mapped once and kept until the process ends. Owns every raw
//! pointer of the crate; knows nothing of what the tables mean.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::{MaybeUninit, offset_of};
use std::ptr::NonNull;

use roam_trace_common::registry::{
    ABI_VERSION, HEADER_BYTES, HeaderRecord, MAGIC, Table, TableRecord,
};

use crate::sync::{AtomicU64, AtomicUsize, Ordering, pair};

/// Bytes of a table that become part of core dumps at a time.
const DUMP_STEP_BYTES: usize = 1 << 20;

/// One mapped region.
pub(crate) struct Region {
    base: NonNull<u8>,
    bytes: usize,
    tables: [Extent; Table::ALL.len()],
    /// 1 in the process that made the region, 0 in its forked children.
    owner: NonNull<u32>,
}

/// Where one table lies, kept privately so that nothing in shared memory can move it.
#[derive(Debug, Clone, Copy)]
struct Extent {
    offset: usize,
    capacity: u32,
}

// SAFETY: the mapping lives as long as the process, and is only accessed atomically.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// What the header says about the process.
pub(crate) struct Identity {
    pub(crate) process_id: u32,
    pub(crate) process_start_ticks: u64,
    pub(crate) created_ns: u64,
    pub(crate) flags: u32,
}

impl Region {
    /// Lays out the tables and maps them: from a memory file where the system
    /// allows one, else from private memory, which only this process can read.
    ///
    /// `capacities` are in the order of [`Table::ALL`]. Returns `None` where even
    /// private memory is refused.
    pub(crate) fn create(capacities: [u32; Table::ALL.len()], identity: &Identity) -> Option<Self> {
        let mut end = HEADER_BYTES;
        let tables = std::array::from_fn(|index| {
            let offset = end;
            let bytes = capacities[index] as usize * Table::ALL[index].slot_bytes();
            end = (offset + bytes).next_multiple_of(HEADER_BYTES);
            Extent {
                offset,
                capacity: capacities[index],
            }
        });
        let bytes = end;
        let base = system::map_shared(bytes).or_else(|_| system::map_private(bytes));
        let region = Self {
            base: base.ok()?,
            bytes,
            tables,
            owner: system::owner_page().ok()?,
        };
        region.write_header(identity);
        Some(region)
    }

    fn write_header(&self, identity: &Identity) {
        let header = HeaderRecord {
            magic: 0,
            abi_version: ABI_VERSION,
            header_bytes: HEADER_BYTES as u32,
            process_id: identity.process_id,
            flags: identity.flags,
            process_start_ticks: identity.process_start_ticks,
            created_ns: identity.created_ns,
            tables: std::array::from_fn(|index| TableRecord {
                offset: self.tables[index].offset as u64,
                lost: 0,
                capacity: self.tables[index].capacity,
                slot_bytes: Table::ALL[index].slot_bytes() as u32,
                high_water: 0,
                reserved: 0,
            }),
        };
        // SAFETY: the mapping is page-aligned, larger than the header, and not shared with
        // another thread yet; readers wait for the magic.
        unsafe { self.base.cast::<HeaderRecord>().write(header) };
        self.header_u64(offset_of!(HeaderRecord, magic))
            .store(MAGIC, Ordering::Release);
    }

    /// Sets a flag in the header.
    pub(crate) fn set_flag(&self, flag: u32) {
        let word = self.header_u64(PROCESS_AND_FLAGS);
        let flag = pair(0, flag);
        if word.load(Ordering::Relaxed) & flag == 0 {
            word.fetch_or(flag, Ordering::Relaxed);
        }
    }

    /// Whether this process made the region. A forked child must not write to it.
    #[inline]
    pub(crate) fn is_owner(&self) -> bool {
        // SAFETY: the page is mapped for the life of the process and only read from here on.
        unsafe { self.owner.read_volatile() == 1 }
    }

    /// The slots of one table.
    pub(crate) fn slots<R>(&self, table: Table) -> Slots<'_, R> {
        assert_eq!(size_of::<R>(), table.slot_bytes());
        let extent = self.tables[table as usize];
        Slots {
            // SAFETY: `create` laid the table out inside the mapping.
            base: unsafe { self.base.add(extent.offset) },
            capacity: extent.capacity,
            region: PhantomData,
        }
    }

    /// Counts an event that found the table full.
    pub(crate) fn count_lost(&self, table: Table) {
        self.header_u64(table_field(table, offset_of!(TableRecord, lost)))
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Makes the slots below `high_water` known to readers and to core dumps.
    pub(crate) fn publish_high_water(&self, table: Table, high_water: u32, dumped: &AtomicUsize) {
        let extent = self.tables[table as usize];
        let used = extent.offset + high_water as usize * table.slot_bytes();
        let before = dumped.load(Ordering::Relaxed).max(extent.offset);
        if used > before {
            let end = (used.next_multiple_of(DUMP_STEP_BYTES)).min(self.bytes);
            dumped.fetch_max(end, Ordering::Relaxed);
            // SAFETY: the range is inside the mapping that begins at `base`.
            unsafe { system::include_in_core(self.base, before..end) };
        }
        self.header_u64(table_field(table, offset_of!(TableRecord, high_water)))
            .fetch_max(pair(high_water, 0), Ordering::Release);
    }

    /// Copies what the region holds at `offset`, as its own reader does.
    ///
    /// Returns how many bytes there were.
    pub(crate) fn copy_to(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let Ok(offset) = usize::try_from(offset) else {
            return 0;
        };
        let bytes = self.bytes.saturating_sub(offset).min(buffer.len()) / 8 * 8;
        for (index, word) in buffer[..bytes].chunks_exact_mut(8).enumerate() {
            // SAFETY: inside the mapping by the line above; `offset` is a multiple of eight in
            // every caller, asserted here, and all writers use atomics.
            let value = unsafe {
                let address = self.base.add(offset + index * 8);
                assert!((address.as_ptr() as usize).is_multiple_of(8));
                AtomicU64::from_ptr(address.cast().as_ptr()).load(Ordering::Acquire)
            };
            word.copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }

    /// Bytes of the region.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes as u64
    }

    fn header_u64(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= HEADER_BYTES);
        // SAFETY: aligned and inside the header page.
        unsafe { AtomicU64::from_ptr(self.base.add(offset).cast().as_ptr()) }
    }
}

/// A few words of private memory.
pub(crate) type Cell = [AtomicU64; 4];

/// Private memory for this many cells, all of whose words are 0, and 0 again in a forked child. What is not touched takes
/// no room. `None` where the system refuses it.
pub(crate) fn private_cells(count: u32) -> Option<&'static [Cell]> {
    let bytes = count as usize * size_of::<Cell>();
    let first = system::map_wiped_on_fork(bytes).ok()?;
    // SAFETY: the memory is as long, is aligned to a page, stays mapped, and is only accessed atomically.
    Some(unsafe { std::slice::from_raw_parts(first.cast().as_ptr(), count as usize) })
}

/// Fields that share a word.
const PROCESS_AND_FLAGS: usize = offset_of!(HeaderRecord, process_id);
const _: () = assert!(offset_of!(HeaderRecord, flags) == PROCESS_AND_FLAGS + 4);

fn table_field(table: Table, offset: usize) -> usize {
    offset_of!(HeaderRecord, tables) + table as usize * size_of::<TableRecord>() + offset
}

/// The slots of one table.
pub(crate) struct Slots<'a, R> {
    base: NonNull<u8>,
    capacity: u32,
    region: PhantomData<(&'a Region, R)>,
}

impl<'a, R> Slots<'a, R> {
    /// One slot, or `None` beyond the capacity.
    #[inline]
    pub(crate) fn get(self, slot: u32) -> Option<Slot<'a, R>> {
        (slot < self.capacity).then(|| Slot {
            // SAFETY: below the capacity, hence inside the table.
            base: unsafe { self.base.add(slot as usize * size_of::<R>()) },
            region: PhantomData,
        })
    }
}

impl<R> Clone for Slot<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Slot<'_, R> {}

/// One slot, whose fields are reached by their offset in `R`.
pub(crate) struct Slot<'a, R> {
    base: NonNull<u8>,
    region: PhantomData<(&'a Region, R)>,
}

impl<'a, R> Slot<'a, R> {
    /// The eight bytes at `offset`: one field, or a [`pair`].
    #[inline]
    pub(crate) fn u64(self, offset: usize) -> &'a AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= size_of::<R>());
        // SAFETY: aligned, inside the slot, and every access is atomic.
        unsafe { AtomicU64::from_ptr(self.base.add(offset).cast().as_ptr()) }
    }

    /// Copies the record, each word by itself: whether the words belong together is for the caller to check.
    ///
    /// # Safety
    ///
    /// `R` must consist of integers, without padding: every byte pattern is a valid one.
    pub(crate) unsafe fn load(self) -> R {
        const { assert!(size_of::<R>().is_multiple_of(8)) };
        let mut record = MaybeUninit::<R>::uninit();
        for index in 0..size_of::<R>() / 8 {
            let word = self.u64(index * 8).load(Ordering::Acquire);
            // SAFETY: inside the record.
            unsafe {
                record
                    .as_mut_ptr()
                    .cast::<u64>()
                    .add(index)
                    .write_unaligned(word)
            };
        }
        // SAFETY: every byte was written, and by the caller's promise any are valid.
        unsafe { record.assume_init() }
    }

    /// Stores text in the field of `capacity` bytes at `offset`, cut at a character boundary.
    ///
    /// Returns the bytes stored.
    pub(crate) fn store_text(self, offset: usize, capacity: usize, text: &str) -> u32 {
        assert!(offset.is_multiple_of(8) && capacity.is_multiple_of(8));
        let text = &text.as_bytes()[..text.floor_char_boundary(capacity)];
        for (index, chunk) in text.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.u64(offset + index * 8)
                .store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
        text.len() as u32
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
mod system {
    //! What the region asks of the kernel.

    use std::ffi::{CString, c_int, c_uint};
    use std::io;
    use std::mem::MaybeUninit;
    use std::ops::Range;
    use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
    use std::ptr::{NonNull, null_mut};

    use libc::{MADV_DODUMP, MADV_DONTDUMP, MADV_WIPEONFORK, MAP_ANONYMOUS, MAP_NORESERVE};
    use libc::{MAP_PRIVATE, MAP_SHARED};
    use roam_trace_common::registry::REGION_NAME;

    /// Maps a sealed memory file whose descriptor stays open for readers.
    pub(super) fn map_shared(bytes: usize) -> io::Result<NonNull<u8>> {
        // Growing a file past this limit ends the process with SIGXFSZ.
        if largest_file()? < bytes as u64 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // Linux before 6.3 does not know NOEXEC_SEAL.
        let file = memory_file(flags | libc::MFD_NOEXEC_SEAL).or_else(|error| {
            if error.kind() == io::ErrorKind::InvalidInput {
                memory_file(flags)
            } else {
                Err(error)
            }
        })?;
        let length = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: both calls take an open descriptor and integers.
        unsafe {
            done(libc::ftruncate(file.as_raw_fd(), length))?;
            done(libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals))?;
        }
        let base = map(bytes, MAP_SHARED, file.as_raw_fd())?;
        // Readers that may not look into the mappings open the file by this descriptor.
        let _open = file.into_raw_fd();
        keep_out_of_core(base, bytes);
        Ok(base)
    }

    /// Maps memory that only this process can read.
    pub(super) fn map_private(bytes: usize) -> io::Result<NonNull<u8>> {
        let base = map(bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1)?;
        keep_out_of_core(base, bytes);
        Ok(base)
    }

    /// # Safety
    ///
    /// `base` must be the first byte of a mapping, and the range inside of it.
    pub(super) unsafe fn include_in_core(base: NonNull<u8>, range: Range<usize>) {
        let start = page_start(range.start, page_size());
        // SAFETY: by the caller's promise; a failure only costs rows in a core dump.
        let _ = unsafe { advise(base.add(start), range.end - start, MADV_DODUMP) };
    }

    /// Where the page starts that `offset` is in. AArch64 has kernels with pages of 16 and 64 KiB, and
    /// advice that begins within one is refused.
    fn page_start(offset: usize, page_bytes: usize) -> usize {
        offset / page_bytes * page_bytes
    }

    /// A page that holds 1 here and 0 in every forked child.
    pub(super) fn owner_page() -> io::Result<NonNull<u32>> {
        let page = map_wiped_on_fork(super::HEADER_BYTES)?.cast();
        // SAFETY: the page was just mapped, is aligned, and not shared yet.
        unsafe { page.write(1) };
        Ok(page)
    }

    /// Maps private memory, which is 0 again in a forked child.
    pub(super) fn map_wiped_on_fork(bytes: usize) -> io::Result<NonNull<u8>> {
        let memory = map(bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1)?;
        // SAFETY: the memory was just mapped, and holds nothing yet.
        unsafe { advise(memory, bytes, MADV_WIPEONFORK)? };
        Ok(memory)
    }

    /// The unused rest of a fresh mapping. A core dump that is larger than needed is no reason to go
    /// without a registry, so errors are not reported.
    fn keep_out_of_core(base: NonNull<u8>, bytes: usize) {
        // SAFETY: the range was just mapped.
        let _ = unsafe {
            advise(base, bytes, MADV_DONTDUMP)
                .and_then(|()| advise(base, super::HEADER_BYTES, MADV_DODUMP))
        };
    }

    fn memory_file(flags: c_uint) -> io::Result<OwnedFd> {
        let name = CString::new(REGION_NAME)?;
        // SAFETY: the name ends with a zero; the descriptor is new and nobody else's.
        unsafe {
            let descriptor = libc::memfd_create(name.as_ptr(), flags);
            done(descriptor)?;
            Ok(OwnedFd::from_raw_fd(descriptor))
        }
    }

    /// Maps readable and writable memory at an address that the kernel chooses.
    fn map(bytes: usize, flags: c_int, descriptor: c_int) -> io::Result<NonNull<u8>> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a mapping at a fresh address changes no other memory.
        let base = unsafe { libc::mmap(null_mut(), bytes, access, flags, descriptor, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(base.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// # Safety
    ///
    /// The range must be mapped by this crate, and the advice be one that keeps what it holds.
    unsafe fn advise(base: NonNull<u8>, bytes: usize, advice: c_int) -> io::Result<()> {
        // SAFETY: by the caller's promise.
        done(unsafe { libc::madvise(base.as_ptr().cast(), bytes, advice) })
    }

    /// Bytes to which this process may let a file grow.
    fn largest_file() -> io::Result<u64> {
        let mut limit = MaybeUninit::<libc::rlimit>::uninit();
        // SAFETY: on success the kernel has written the whole structure.
        unsafe {
            done(libc::getrlimit(libc::RLIMIT_FSIZE, limit.as_mut_ptr()))?;
            Ok(limit.assume_init().rlim_cur)
        }
    }

    fn page_size() -> usize {
        // SAFETY: takes and returns integers.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes).unwrap_or(super::HEADER_BYTES)
    }

    fn done(result: c_int) -> io::Result<()> {
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    #[test]
    fn advice_begins_with_a_page_of_any_size() {
        for page_bytes in [4 << 10, 16 << 10, 64 << 10] {
            let start = |offset| page_start(offset, page_bytes);
            assert_eq!(start(page_bytes - 1), 0);
            assert_eq!(start(5 * page_bytes), 5 * page_bytes);
            assert_eq!(
                start(5 * page_bytes + super::HEADER_BYTES - 1),
                5 * page_bytes
            );
        }
    }
}

#[cfg(miri)]
mod system {
    //! Memory that Miri can follow: it knows neither memory files nor advice on memory.

    use std::alloc::{Layout, alloc_zeroed};
    use std::ops::Range;
    use std::ptr::NonNull;

    pub(super) fn map_shared(_bytes: usize) -> Result<NonNull<u8>, ()> {
        Err(())
    }

    pub(super) fn map_private(bytes: usize) -> Result<NonNull<u8>, ()> {
        let layout = Layout::from_size_align(bytes, super::HEADER_BYTES).map_err(|_| ())?;
        // SAFETY: a region is never empty.
        NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(())
    }

    pub(super) fn map_wiped_on_fork(bytes: usize) -> Result<NonNull<u8>, ()> {
        map_private(bytes)
    }

    pub(super) unsafe fn include_in_core(_base: NonNull<u8>, _range: Range<usize>) {}

    pub(super) fn owner_page() -> Result<NonNull<u32>, ()> {
        Ok(NonNull::from(Box::leak(Box::new(1))))
    }
}

#[cfg(not(any(target_os = "linux", miri)))]
mod system {
    //! Without memory files there is no registry.

    use std::ops::Range;
    use std::ptr::NonNull;

    pub(super) fn map_shared(_bytes: usize) -> Result<NonNull<u8>, ()> {
        Err(())
    }

    pub(super) fn map_private(_bytes: usize) -> Result<NonNull<u8>, ()> {
        Err(())
    }

    pub(super) fn map_wiped_on_fork(_bytes: usize) -> Result<NonNull<u8>, ()> {
        Err(())
    }

    pub(super) unsafe fn include_in_core(_base: NonNull<u8>, _range: Range<usize>) {}

    pub(super) fn owner_page() -> Result<NonNull<u32>, ()> {
        Err(())
    }
}
