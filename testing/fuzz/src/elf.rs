//! The smallest ELF file that has a probe: one executable segment, one site, one note.

use object::elf;

/// Where the site is, in the file and in memory.
const SITE_OFFSET: u64 = 0x100;
const ADDRESS: u64 = 0x40_0000;
const BASE: u64 = 0x50_0000;
const SITE: [u8; 11] = [
    0x90, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00,
];
const NAMES: &[u8] = b"\0.note.stapsdt\0.stapsdt.base\0.shstrtab\0";

/// An x86-64 file with one note, which says of its site `provider\0name\0arguments\0` as in `strings`.
pub fn with_note(strings: &[u8]) -> Vec<u8> {
    let mut description = Vec::new();
    for word in [ADDRESS + SITE_OFFSET, BASE, 0] {
        description.extend(word.to_le_bytes());
    }
    description.extend(strings);
    let mut note = Vec::new();
    for word in [8, description.len() as u32, 3] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"stapsdt\0");
    note.extend(description);
    note.resize(note.len().next_multiple_of(4), 0);

    let mut code = SITE.to_vec();
    code.resize(16, 0xcc);
    let note_offset = SITE_OFFSET + code.len() as u64;
    let names_offset = note_offset + note.len() as u64;
    let sections_offset = (names_offset + NAMES.len() as u64).next_multiple_of(8);
    let end = sections_offset + 4 * 64;

    let mut file = file_header(sections_offset);
    file.extend(segment(end));
    file.resize(SITE_OFFSET as usize, 0);
    file.extend(code);
    file.extend(&note);
    file.extend(NAMES);
    file.resize(sections_offset as usize, 0);
    for (name, kind, address, offset, bytes) in [
        ("", elf::SHT_NULL, 0, 0, 0),
        (".note.stapsdt", elf::SHT_NOTE, 0, note_offset, note.len()),
        (".stapsdt.base", elf::SHT_PROGBITS, BASE, note_offset, 1),
        (".shstrtab", elf::SHT_STRTAB, 0, names_offset, NAMES.len()),
    ] {
        file.extend(section(name, kind, address, offset, bytes as u64));
    }
    file
}

fn file_header(sections_offset: u64) -> Vec<u8> {
    let mut header = elf::ELFMAG.to_vec();
    header.extend([elf::ELFCLASS64, elf::ELFDATA2LSB, elf::EV_CURRENT]);
    header.resize(16, 0);
    header.extend(elf::ET_EXEC.to_le_bytes());
    header.extend(elf::EM_X86_64.to_le_bytes());
    header.extend(1_u32.to_le_bytes());
    for word in [ADDRESS + SITE_OFFSET, 64, sections_offset] {
        header.extend(word.to_le_bytes());
    }
    header.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 4, 3] {
        header.extend(half.to_le_bytes());
    }
    header
}

fn segment(bytes: u64) -> Vec<u8> {
    let mut segment = elf::PT_LOAD.to_le_bytes().to_vec();
    segment.extend((elf::PF_R | elf::PF_X).to_le_bytes());
    for word in [0, ADDRESS, ADDRESS, bytes, bytes, 0x1000] {
        segment.extend(word.to_le_bytes());
    }
    segment
}

fn section(name: &str, kind: u32, address: u64, offset: u64, bytes: u64) -> Vec<u8> {
    let at = NAMES
        .windows(name.len() + 1)
        .position(|window| window.split_last() == Some((&0, name.as_bytes())))
        .unwrap_or_default();
    let mut section = (at as u32).to_le_bytes().to_vec();
    section.extend(kind.to_le_bytes());
    for word in [0, address, offset, bytes] {
        section.extend(word.to_le_bytes());
    }
    section.extend([0; 8]);
    for word in [4_u64, 0] {
        section.extend(word.to_le_bytes());
    }
    section
}
