//! The files that targets run from, opened so that what is attached to is what was
//! checked.
//!
//! Never decodes them: the sites come from [`elf`].

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::error::AttachError;
use super::method::{Method, PidFilter};
use super::probed::{ProbedFile, ProbedProcess};
use crate::elf::{self, ProbeSite};

/// A binary that stays open, so that what is attached to is what was checked.
pub(super) struct OpenBinary<'a> {
    path: &'a Path,
    pub(super) file: File,
    sites: &'a [ProbeSite],
    /// The process whose probes trap, `None` for all that run the binary.
    pub(super) pid: Option<u32>,
}

impl<'a> OpenBinary<'a> {
    /// Opens the binaries of all targets, each once for every process; once at all where the kernel
    /// cannot filter by process.
    pub(super) fn open_all(
        targets: &'a [ProbedProcess],
        filter: PidFilter,
    ) -> Result<Vec<Self>, AttachError> {
        let mut binaries = Vec::new();
        let mut known = HashSet::new();
        for target in targets {
            let tgid = target.tgid;
            for binary in &target.files {
                let opened = Self::open(binary, Some(tgid))?;
                let pid = match filter {
                    PidFilter::Kernel => Some(tgid),
                    PidFilter::Program => None,
                };
                // Attached twice, every event would be counted twice.
                let metadata = opened.file.metadata();
                let metadata = metadata
                    .map_err(|source| AttachError::binary(Some(tgid), &binary.path, source))?;
                if known.insert((pid, metadata.dev(), metadata.ino())) {
                    binaries.push(Self { pid, ..opened });
                }
            }
        }
        Ok(binaries)
    }

    /// Opens a binary, of `tgid` or of no particular process, to attach to it in every process.
    pub(super) fn open(binary: &'a ProbedFile, tgid: Option<u32>) -> Result<Self, AttachError> {
        let failed = |source| AttachError::binary(tgid, &binary.path, source);
        // Whoever runs the target may have put a pipe there: opening it must not wait.
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&binary.path)
            .map_err(failed)?;
        for site in &binary.sites {
            if !is_site(&file, site).map_err(failed)? {
                return Err(AttachError::Changed {
                    path: binary.path.clone(),
                    file_offset: site.file_offset,
                });
            }
        }
        Ok(Self {
            path: &binary.path,
            file,
            sites: &binary.sites,
            pid: None,
        })
    }

    pub(super) fn link_error(
        &self,
        method: Method,
        probe: &'static str,
        source: io::Error,
    ) -> AttachError {
        match (source.raw_os_error(), self.pid) {
            (Some(libc::ESRCH), Some(tgid)) => AttachError::NoProcess { tgid },
            (Some(libc::EPERM | libc::EACCES), _) => method.permission_error(),
            _ => AttachError::Link {
                probe,
                path: self.path.to_owned(),
                source,
            },
        }
    }

    /// Lists the offsets of one probe's sites, each once whatever the notes say.
    pub(super) fn offsets(&self, probe: &str) -> Vec<u64> {
        let sites = self.sites.iter().filter(|site| site.name == probe);
        let offsets: BTreeSet<u64> = sites.map(|site| site.file_offset).collect();
        offsets.into_iter().collect()
    }
}

/// Whether a site is one, on the very file that is attached to: a breakpoint in the middle of another instruction
/// would end the target.
fn is_site(file: &File, site: &ProbeSite) -> io::Result<bool> {
    let mut bytes = [0; elf::MAX_SITE_BYTES];
    let count = file.read_at(&mut bytes, site.file_offset)?;
    Ok(elf::is_site(&bytes[..count]))
}
