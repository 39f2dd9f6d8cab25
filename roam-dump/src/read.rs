//! Reads a registry, this process's own or another's, into records.
//!
//! Everything read is hostile until checked: offsets, lengths and codes come
//! from memory that another program wrote. Nothing here interprets a row.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::time::Duration;

use roam_trace_common::Serial;
use roam_trace_common::limits::{ARGUMENTS_BYTES, MAX_CAPACITY};
use roam_trace_common::registry::{
    ABI_VERSION, ArgumentsRecord, ChannelRecord, ConnectionRecord, HEADER_BYTES, HeaderRecord,
    MAGIC, MethodRecord, RequestRecord, Table, TypeRecord,
};
use thiserror::Error;
use zerocopy::FromBytes;

mod budget;
#[cfg(loom)]
pub mod model;
#[cfg(not(loom))]
mod own;

use budget::Oldest;
pub use budget::{Budget, LeftOut};
#[cfg(not(loom))]
pub use own::read_own;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 19;
/// Looks at a row that keeps changing before it is given up.
const ATTEMPTS: usize = if cfg!(loom) { 0 } else { 16 };
/// How long to wait for the writer of a half-written row between two looks. A fuzzer and loom have none.
const PAUSE: Duration = Duration::from_millis(if cfg!(any(fuzzing, loom)) { 0 } else { 1 });
/// Waits in all: a registry full of half-written rows must not hold the reader up.
const PAUSES: u32 = 20;

/// Memory that holds a registry.
pub trait RegionMemory {
    /// Bytes there are.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads into `buffer` from `offset`, which is a multiple of eight, and returns how many bytes there were.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Where at or after `offset` memory in use begins; `None` where there is none.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok(Some(offset))
    }
}

#[cfg(target_os = "linux")]
impl RegionMemory for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        use rustix::fs::{SeekFrom, seek};
        match seek(self, SeekFrom::Data(offset)) {
            Ok(start) => Ok(Some(start)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A region whose bytes are at hand, such as a recorded one.
impl RegionMemory for [u8] {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).map_or(self.len(), |offset| offset.min(self.len()));
        let bytes = buffer.len().min(self.len() - start);
        buffer[..bytes].copy_from_slice(&self[start..start + bytes]);
        Ok(bytes)
    }
}

/// Why a region could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The memory could not be read.
    #[error("cannot read the registry: {0}")]
    Io(#[from] io::Error),
    /// The first bytes are not those of a registry.
    #[error("this is no registry: it does not begin with \"roamdiag\"")]
    NotARegistry,
    /// The registry was written by another version.
    #[error(
        "the registry has ABI version {found}, this tracer reads version {ABI_VERSION}: use the roam-trace that belongs to the program's roam-diagnostic"
    )]
    AbiVersion {
        /// The version it has.
        found: u32,
    },
    /// The header contradicts itself.
    #[error("the registry's header is damaged: {0}")]
    Damaged(&'static str),
}

/// What a registry held.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its header, checked.
    pub header: HeaderRecord,
    /// Connection rows, by serial.
    pub connections: BTreeMap<u64, ConnectionRecord>,
    /// Request rows.
    pub requests: Vec<RequestRecord>,
    /// The arguments of requests by their serial, where the process keeps them.
    pub arguments: HashMap<u64, Vec<u8>>,
    /// Channel rows.
    pub channels: Vec<ChannelRecord>,
    /// Method names by method id, as bytes.
    pub methods: HashMap<u64, Vec<u8>>,
    /// Element type names by slot, as bytes.
    pub types: Vec<Vec<u8>>,
    /// Rows that stayed half written while they were read.
    pub torn: u64,
    /// Rows whose content contradicts their place.
    pub refused: u64,
    /// What there was no room or no time for.
    pub left_out: LeftOut,
}

