//! A registry or a hub whose every byte comes from the input, and which may change or shrink between two reads.
//!
//! An input is a list of edits, then the region. An edit is four bytes: before which read it happens, where
//! (two bytes, in words of eight), and what every byte of that word becomes. The list ends with an edit
//! before read 0. Where an edit's word is [`SHRINK`], the region ends so many times 64 bytes behind its
//! header page instead.

use std::cell::{Cell, RefCell};
use std::io;

use roam_dump::read::RegionMemory;
use roam_trace_common::registry::{HEADER_BYTES, HeaderRecord, Table};

/// The word that stands for the region's end.
pub const SHRINK: u16 = u16::MAX;

/// Slots of each table in the corpus.
pub const SLOTS: u32 = 4;

const SHRINK_STEP_BYTES: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Edit {
    read: u8,
    word: u16,
    value: u8,
}

/// Memory that changes while it is read.
#[derive(Debug)]
pub struct Shifting {
    edits: Vec<Edit>,
    reads: Cell<u8>,
    bytes: RefCell<Vec<u8>>,
}

impl Shifting {
    /// The registry that an input stands for.
    pub fn new(input: &[u8]) -> Self {
        Self::with(input, unpack)
    }

    /// The hub that an input stands for, all of whose bytes are in the input.
    pub fn hub(input: &[u8]) -> Self {
        Self::with(input, <[u8]>::to_vec)
    }

    fn with(input: &[u8], unpack: fn(&[u8]) -> Vec<u8>) -> Self {
        let mut edits = Vec::new();
        let mut rest = input;
        while let Some((&[read, low, high, value], behind)) = rest.split_first_chunk::<4>() {
            rest = behind;
            if read == 0 {
                break;
            }
            edits.push(Edit {
                read,
                word: u16::from_le_bytes([low, high]),
                value,
            });
        }
        Self {
            edits,
            reads: Cell::new(0),
            bytes: RefCell::new(unpack(rest)),
        }
    }

    fn apply_edits(&self) {
        let read = self.reads.get().wrapping_add(1);
        self.reads.set(read);
        let mut bytes = self.bytes.borrow_mut();
        for edit in self.edits.iter().filter(|edit| edit.read == read) {
            if edit.word == SHRINK {
                let end = HEADER_BYTES + usize::from(edit.value) * SHRINK_STEP_BYTES;
                bytes.truncate(end);
            } else if let Some(word) = bytes.chunks_exact_mut(8).nth(edit.word.into()) {
                word.fill(edit.value);
            }
        }
    }
}

impl RegionMemory for Shifting {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.bytes.borrow().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.apply_edits();
        self.bytes.borrow().as_slice().read_at(buffer, offset)
    }
}

/// The header page is mostly empty, so an input leaves that part out.
fn unpack(packed: &[u8]) -> Vec<u8> {
    let (header, tables) = packed.split_at(packed.len().min(size_of::<HeaderRecord>()));
    let mut bytes = header.to_vec();
    if !tables.is_empty() {
        bytes.resize(HEADER_BYTES, 0);
    }
    bytes.extend(tables);
    bytes
}

/// Encodes an input: edits, and a region with the rows that `row` returns, which may be shorter than a slot.
pub fn pack(edits: &[(u8, u16, u8)], mut row: impl FnMut(Table, u32) -> Vec<u8>) -> Vec<u8> {
    let header = registry_image::header([SLOTS; Table::ALL.len()]);
    let mut image = vec![0; registry_image::bytes(&header) as usize];
    registry_image::put_header(&mut image, &header);
    for table in Table::ALL {
        for slot in 0..SLOTS {
            let row = row(table, slot);
            registry_image::put(&mut image, &header, table, slot.into(), &row[..]);
        }
    }
    let mut input = Vec::new();
    for &(read, word, value) in edits {
        input.push(read);
        input.extend(word.to_le_bytes());
        input.push(value);
    }
    input.extend([0; 4]);
    input.extend(&image[..size_of::<HeaderRecord>()]);
    input.extend(&image[HEADER_BYTES..]);
    input
}
