//! Reads the tables of a registry, each as far as the budget allows.

use std::collections::BTreeMap;
use std::io;

use foldhash::HashMap;
use roam_trace_common::Serial;
use roam_trace_common::limits::ARGUMENTS_BYTES;
use roam_trace_common::registry::{
    ArgumentsRecord, ChannelRecord, ConnectionRecord, MethodRecord, RequestRecord, Table,
    TypeRecord,
};

use super::budget::Budget;
use super::header::{ReadError, read_header};
use super::image::{Image, Truncated};
use super::memory::{RegionMemory, read_full};
use super::oldest::Oldest;
use super::scan::{Row, Scan};

/// Reads a registry, as much of it as a dump shows.
///
/// # Errors
///
/// [`ReadError`] if the memory is unreadable or its header is invalid. Invalid rows are counted in the
/// [`Image`].
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
    let mut scan = Scan::new(memory, header, *budget);
    // A connection outlives its requests, but one may open while requests are read and
    // another may close: scan them before and after.
    let mut connections = BTreeMap::new();
    scan.read_connections(&mut connections)?;
    let began = |row: &ChannelRecord| (row.opened_ns, row.serial);
    let room = budget.channels.min(budget.rows);
    let (channels, channels_truncated) = scan.read_oldest(Table::Channels, room, began)?;
    let names = [Table::Methods, Table::Types]
        .map(|table| scan.extent(table).1)
        .into_iter()
        .sum::<usize>()
        .min(budget.names);
    // What may be many, and what it is all about, gets what the others leave, and half at the least.
    let others = connections.len() + channels.len() + names;
    let room = budget.rows.saturating_sub(others).max(budget.rows / 2);
    let began = |row: &RequestRecord| (row.started_ns, row.serial);
    let (mut requests, requests_truncated) = scan.read_oldest(Table::Requests, room, began)?;
    // Those who waited longest have their arguments shown if not all can.
    requests.sort_unstable_by_key(began);
    let arguments = scan.read_all_arguments(&requests)?;
    // Of those that were opened meanwhile, requests may be in slots that were read.
    scan.header = read_header(memory)?;
    scan.truncated.connections = 0;
    scan.read_connections(&mut connections)?;
    let methods = scan.read_method_names()?;
    let types = scan.read_names(Table::Types, |row: &TypeRecord| {
        text(&row.name, row.name_bytes)
    })?;
    let statistics = scan.read_statistics()?;
    *budget = Budget {
        rows: budget.rows.saturating_sub(others + requests.len()),
        connections: budget.connections.saturating_sub(connections.len()),
        channels: budget.channels - channels.len(),
        ..scan.budget
    };
    Ok(Image {
        // The losses as they are now that the rows are read.
        header: read_header(memory)?,
        connections,
        requests,
        arguments,
        channels,
        methods,
        types,
        statistics,
        torn: scan.torn,
        invalid: scan.invalid,
        truncated: Truncated {
            requests: requests_truncated,
            channels: channels_truncated,
            ..scan.truncated
        },
    })
}

/// Reads the serials of the requests and of the channels that are in flight, as far as the budget allows, and takes that
/// from the budget.
///
/// # Errors
///
/// As [`read`].
pub fn read_serials<M: RegionMemory + ?Sized>(
    memory: &M,
    budget: &mut Budget,
) -> Result<[Vec<u64>; 2], ReadError> {
    let mut scan = Scan::new(memory, read_header(memory)?, *budget);
    let [mut requests, mut channels] = [Vec::new(), Vec::new()];
    scan.for_each_row::<RequestRecord>(Table::Requests, |row| requests.push(row.serial))?;
    scan.for_each_row::<ChannelRecord>(Table::Channels, |row| channels.push(row.serial))?;
    *budget = scan.budget;
    Ok([requests, channels])
}

/// Reads only what a registry holds of methods, their names and statistics, as far as the budget allows, and takes that
/// from the budget.
///
/// # Errors
///
/// As [`read`].
pub fn read_methods<M: RegionMemory + ?Sized>(
    memory: &M,
    budget: &mut Budget,
) -> Result<Image, ReadError> {
    let header = read_header(memory)?;
    let mut scan = Scan::new(memory, header, *budget);
    let methods = scan.read_method_names()?;
    let statistics = scan.read_statistics()?;
    *budget = scan.budget;
    Ok(Image {
        header,
        connections: BTreeMap::new(),
        requests: Vec::new(),
        arguments: HashMap::default(),
        channels: Vec::new(),
        methods,
        types: Vec::new(),
        statistics,
        torn: 0,
        invalid: 0,
        truncated: scan.truncated,
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
    let mut scan = Scan::new(memory, read_header(memory)?, *budget);
    let mut connections = BTreeMap::new();
    scan.read_connections(&mut connections)?;
    *budget = scan.budget;
    budget.connections = budget.connections.saturating_sub(connections.len());
    Ok(connections)
}

/// The part of a name field that is in use.
fn text(field: &[u8], bytes: u32) -> Vec<u8> {
    field[..field.len().min(bytes as usize)].to_vec()
}

impl<M: RegionMemory + ?Sized> Scan<'_, M> {
    fn read_method_names(&mut self) -> io::Result<HashMap<u64, Vec<u8>>> {
        let names = self.read_names(Table::Methods, |row: &MethodRecord| {
            (row.method_id, text(&row.name, row.name_bytes))
        })?;
        Ok(names.into_iter().collect())
    }

    fn read_connections(
        &mut self,
        connections: &mut BTreeMap<u64, ConnectionRecord>,
    ) -> io::Result<()> {
        let room = self.budget.connections;
        let mut truncated = 0;
        self.for_each_row::<ConnectionRecord>(Table::Connections, |row| {
            if connections.len() < room || connections.contains_key(&row.serial) {
                connections.insert(row.serial, *row);
            } else {
                truncated += 1;
            }
        })?;
        self.truncated.connections += truncated;
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
        let mut arguments = HashMap::default();
        for row in requests {
            let bytes = row.arguments_bytes as usize;
            if bytes == 0 || bytes > ARGUMENTS_BYTES {
                continue;
            }
            let Some(left) = self.budget.arguments.checked_sub(1) else {
                self.truncated.arguments += 1;
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
}