impl Image {
    /// Keeps the names and the connections alone.
    pub fn forget_rows(&mut self) {
        self.requests = Vec::new();
        self.arguments = HashMap::new();
        self.channels = Vec::new();
    }

    /// Events that found a table full.
    pub fn lost(&self, table: Table) -> u64 {
        self.header.tables[table as usize].lost
    }
}

/// Reads a registry, as much of it as a dump shows.
///
/// # Errors
///
/// [`ReadError`] where the memory is unreadable or its header makes no sense. Rows that make no sense are
/// counted in the [`Image`].
pub fn read<M: RegionMemory + ?Sized>(memory: &M) -> Result<Image, ReadError> {
    read_within(memory, &mut Budget::default())
}

/// Reads a registry, as much of it as the budget allows, and takes that from the budget.
///
/// # Errors
///
/// As [`read`].
pub fn read_within<M: RegionMemory + ?Sized>(
    memory: &M,
    budget: &mut Budget,
) -> Result<Image, ReadError> {
    let header = read_header(memory)?;
    let mut reader = Reader::new(memory, header, *budget);
    // A connection outlives its requests, but one may open while requests are read and
    // another may close: look before and after.
    let mut connections = BTreeMap::new();
    reader.read_connections(&mut connections)?;
    let began = |row: &ChannelRecord| (row.opened_ns, row.serial);
    let room = budget.channels.min(budget.rows);
    let (channels, channels_left_out) = reader.read_oldest(Table::Channels, room, began)?;
    let names = [Table::Methods, Table::Types]
        .map(|table| reader.extent(table).1)
        .into_iter()
        .sum::<usize>()
        .min(budget.names);
    // What may be many, and what it is all about, gets what the others leave, and half at the least.
    let others = connections.len() + channels.len() + names;
    let room = budget.rows.saturating_sub(others).max(budget.rows / 2);
    let began = |row: &RequestRecord| (row.started_ns, row.serial);
    let (mut requests, requests_left_out) = reader.read_oldest(Table::Requests, room, began)?;
    // Those who waited longest have their arguments shown if not all can.
    requests.sort_unstable_by_key(began);
    let arguments = reader.read_all_arguments(&requests)?;
    reader.left_out.connections = 0;
    reader.read_connections(&mut connections)?;
    let methods = reader.read_names(Table::Methods, |row: &MethodRecord| {
        (row.method_id, text(&row.name, row.name_bytes))
    })?;
    let types = reader.read_names(Table::Types, |row: &TypeRecord| {
        text(&row.name, row.name_bytes)
    })?;
    *budget = Budget {
        rows: budget.rows.saturating_sub(others + requests.len()),
        connections: budget.connections.saturating_sub(connections.len()),
        channels: budget.channels - channels.len(),
        ..reader.budget
    };
    Ok(Image {
        // The losses as they are now that the rows are read.
        header: read_header(memory)?,
        connections,
        requests,
        arguments,
        channels,
        methods: methods.into_iter().collect(),
        types,
        torn: reader.torn,
        refused: reader.refused,
        left_out: LeftOut {
            requests: requests_left_out,
            channels: channels_left_out,
            ..reader.left_out
        },
    })
}

/// Reads the connections of a registry alone, for their counters, as far as the budget allows, and takes that
/// from the budget.
///
/// # Errors
///
/// As [`read`].
pub fn read_connections<M: RegionMemory + ?Sized>(
    memory: &M,
    budget: &mut Budget,
) -> Result<BTreeMap<u64, ConnectionRecord>, ReadError> {
    let mut reader = Reader::new(memory, read_header(memory)?, *budget);
    let mut connections = BTreeMap::new();
    reader.read_connections(&mut connections)?;
    *budget = reader.budget;
    budget.connections = budget.connections.saturating_sub(connections.len());
    Ok(connections)
}

