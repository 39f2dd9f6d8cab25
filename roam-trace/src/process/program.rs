//! The files that a process runs code from, and the probes in them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::iter;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;
use roam_dump::decode::printable;
use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, readlinkat, statx};
use rustix::io::Errno;

use super::allowance::Allowance;
use super::mapping::FileId;
use super::maps::{MappedFile, Mappings};
use super::proc::{Process, open_at};
use crate::elf::{self, ElfError, ProbeSite};
use crate::error::TargetError;

/// A process can have many large files with code.
static PARSING: Allowance = Allowance::new(Duration::from_millis(800));
/// Memory is read at gigabytes a second.
static SEARCHING: Allowance = Allowance::new(Duration::from_millis(400));
const CHUNK_BYTES: usize = 1 << 20;

const OPEN_FILES: &str = "open the executable and the libraries of";

/// What every binary built on the published roam-session has in it, stripped or not: the crate's paths in
/// panic messages, or its type names.
const PUBLISHED: &[u8] = b"roam_session";
const PUBLISHED_PATH: &[u8] = b"roam-session-0.";

/// Leaves that much time of a processor for the probes in files from now on: for a command that looks for them again and
/// again.
pub fn renew_allowance(whole: Duration) {
    PARSING.renew(whole);
}

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
    /// This process has no memory, descriptors or time left for the file.
    pub fn probe_sites(
        &self,
        process: &Process,
    ) -> Result<Result<Vec<ProbeSite>, ElfError>, TargetError> {
        let user = process.user();
        if PARSING.turn(user).is_spent() {
            let error = io::Error::other("the files of other processes took the time for that");
            return Err(process.error("read the probes of", error));
        }
        let path = self.path();
        let read = process.ask(move |_| {
            let _turn = PARSING.turn(user);
            Ok(elf::file_probe_sites(open(path)?))
        });
        match read {
            Ok(sites) => Ok(sites),
            Err(error) if is_shortage(&error) => Err(process.error(OPEN_FILES, error)),
            Err(error) => Ok(Err(ElfError::Malformed(error.to_string()))),
        }
    }
}

/// Opens a file for reading. One on which a process has a lease is not waited for.
fn open(path: PathBuf) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits() as i32;
    File::options().read(true).custom_flags(flags).open(path)
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

/// Finds those of the binaries of a process that have probes.
///
/// # Errors
///
/// [`TargetError`] if the process cannot be read or has ended.
pub fn probes(process: &Process, binaries: Vec<Binary>) -> Result<Probes, TargetError> {
    let mut probes = Probes::default();
    for binary in binaries {
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
pub(super) fn binaries(
    process: &Process,
    mappings: &Arc<Mappings>,
) -> Result<Vec<Binary>, TargetError> {
    let mappings = Arc::clone(mappings);
    let open = move |directory: &OwnedFd| {
        let name = readlinkat(directory, "exe", Vec::new()).unwrap_or_default();
        let program = (printable(name.as_bytes()), open_file(directory, "exe"));
        let others = (mappings.executables.iter())
            .map(|mapped| (printable(&mapped.path), open_mapped(directory, mapped)));
        let mut known = HashSet::new();
        let mut binaries = Vec::new();
        for (name, opened) in iter::once(program).chain(others) {
            match opened {
                // The executable comes again as one of its mappings.
                Ok((_, file)) if !known.insert(file) => {}
                Ok((handle, file)) => binaries.push(Binary { name, file, handle }),
                Err(error) if is_shortage(&error) => return Err(error),
                Err(error) => log::info!("cannot open {name}: {error}"),
            }
        }
        Ok(binaries)
    };
    process
        .ask(open)
        .map_err(|error| process.error(OPEN_FILES, error))
}

/// Returns whether this process lacks a resource, and the file is not to blame.
fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)
    )
}

/// Opens a file by its mapping, which takes a capability, or by its name.
fn open_mapped(directory: &OwnedFd, mapped: &MappedFile) -> io::Result<(File, FileId)> {
    let Range { start, end } = mapped.range;
    open_file(directory, &format!("map_files/{start:x}-{end:x}")).or_else(|_| {
        let path = format!("root{}", String::from_utf8_lossy(&mapped.path));
        let (handle, file) = open_file(directory, &path)?;
        // By its name it could be one that took its place. The device says nothing, see `FileId`.
        if file.inode != mapped.file.inode {
            return Err(io::Error::other("it was replaced"));
        }
        Ok((handle, file))
    })
}

/// Opens a regular file as a path; opening anything else could block.
fn open_file(directory: &OwnedFd, path: &str) -> io::Result<(File, FileId)> {
    let handle = open_at(directory, path, OFlags::PATH)?;
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

/// Returns whether a process that has no probes is built on the published roam-session; `None` if there was no time to
/// search all of its files.
pub(super) fn is_built_on_published(process: &Process, binaries: &[Binary]) -> Option<bool> {
    let paths: Vec<_> = binaries.iter().map(Binary::path).collect();
    let user = process.user();
    let searched = process.ask(move |_| {
        let turn = SEARCHING.turn(user);
        let mut is_whole = true;
        for path in paths {
            match open(path).and_then(|file| contains_name(file, || turn.is_spent())) {
                Ok(Some(true)) => return Ok(Some(true)),
                Ok(Some(false)) => {}
                Ok(None) | Err(_) => is_whole = false,
            }
        }
        Ok(is_whole.then_some(false))
    });
    searched.ok().flatten()
}

/// Searches a file, unless `is_enough` ends it before.
fn contains_name(mut file: impl Read, is_enough: impl Fn() -> bool) -> io::Result<Option<bool>> {
    let overlap = PUBLISHED.len().max(PUBLISHED_PATH.len()) - 1;
    let mut buffer = vec![0; CHUNK_BYTES + overlap];
    let mut carried = 0;
    while !is_enough() {
        let read = file.read(&mut buffer[carried..])?;
        if read == 0 {
            return Ok(Some(false));
        }
        let filled = &buffer[..carried + read];
        if memmem::find(filled, PUBLISHED).is_some()
            || memmem::find(filled, PUBLISHED_PATH).is_some()
        {
            return Ok(Some(true));
        }
        let tail = filled.len() - filled.len().min(overlap)..filled.len();
        carried = tail.len();
        buffer.copy_within(tail, 0);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_search(content: &[u8], expected: bool) {
        assert_eq!(contains_name(content, || false).unwrap(), Some(expected));
    }

    #[test]
    fn search() {
        let mut across = vec![b'x'; CHUNK_BYTES + 5];
        across.extend(b"roam_session");
        check_search(&across, true);
        assert_eq!(contains_name(&across[..], || true).unwrap(), None);
        check_search(b"/registry/src/roam-session-0.6.0/src/lib.rs", true);
        check_search(b"roam_sess", false);
        check_search(b"", false);
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
        let found = contains_name(Slow(b"a roam_session b"), || false);
        assert_eq!(found.unwrap(), Some(true));
    }
}
