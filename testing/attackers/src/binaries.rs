//! Attacks by what a process runs code from: how many files, how large, and with which probes.

use std::fs::File;
use std::io::Result as IoResult;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::thread;

use anyhow::{Result, ensure};
use roam_trace_common::event::{Direction, Phase, RequestKind, pack_request};

use crate::registry::{map, named_memory_file, publish_empty};
use crate::siege::Siege;

const PAGE_BYTES: usize = 4_096;
const ELF_HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const SECTION_BYTES: usize = 64;
/// Kinds of section.
const PROGBITS: u32 = 1;
const STRINGS: u32 = 3;
const NOTE: u32 = 7;
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(not(target_arch = "x86_64"))]
const MACHINE: u16 = 183;

/// Files with more sections than a reader likes to look at, each mapped as code and each another file.
pub(crate) fn large(siege: &mut Siege, processes: u32, files: u32, sections: u16) -> Result<()> {
    for _ in 0..processes {
        siege.start(|| {
            for _ in 0..files {
                let file = named_memory_file("library", 0)?;
                let table = PAGE_BYTES;
                let strings = table + usize::from(sections) * SECTION_BYTES;
                file.set_len((strings + PAGE_BYTES) as u64)?;
                file.write_all_at(&elf_header(table, sections), 0)?;
                let names = section(0, STRINGS, strings, 1);
                file.write_all_at(&names, (table + SECTION_BYTES) as u64)?;
                map(&file, PAGE_BYTES, libc::PROT_READ | libc::PROT_EXEC)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A registered process whose peers run code from an enormous file, in which a tracer looks for a name.
pub(crate) fn search(siege: &mut Siege, processes: u32, megabytes: u64) -> Result<()> {
    let file = named_memory_file("program", 0)?;
    file.set_len(megabytes << 20)?;
    let pairs = (0..processes).map(|_| UnixStream::pair());
    let (near, far): (Vec<_>, Vec<_>) = pairs.collect::<IoResult<Vec<_>>>()?.into_iter().unzip();
    for end in far {
        siege.start(|| {
            map(&file, PAGE_BYTES, libc::PROT_READ | libc::PROT_EXEC)?;
            std::mem::forget(end);
            Ok(())
        })?;
    }
    // The last one: it must not hold both ends.
    siege.start(|| publish_empty().map(|()| std::mem::forget(near)))?;
    Ok(())
}

/// Starts of requests that never end, each with a serial of its own, as fast as a processor can.
pub(crate) fn firing(siege: &mut Siege, threads: u32) -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "its code is for x86-64");
    siege.start(|| {
        publish_empty()?;
        let file = probed_file()?;
        let start = map(&file, PAGE_BYTES, libc::PROT_READ | libc::PROT_EXEC)? + CODE_OFFSET;
        for index in 0..u64::from(threads) {
            thread::Builder::new().spawn(move || {
                // SAFETY: `CODE` keeps to the C calling convention and never returns.
                let fire: extern "C" fn(u64, u64, u64, u64, u64, u64) -> ! =
                    unsafe { std::mem::transmute(start as *const ()) };
                let packed = pack_request(Direction::Outgoing, Phase::Sent, RequestKind::Call);
                fire(index << 56, 0, 0, 0, packed, 0)
            })?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Adds one to the first argument, passes the two nops of a probe site, and begins anew.
const CODE: [u8; 16] = [
    0x48, 0xff, 0xc7, 0x90, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00, 0xeb, 0xf0,
];
const CODE_OFFSET: usize = 1_024;
const SITE_OFFSET: usize = CODE_OFFSET + 3;

/// An ELF file with [`CODE`] and the note of a probe that is in it.
fn probed_file() -> IoResult<File> {
    const NOTES_OFFSET: usize = 512;
    const NAMES_OFFSET: usize = 768;
    const TABLE_OFFSET: usize = 2_048;
    const ADDRESS: usize = 0x10_0000;
    let names = b"\0.note.stapsdt\0.stapsdt.base\0";
    let note = note(ADDRESS + SITE_OFFSET, ADDRESS);
    let file = named_memory_file("probes", 0)?;
    file.set_len(PAGE_BYTES as u64)?;
    let mut content = vec![0; PAGE_BYTES];
    let mut put = |offset: usize, bytes: &[u8]| {
        content[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(0, &elf_header(TABLE_OFFSET, 4));
    // Loadable, to be read and executed, all of the file.
    let words = [
        0x5_0000_0001,
        0,
        ADDRESS,
        ADDRESS,
        PAGE_BYTES,
        PAGE_BYTES,
        PAGE_BYTES,
    ];
    let segment: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    put(ELF_HEADER_BYTES, &segment);
    put(NOTES_OFFSET, &note);
    put(NAMES_OFFSET, names);
    put(CODE_OFFSET, &CODE);
    let sections = [
        [0; SECTION_BYTES],
        section(0, STRINGS, NAMES_OFFSET, names.len()),
        section(1, NOTE, NOTES_OFFSET, note.len()),
        // Its address is what matters.
        section(15, PROGBITS, ADDRESS, 1),
    ];
    put(TABLE_OFFSET, &sections.concat());
    file.write_all_at(&content, 0)?;
    Ok(file)
}

/// The header of an ELF file with one program header, and a section of names behind the empty one.
fn elf_header(section_table: usize, sections: u16) -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    let mut put = |bytes: &[u8]| header.extend_from_slice(bytes);
    // A shared object.
    put(&3_u16.to_le_bytes());
    put(&MACHINE.to_le_bytes());
    put(&1_u32.to_le_bytes());
    for word in [0, ELF_HEADER_BYTES, section_table] {
        put(&word.to_le_bytes());
    }
    put(&0_u32.to_le_bytes());
    let (header_bytes, program, one) = (ELF_HEADER_BYTES, PROGRAM_HEADER_BYTES, SECTION_BYTES);
    for half in [header_bytes, program, 1, one, usize::from(sections), 1] {
        put(&(half as u16).to_le_bytes());
    }
    header
}

/// The header of a section whose address is its offset.
fn section(name: u32, kind: u32, offset: usize, bytes: usize) -> [u8; SECTION_BYTES] {
    let mut header = [0; SECTION_BYTES];
    header[..4].copy_from_slice(&name.to_le_bytes());
    header[4..8].copy_from_slice(&kind.to_le_bytes());
    for (index, word) in [(2, offset), (3, offset), (4, bytes)] {
        header[8 * index..][..8].copy_from_slice(&word.to_le_bytes());
    }
    header
}

/// SystemTap's note of the probe `request_start`.
fn note(site: usize, base: usize) -> Vec<u8> {
    let mut description: Vec<u8> = [site, base, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    description.extend_from_slice(
        b"roam\0request_start\x008@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8 8@%r9 8@%rax\0",
    );
    let mut note = Vec::new();
    for word in [8, description.len() as u32, 3] {
        note.extend_from_slice(&word.to_le_bytes());
    }
    note.extend_from_slice(b"stapsdt\0");
    note.extend_from_slice(&description);
    note.resize(note.len().next_multiple_of(4), 0);
    note
}