/// Reads the header of a registry alone.
///
/// # Errors
///
/// As [`read`].
pub fn read_header<M: RegionMemory + ?Sized>(memory: &M) -> Result<HeaderRecord, ReadError> {
    let mut bytes = [0; size_of::<HeaderRecord>()];
    let got = read_full(memory, &mut bytes, 0)?;
    let header = HeaderRecord::read_from_bytes(&bytes).map_err(|_| ReadError::NotARegistry)?;
    if got < bytes.len() || header.magic != MAGIC {
        return Err(ReadError::NotARegistry);
    }
    if header.abi_version != ABI_VERSION {
        return Err(ReadError::AbiVersion {
            found: header.abi_version,
        });
    }
    let end = memory.bytes()?;
    for (table, record) in Table::ALL.into_iter().zip(header.tables) {
        let slot_bytes = table.slot_bytes() as u64;
        if u64::from(record.slot_bytes) != slot_bytes {
            return Err(ReadError::Damaged("a table has slots of another size"));
        }
        if record.capacity > MAX_CAPACITY || record.high_water > record.capacity {
            return Err(ReadError::Damaged(
                "a table claims more slots than it can have",
            ));
        }
        let table_end = record
            .offset
            .checked_add(u64::from(record.capacity) * slot_bytes);
        if record.offset < HEADER_BYTES as u64
            || record.offset % 8 != 0
            || table_end.is_none_or(|table_end| table_end > end)
        {
            return Err(ReadError::Damaged("a table lies outside the region"));
        }
    }
    Ok(header)
}

fn read_full<M: RegionMemory + ?Sized>(
    memory: &M,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match memory.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(bytes) => done += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The part of a name field that is in use.
fn text(field: &[u8], bytes: u32) -> Vec<u8> {
    field[..field.len().min(bytes as usize)].to_vec()
}

/// A row whose sequence and serial the reader checks.
pub trait Row: FromBytes + Copy {
    /// Its sequence number: even while the row is whole.
    fn sequence(&self) -> u64;
    /// Its serial, 0 in a free slot.
    fn serial(&self) -> u64;
}

macro_rules! rows {
    ($($record:ty),*) => {$(
        impl Row for $record {
            fn sequence(&self) -> u64 {
                self.sequence
            }

            fn serial(&self) -> u64 {
                self.serial
            }
        }
    )*};
}

rows!(ConnectionRecord, RequestRecord, ChannelRecord);

struct Reader<'a, M: ?Sized> {
    memory: &'a M,
    header: HeaderRecord,
    /// Waits that are left.
    pauses: u32,
    budget: Budget,
    torn: u64,
    refused: u64,
    left_out: LeftOut,
}

impl<'a, M: RegionMemory + ?Sized> Reader<'a, M> {
    fn new(memory: &'a M, header: HeaderRecord, budget: Budget) -> Self {
        Self {
            memory,
            header,
            pauses: PAUSES,
            budget,
            torn: 0,
            refused: 0,
            left_out: LeftOut::default(),
        }
    }

    fn read_connections(
        &mut self,
        connections: &mut BTreeMap<u64, ConnectionRecord>,
    ) -> io::Result<()> {
        let room = self.budget.connections;
        let mut left_out = 0;
        self.for_each_row::<ConnectionRecord>(Table::Connections, |row| {
            if connections.len() < room || connections.contains_key(&row.serial) {
                connections.insert(row.serial, *row);
            } else {
                left_out += 1;
            }
        })?;
        self.left_out.connections += left_out;
        Ok(())
    }

    fn read_oldest<R: Row>(
        &mut self,
        table: Table,
        room: usize,
        began: fn(&R) -> (u64, u64),
    ) -> io::Result<(Vec<R>, u64)> {
        let mut oldest = Oldest::new(self.extent(table).1, room, began);
        self.for_each_row::<R>(table, |row| oldest.push(*row))?;
        Ok(oldest.finish())
    }

