//! The probe sites of a binary, from its `.note.stapsdt` notes.
//!
//! Owns the decoding of ELF files, every byte of which may be hostile: the
//! traced user wrote them. Never attaches to anything.
//!
//! The notes are those of SystemTap: three addresses (site, base, semaphore)
//! and three strings (provider, name, arguments). See
//! <https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation>.

use std::io::{Read, Seek};

use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64, PF_X, PT_LOAD, SectionHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, ReadCache, ReadRef};
use roam_trace_common::event::PROVIDER;
use thiserror::Error;

/// Bytes that one part of a file (its section table, its notes) may have.
const MAX_PART_BYTES: u64 = 4 << 20;

/// Probe sites that a file may have.
const MAX_SITES: usize = 4_096;

/// A function that the linker dropped leaves its note behind, with an address that counts from 0. A program
/// that never closes a channel has no such probe, and that is no damage.
const DROPPED_BELOW: u64 = 0x1000;

/// Section and type of the notes.
const NOTE_SECTION: &[u8] = b".note.stapsdt";
const NOTE_NAME: &[u8] = b"stapsdt";
const NOTE_TYPE: u32 = 3;

/// Section whose address shows by how much a tool moved the file after it was linked.
const BASE_SECTION: &[u8] = b".stapsdt.base";

/// What a site consists of: a nop, and on x86-64 a long one behind it, since Linux 6.18 turns
/// a five-byte nop at a probe site into a call that overwrites the red zone.
const SITE_X86_64: &[u8] = &[
    0x90, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00,
];
const SITE_AARCH64: &[u8] = &[0x1f, 0x20, 0x03, 0xd5];

/// Bytes of the longest site.
pub(crate) const MAX_SITE_BYTES: usize = SITE_X86_64.len();

/// A site in a binary where a probe of roam fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSite {
    /// Always [`PROVIDER`].
    pub provider: String,
    /// The probe's name.
    pub name: String,
    /// Address of the site's first nop, in the file's own numbering.
    pub address: u64,
    /// Bytes from the start of the file to that nop.
    pub file_offset: u64,
    /// The note's base address. 0 is a defect of the linker: the site cannot be corrected when
    /// the file was moved.
    pub base: u64,
    /// Address of the probe's semaphore, 0 for none.
    pub semaphore: u64,
    /// Where the arguments are, such as `8@%rdi 8@%rsi`.
    pub arguments: String,
}

/// Why the sites of a file are not known.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ElfError {
    /// The file is not a 64-bit ELF file, or its headers point outside of it.
    #[error("not a valid 64-bit ELF file: {0}")]
    Malformed(String),
    /// roam has no probes for the machine of the file.
    #[error("roam has no probes for ELF machine {0}, only for x86-64 and AArch64")]
    Machine(u16),
    /// A note is invalid.
    #[error("probe note {index} is invalid: {problem}")]
    Note {
        /// Which note, counted from 0.
        index: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A note's address is in no executable part of the file.
    #[error("probe `{name}` at {address:#x} is outside the code of the file")]
    Outside {
        /// The probe.
        name: String,
        /// Where its note says it is.
        address: u64,
    },
    /// There is no nop at the address of a note, so that no probe may be attached there.
    #[error("probe `{name}` at {address:#x} is not a probe site: found the bytes {found:02x?}")]
    NoSite {
        /// The probe.
        name: String,
        /// Where its note says it is.
        address: u64,
        /// The bytes there.
        found: Vec<u8>,
    },
    /// The file has more sites than any program has.
    #[error("more than {MAX_SITES} probe sites")]
    TooMany,
}

