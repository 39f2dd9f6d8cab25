//! The files that a process runs code from, and the probes in them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use memchr::memmem;
use roam_dump::decode::printable;
use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, statx};
use rustix::io::Errno;

use super::maps::{FileId, for_each_mapping};
use super::proc::Process;
use crate::elf::{self, ElfError, ProbeSite};
use crate::error::TargetError;

/// Bytes that are searched for a name at the most, over all files of a process.
const SEARCH_BYTES: u64 = 1 << 30;
const CHUNK_BYTES: usize = 1 << 20;

const OPEN_FILES: &str = "open the executable and the libraries of";

/// What every binary built on the published roam-session has in it, stripped or not: the crate's paths in
/// panic messages, or its type names.
const PUBLISHED: &[u8] = b"roam_session";
const PUBLISHED_PATH: &[u8] = b"roam-session-0.";

/// A file that a process runs code from.
#[derive(Debug)]
pub struct Binary {
    /// Its name, printable.
    pub name: String,
    /// The file behind it.
    pub file: FileId,
    /// Opened as a path, which has no effect on the file.
    handle: File,
}

impl Binary {
    /// Returns where this process can open it, as long as this value lives. Whatever happens to the file's name,
    /// it is the file that is mapped.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.handle.as_raw_fd()))
    }

    /// Reads the probes in it, or why they are not known. `process` is the one that runs it.
    ///
    /// # Errors
    ///
    /// This process has no memory or descriptors left to open the file.
    pub fn probe_sites(
        &self,
        process: &Process,
    ) -> Result<Result<Vec<ProbeSite>, ElfError>, TargetError> {
        match File::open(self.path()) {
            Ok(file) => Ok(elf::file_probe_sites(file)),
            Err(error) if is_shortage(&error) => Err(process.error(OPEN_FILES, error)),
            Err(error) => Ok(Err(ElfError::Malformed(error.to_string()))),
        }
    }
}

/// A file with probes, and where they are in it.
#[derive(Debug)]
pub struct ProbedBinary {
    /// The file.
    pub binary: Binary,
    /// At least one.
    pub sites: Vec<ProbeSite>,
}

/// The probes of a process's files.
#[derive(Debug, Default)]
pub struct Probes {
    /// The files that have some.
    pub binaries: Vec<ProbedBinary>,
    /// Files whose probe notes are wrong, and why; nothing is attached to them.
    pub refused: Vec<String>,
}

/// Finds the binaries of a process that have probes.
///
/// # Errors
///
/// [`TargetError`] if the process cannot be read or has ended.
pub fn probes(process: &Process) -> Result<Probes, TargetError> {
    let mut probes = Probes::default();
    for binary in binaries(process)? {
        match binary.probe_sites(process)? {
            Ok(sites) if sites.is_empty() => log::debug!("{} has no probes", binary.name),
            Ok(sites) => {
                log::info!("{} has {} probe sites", binary.name, sites.len());
                probes.binaries.push(ProbedBinary { binary, sites });
            }
            // Not everything with code is a program for this machine.
            Err(error @ (ElfError::Malformed(_) | ElfError::Machine(_))) => {
                log::info!("cannot read the probes of {}: {error}", binary.name);
            }
            Err(error) => probes.refused.push(format!("{}: {error}", binary.name)),
        }
    }
    Ok(probes)
}

/// Opens the executable and the libraries of a process, each once.
///
/// # Errors
///
/// [`TargetError`] if the process cannot be read or has ended.
pub fn binaries(process: &Process) -> Result<Vec<Binary>, TargetError> {
    let mut mapped: Vec<Mapped> = Vec::new();
    let mut known = HashSet::new();
    for_each_mapping(process, |mapping| {
        if mapping.is_executable && mapping.file.inode != 0 && known.insert(mapping.file) {
            mapped.push(Mapped {
                inode: mapping.file.inode,
                range: (mapping.start, mapping.end),
                path: mapping.path.to_vec(),
            });
        }
    })?;
    let name = process.read_link("exe").unwrap_or_default();
    let program = [(printable(&name), open_file(process, "exe"))];
    let others = mapped
        .into_iter()
        .map(|mapped| (printable(&mapped.path), mapped.open(process)));
    let mut binaries: Vec<Binary> = Vec::new();
    for (name, opened) in program.into_iter().chain(others) {
        match opened {
            // The executable comes again as one of its mappings.
            Ok((_, file)) if binaries.iter().any(|known| known.file == file) => {}
            Ok((handle, file)) => binaries.push(Binary { name, file, handle }),
            Err(error) if is_shortage(&error) => return Err(process.error(OPEN_FILES, error)),
            Err(error) => log::info!("cannot open {name}: {error}"),
        }
    }
    Ok(binaries)
}