    /// The arguments of requests by their serial.
    fn read_all_arguments(
        &mut self,
        requests: &[RequestRecord],
    ) -> io::Result<HashMap<u64, Vec<u8>>> {
        let mut arguments = HashMap::new();
        for row in requests {
            let bytes = row.arguments_bytes as usize;
            if bytes == 0 || bytes > ARGUMENTS_BYTES {
                continue;
            }
            let Some(left) = self.budget.arguments.checked_sub(1) else {
                self.left_out.arguments += 1;
                continue;
            };
            if let Some(text) = self.read_arguments(row)? {
                self.budget.arguments = left;
                arguments.insert(row.serial, text);
            }
        }
        Ok(arguments)
    }

    /// The arguments of a request, unless the row was released since it was read.
    fn read_arguments(&self, row: &RequestRecord) -> io::Result<Option<Vec<u8>>> {
        let bytes = (row.arguments_bytes as usize).min(ARGUMENTS_BYTES);
        let slot = u64::from(Serial(row.serial).slot());
        let table = self.header.tables[Table::Arguments as usize];
        if slot >= u64::from(table.capacity) {
            return Ok(None);
        }
        let mut buffer = [0; size_of::<ArgumentsRecord>()];
        read_full(
            self.memory,
            &mut buffer,
            table.offset + slot * size_of::<ArgumentsRecord>() as u64,
        )?;
        let now = self.slot::<RequestRecord>(Table::Requests, slot as u32)?;
        Ok(now
            .is_some_and(|now| now.sequence == row.sequence)
            .then(|| buffer[..bytes].to_vec()))
    }

    /// Calls `visit` with every live row of a table.
    fn for_each_row<R: Row>(&mut self, table: Table, mut visit: impl FnMut(&R)) -> io::Result<()> {
        let slot_bytes = size_of::<R>();
        let per_chunk = CHUNK_BYTES / slot_bytes;
        let (offset, slots) = self.extent(table);
        let mut first = 0;
        // The pass before, the rows, and the pass after: a copy that carries its own
        // sequence says nothing about when the rest of it was copied.
        let mut passes = [const { Vec::new() }; 3];
        while first < slots {
            let start = offset + (first * slot_bytes) as u64;
            let Some(data) = self.memory.next_data(start)? else {
                break;
            };
            first += usize::try_from(data.saturating_sub(start)).unwrap_or(usize::MAX) / slot_bytes;
            if first >= slots {
                break;
            }
            let count = per_chunk.min(slots - first).min(self.budget.slots);
            if count == 0 {
                self.left_out.slots += (slots - first) as u64;
                break;
            }
            self.budget.slots -= count;
            let start = offset + (first * slot_bytes) as u64;
            let mut complete = count;
            for pass in &mut passes {
                if pass.len() != count * slot_bytes {
                    *pass = vec![0; count * slot_bytes];
                }
                complete = complete.min(read_full(self.memory, pass, start)? / slot_bytes);
                if !pass[..complete * slot_bytes]
                    .chunks_exact(slot_bytes)
                    .any(|slot| parse::<R>(slot).is_some_and(|row| row.sequence() != 0))
                {
                    complete = 0;
                    break;
                }
            }
            for index in 0..complete {
                let bytes = index * slot_bytes..(index + 1) * slot_bytes;
                let [before, row, after] =
                    [0, 1, 2].map(|pass| parse::<R>(&passes[pass][bytes.clone()]));
                let slot = (first + index) as u32;
                let row = match (before, row, after) {
                    (Some(before), Some(row), Some(after)) if whole(&before, &after) => Some(row),
                    _ => self.retry(table, slot)?,
                };
                if let Some(row) = row
                    && row.serial() != 0
                {
                    if Serial(row.serial()).slot() == slot {
                        visit(&row);
                    } else {
                        self.refused += 1;
                    }
                }
            }
            first += count;
        }
        Ok(())
    }