impl From<object::read::Error> for ElfError {
    fn from(error: object::read::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Reads the probe sites of roam from an open file. Reads only the parts that are needed.
///
/// # Errors
///
/// As [`probe_sites`].
pub fn file_probe_sites<F: Read + Seek>(file: F) -> Result<Vec<ProbeSite>, ElfError> {
    probe_sites(&ReadCache::new(file))
}

/// Reads the probe sites of roam; skips those of other providers. A file without probe sites is no
/// error.
///
/// # Errors
///
/// [`ElfError`] if the file cannot be decoded or a note does not match its code.
pub fn probe_sites<'data, R: ReadRef<'data>>(data: R) -> Result<Vec<ProbeSite>, ElfError> {
    let data = Bounded(data);
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let expected = expected_site(header.e_machine(endian))?;
    let segments = header.program_headers(endian, data)?;
    let sections = header.sections(endian, data)?;
    let Some((_, notes)) = sections.section_by_name(endian, NOTE_SECTION) else {
        return Ok(Vec::new());
    };
    let base = sections
        .section_by_name(endian, BASE_SECTION)
        .map(|(_, section)| section.sh_addr(endian));

    let mut sites = Vec::new();
    for (index, note) in raw_notes(notes, endian, data)?.enumerate() {
        let (kind, description) = note.map_err(|_| ElfError::Note {
            index,
            problem: "longer than its section",
        })?;
        if kind != NOTE_TYPE {
            continue;
        }
        let note = Note::decode(description, endian)
            .map_err(|problem| ElfError::Note { index, problem })?;
        if note.provider != PROVIDER || note.address < DROPPED_BELOW {
            continue;
        }
        if sites.len() == MAX_SITES {
            return Err(ElfError::TooMany);
        }
        sites.push(locate(note, base, segments, endian, data, expected)?);
    }
    Ok(sites)
}

/// The bytes that every site of a machine starts with.
fn expected_site(machine: u16) -> Result<&'static [u8], ElfError> {
    match machine {
        EM_X86_64 => Ok(SITE_X86_64),
        EM_AARCH64 => Ok(SITE_AARCH64),
        other => Err(ElfError::Machine(other)),
    }
}

/// Returns whether bytes read from a binary of this machine start with a probe site.
pub(crate) fn is_site(bytes: &[u8]) -> bool {
    let expected = if cfg!(target_arch = "aarch64") {
        SITE_AARCH64
    } else {
        SITE_X86_64
    };
    bytes.starts_with(expected)
}

/// The SystemTap notes of a section: type and description.
fn raw_notes<'data, R: ReadRef<'data>>(
    section: &SectionHeader64<Endianness>,
    endian: Endianness,
    data: Bounded<R>,
) -> Result<impl Iterator<Item = object::read::Result<(u32, &'data [u8])>>, ElfError> {
    let mut notes = section
        .notes(endian, data)?
        .ok_or_else(|| ElfError::Malformed("its notes are in a section of another type".into()))?;
    Ok(std::iter::from_fn(move || {
        loop {
            match notes.next() {
                Ok(Some(note)) if note.name() == NOTE_NAME => {
                    return Some(Ok((note.n_type(endian), note.desc())));
                }
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }))
}

/// A note's description.
struct Note<'data> {
    address: u64,
    base: u64,
    semaphore: u64,
    provider: &'data str,
    name: &'data str,
    arguments: &'data str,
}

impl<'data> Note<'data> {
    fn decode(description: &'data [u8], endian: Endianness) -> Result<Self, &'static str> {
        use object::Endian;
        let (addresses, strings) = description
            .split_first_chunk::<24>()
            .ok_or("shorter than its addresses")?;
        let mut words = addresses
            .chunks_exact(8)
            .map(|word| endian.read_u64_bytes(word.try_into().unwrap_or_default()));
        let mut next_word = || words.next().unwrap_or_default();
        let mut strings = strings.split(|byte| *byte == 0);
        let mut next_string = || {
            let bytes = strings.next().ok_or("a string is missing")?;
            if !bytes.iter().all(|byte| (0x20..0x7f).contains(byte)) {
                return Err("a string is not printable");
            }
            str::from_utf8(bytes).map_err(|_| "a string is not printable")
        };
        Ok(Self {
            address: next_word(),
            base: next_word(),
            semaphore: next_word(),
            provider: next_string()?,
            name: next_string()?,
            arguments: next_string()?,
        })
    }
}

/// Finds a note's site in the file and makes sure that it is one.
fn locate<'data, R: ReadRef<'data>>(
    note: Note<'_>,
    base: Option<u64>,
    segments: &[object::elf::ProgramHeader64<Endianness>],
    endian: Endianness,
    data: Bounded<R>,
    expected: &[u8],
) -> Result<ProbeSite, ElfError> {
    // Tools that move a file's sections move this one along, but do not know of the notes.
    let moved = match base {
        Some(actual) if note.base != 0 => actual.wrapping_sub(note.base),
        _ => 0,
    };
    let address = note.address.wrapping_add(moved);
    let outside = || ElfError::Outside {
        name: note.name.to_owned(),
        address,
    };
    let file_offset = file_offset(address, segments, endian).ok_or_else(outside)?;
    let found = data
        .read_bytes_at(file_offset, expected.len() as u64)
        .map_err(|()| outside())?;
    if found != expected {
        return Err(ElfError::NoSite {
            name: note.name.to_owned(),
            address,
            found: found.to_vec(),
        });
    }
    let semaphore = match note.semaphore {
        0 => 0,
        semaphore => semaphore.wrapping_add(moved),
    };
    Ok(ProbeSite {
        provider: note.provider.to_owned(),
        name: note.name.to_owned(),
        address,
        file_offset,
        base: note.base,
        semaphore,
        arguments: note.arguments.to_owned(),
    })
}

/// Where in the file the code at an address comes from.
fn file_offset(
    address: u64,
    segments: &[object::elf::ProgramHeader64<Endianness>],
    endian: Endianness,
) -> Option<u64> {
    segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD && segment.p_flags(endian) & PF_X != 0)
        .find_map(|segment| {
            let into = address.checked_sub(segment.p_vaddr(endian))?;
            (into < segment.p_filesz(endian))
                .then(|| segment.p_offset(endian).checked_add(into))
                .flatten()
        })
}

/// Refuses to read large parts of a file, so that headers that claim much cost nothing.
#[derive(Clone, Copy)]
struct Bounded<R>(R);

impl<'data, R: ReadRef<'data>> ReadRef<'data> for Bounded<R> {
    fn len(self) -> Result<u64, ()> {
        self.0.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'data [u8], ()> {
        if size > MAX_PART_BYTES {
            return Err(());
        }
        self.0.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(
        self,
        range: std::ops::Range<u64>,
        delimiter: u8,
    ) -> Result<&'data [u8], ()> {
        self.0.read_bytes_at_until(range, delimiter)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use roam_trace_common::event::PROBES;

    use super::*;

    /// This test binary, with the probes linked in.
    fn own_image() -> Vec<u8> {
        roam_diagnostic::probe::request_start(0, 0, 0, 0, 0, 0, 0);
        roam_diagnostic::probe::request_phase(0, 0, 0, 0);
        roam_diagnostic::probe::request_end(0, 0, 0);
        roam_diagnostic::probe::channel_open(0, 0, 0, 0, 0, 0);
        roam_diagnostic::probe::channel_data(0, 0, 0, 0);
        roam_diagnostic::probe::channel_close(0);
        roam_diagnostic::probe::connection_open(0, 0, 0, 0);
        roam_diagnostic::probe::connection_close(0);
        fs::read("/proc/self/exe").unwrap()
    }

    /// Where in an image the notes are.
    fn notes_range(image: &[u8]) -> std::ops::Range<usize> {
        let header = FileHeader64::<Endianness>::parse(image).unwrap();
        let endian = header.endian().unwrap();
        let sections = header.sections(endian, image).unwrap();
        let (_, notes) = sections.section_by_name(endian, NOTE_SECTION).unwrap();
        let start = notes.sh_offset(endian) as usize;
        start..start + notes.sh_size(endian) as usize
    }

    fn position(image: &[u8], pattern: &[u8]) -> usize {
        let range = notes_range(image);
        range.start
            + image[range]
                .windows(pattern.len())
                .position(|window| window == pattern)
                .unwrap()
    }

    #[test]
    fn finds_every_probe_of_this_binary_at_its_nops() {
        let image = own_image();
        let sites = probe_sites(image.as_slice()).unwrap();
        for probe in PROBES {
            let site = sites.iter().find(|site| site.name == probe).unwrap();
            assert_ne!(site.base, 0);
            assert!(is_site(&image[site.file_offset as usize..]));
        }
        let start = sites.iter().find(|site| site.name == "request_start");
        if cfg!(target_arch = "x86_64") {
            assert_eq!(
                start.unwrap().arguments.trim(),
                "8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8 8@%r9 8@%rax"
            );
        }
        let file = fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(file_probe_sites(file).unwrap(), sites);
    }

    #[test]
    fn follows_a_file_whose_addresses_were_moved() {
        let image = own_image();
        let expected = probe_sites(image.as_slice()).unwrap();
        let mut moved = image.clone();
        let name = position(&image, b"roam\0request_end\0");
        // Site and base as they were before some tool moved everything up by a page.
        for field in [name - 24, name - 16] {
            let word = u64::from_le_bytes(moved[field..field + 8].try_into().unwrap());
            moved[field..field + 8].copy_from_slice(&(word - 0x1000).to_le_bytes());
        }
        let sites = probe_sites(moved.as_slice()).unwrap();
        let find = |sites: &[ProbeSite]| {
            let site = sites.iter().find(|site| site.name == "request_end");
            site.map(|site| (site.address, site.file_offset)).unwrap()
        };
        assert_eq!(find(&sites), find(&expected));
    }

    #[test]
    fn skips_other_providers() {
        let image = own_image();
        let mut other = image.clone();
        let name = position(&image, b"roam\0request_end\0");
        other[name..name + 4].copy_from_slice(b"libc");
        let sites = probe_sites(other.as_slice()).unwrap();
        assert!(sites.iter().all(|site| site.name != "request_end"));
    }

    #[test]
    fn refuses_a_site_that_is_none() {
        let mut image = own_image();
        let site = probe_sites(image.as_slice()).unwrap().remove(0);
        image[site.file_offset as usize] = 0xcc;
        assert!(matches!(
            probe_sites(image.as_slice()),
            Err(ElfError::NoSite { name, .. }) if name == site.name
        ));
    }

    #[test]
    fn skips_a_probe_whose_code_was_dropped() {
        let mut image = own_image();
        let name = position(&image, b"roam\0request_end\0");
        image[name - 24..name - 16].copy_from_slice(&0x12_u64.to_le_bytes());
        let sites = probe_sites(image.as_slice()).unwrap();
        assert!(sites.iter().all(|site| site.name != "request_end"));
        assert!(!sites.is_empty());
    }

    #[test]
    fn refuses_a_site_outside_of_the_code() {
        let mut image = own_image();
        let name = position(&image, b"roam\0request_end\0");
        image[name - 24..name - 16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(
            probe_sites(image.as_slice()),
            Err(ElfError::Outside { name, .. }) if name == "request_end"
        ));
    }

    #[test]
    fn refuses_names_that_are_not_printable() {
        let mut image = own_image();
        let name = position(&image, b"roam\0request_end\0");
        image[name + 5] = 0x1b;
        assert!(matches!(
            probe_sites(image.as_slice()),
            Err(ElfError::Note { .. })
        ));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let _ = probe_sites(bytes.as_slice());
        }

        #[test]
        fn arbitrary_notes_never_panic(
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..40),
        ) {
            let mut image = own_image();
            let notes = notes_range(&image);
            for (index, byte) in damage {
                image[notes.start + index.index(notes.len())] = byte;
            }
            let _ = probe_sites(image.as_slice());
        }

        #[test]
        fn arbitrary_headers_never_panic(
            damage in proptest::collection::vec((0_usize..1024, any::<u8>()), 1..20),
        ) {
            let mut image = own_image();
            for (index, byte) in damage {
                image[index] = byte;
            }
            let _ = probe_sites(image.as_slice());
        }
    }
}