/// Returns whether this process lacks a resource, and the file is not to blame.
fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)
    )
}

/// A file with code, as its mapping has it.
struct Mapped {
    inode: u64,
    range: (u64, u64),
    path: Vec<u8>,
}

impl Mapped {
    /// Opens it by its mapping, which takes a capability, or by its name.
    fn open(&self, process: &Process) -> io::Result<(File, FileId)> {
        let (start, end) = self.range;
        open_file(process, &format!("map_files/{start:x}-{end:x}")).or_else(|_| {
            let path = format!("root{}", String::from_utf8_lossy(&self.path));
            let (handle, file) = open_file(process, &path)?;
            // By its name it could be one that took its place. The device says nothing, see `FileId`.
            if file.inode != self.inode {
                return Err(io::Error::other("it was replaced"));
            }
            Ok((handle, file))
        })
    }
}

/// Opens a regular file as a path; opening anything else could block.
fn open_file(process: &Process, path: &str) -> io::Result<(File, FileId)> {
    let handle = process.open_file(path, OFlags::PATH)?;
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let found = statx(&handle, "", flags, StatxFlags::INO | StatxFlags::TYPE)?;
    if FileType::from_raw_mode(found.stx_mode.into()) != FileType::RegularFile {
        return Err(io::Error::other("it is not a regular file"));
    }
    let file = FileId {
        device: (found.stx_dev_major, found.stx_dev_minor),
        inode: found.stx_ino,
    };
    Ok((handle, file))
}

/// Returns whether a process that has no probes is built on the published roam-session.
pub fn is_built_on_published(binaries: &[Binary]) -> bool {
    let mut budget = SEARCH_BYTES;
    binaries.iter().any(|binary| {
        File::open(binary.path())
            .and_then(|file| contains_name(file, &mut budget))
            .unwrap_or(false)
    })
}

fn contains_name(mut file: impl Read, budget: &mut u64) -> io::Result<bool> {
    let overlap = PUBLISHED.len().max(PUBLISHED_PATH.len()) - 1;
    let mut buffer = vec![0; CHUNK_BYTES + overlap];
    let mut carried = 0;
    while *budget > 0 {
        let read = file.read(&mut buffer[carried..])?;
        if read == 0 {
            break;
        }
        *budget = budget.saturating_sub(read as u64);
        let filled = &buffer[..carried + read];
        if memmem::find(filled, PUBLISHED).is_some()
            || memmem::find(filled, PUBLISHED_PATH).is_some()
        {
            return Ok(true);
        }
        let tail = filled.len() - filled.len().min(overlap)..filled.len();
        carried = tail.len();
        buffer.copy_within(tail, 0);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_search(content: &[u8], budget: u64, expected: bool) {
        let mut budget = budget;
        assert_eq!(contains_name(content, &mut budget).unwrap(), expected);
    }

    #[test]
    fn search() {
        let mut across = vec![b'x'; CHUNK_BYTES + 5];
        across.extend(b"roam_session");
        check_search(&across, SEARCH_BYTES, true);
        check_search(&across, CHUNK_BYTES as u64, false);
        check_search(
            b"/registry/src/roam-session-0.6.0/src/lib.rs",
            SEARCH_BYTES,
            true,
        );
        check_search(b"roam_sess", SEARCH_BYTES, false);
        check_search(b"", SEARCH_BYTES, false);
    }

    /// A reader that gives one byte at a time, as a slow file may.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let end = buffer.len().min(1);
            self.0.read(&mut buffer[..end])
        }
    }

    #[test]
    fn search_in_short_reads() {
        assert!(contains_name(Slow(b"a roam_session b"), &mut { SEARCH_BYTES }).unwrap());
    }
}