    /// Looks again at a row that changed while it was read.
    ///
    /// A row whose sequence keeps growing was released and claimed anew each time: what it held has
    /// ended, and what it holds began after the reader did. A row that stays half written is torn.
    fn retry<R: Row>(&mut self, table: Table, slot: u32) -> io::Result<Option<R>> {
        let Some(left) = self.budget.retries.checked_sub(1) else {
            self.left_out.slots += 1;
            return Ok(None);
        };
        self.budget.retries = left;
        let mut sequences = [0; ATTEMPTS];
        for sequence in &mut sequences {
            let before = self.slot::<R>(table, slot)?;
            let row = self.slot::<R>(table, slot)?;
            let after = self.slot::<R>(table, slot)?;
            let (Some(before), Some(row), Some(after)) = (before, row, after) else {
                break;
            };
            if whole(&before, &after) {
                return Ok(Some(row));
            }
            *sequence = after.sequence();
            // Its writer may be waiting for a processor.
            if self.pauses > 0 && before.sequence() == after.sequence() {
                self.pauses -= 1;
                std::thread::sleep(PAUSE);
            }
        }
        let grew = sequences
            .windows(2)
            .any(|pair| pair[1].saturating_sub(pair[0]) > 1);
        self.torn += u64::from(!grew);
        Ok(None)
    }

    fn slot<R: FromBytes>(&self, table: Table, slot: u32) -> io::Result<Option<R>> {
        let mut buffer = [0; 256];
        let buffer = &mut buffer[..size_of::<R>()];
        let offset =
            self.header.tables[table as usize].offset + u64::from(slot) * buffer.len() as u64;
        let got = read_full(self.memory, buffer, offset)?;
        Ok((got == buffer.len()).then(|| parse(buffer)).flatten())
    }

    /// What `take` makes of the complete rows of a table whose rows are never released. Read in parts, since
    /// a table may claim gigabytes that it does not have.
    fn read_names<R: FromBytes + Name, T>(
        &mut self,
        table: Table,
        take: impl Fn(&R) -> T,
    ) -> io::Result<Vec<T>> {
        let (offset, slots) = self.extent(table);
        let room = slots.min(self.budget.names);
        let end = offset + (room * size_of::<R>()) as u64;
        let mut start = offset;
        let mut buffer = vec![0; CHUNK_BYTES / size_of::<R>() * size_of::<R>()];
        let mut names = Vec::new();
        while start < end {
            let bytes = usize::try_from(end - start).unwrap_or(usize::MAX);
            let bytes = bytes.min(buffer.len());
            let got = read_full(self.memory, &mut buffer[..bytes], start)?;
            let complete = names.len() + got / size_of::<R>();
            let rows = buffer[..got]
                .chunks_exact(size_of::<R>())
                .map_while(parse::<R>)
                .take_while(Name::is_complete);
            names.extend(rows.map(|row| take(&row)));
            if names.len() < complete || got < bytes {
                break;
            }
            start += bytes as u64;
        }
        self.budget.names -= names.len();
        if names.len() == room {
            self.left_out.names += (slots - room) as u64;
        }
        Ok(names)
    }

    /// Where a table begins and how many of its slots were ever used.
    fn extent(&self, table: Table) -> (u64, usize) {
        let record = self.header.tables[table as usize];
        (record.offset, record.high_water as usize)
    }
}

/// A row that is complete once its sequence says so.
trait Name {
    fn is_complete(&self) -> bool;
}

impl Name for MethodRecord {
    fn is_complete(&self) -> bool {
        self.sequence == 2
    }
}

impl Name for TypeRecord {
    fn is_complete(&self) -> bool {
        self.sequence == 2
    }
}

fn parse<R: FromBytes>(bytes: &[u8]) -> Option<R> {
    R::read_from_bytes(bytes).ok()
}

fn whole<R: Row>(before: &R, after: &R) -> bool {
    before.sequence() == after.sequence() && before.sequence().is_multiple_of(2)
}
