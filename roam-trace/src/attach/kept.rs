//! Links that the kernel detaches by itself, whatever becomes of this process.
//!
//! A link whose last descriptor is closed while a fatal signal is pending leaves its breakpoints behind for good: the
//! kernel does not touch the memory of the targets for a process that is about to end. One whose last pin goes is
//! released by a worker of the kernel's own. So the links are pinned in a bpffs that is mounted nowhere, and goes with its
//! descriptor. To make one takes CAP_SYS_ADMIN.

use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::site_memory::SiteMemory;
use crate::bpf;

/// How long it is waited until the breakpoints are gone. They stay if another tracer came meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// Links that are detached when this is dropped.
pub(super) struct KeptLinks {
    /// The bpffs; `None` only while this is dropped.
    pins: Option<OwnedFd>,
    count: usize,
    memory: SiteMemory,
}

impl KeptLinks {
    /// Makes the bpffs. `memory` is to show that breakpoints are gone.
    pub(super) fn new(memory: SiteMemory) -> io::Result<Self> {
        let context = fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(context.as_fd())?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        let pins = fsmount(context.as_fd(), flags, MountAttrFlags::empty())?;
        Ok(Self {
            pins: Some(pins),
            count: 0,
            memory,
        })
    }

    /// Keeps a link, whose descriptor is closed then. Returns one that cannot be kept.
    pub(super) fn keep(&mut self, link: OwnedFd) -> Option<OwnedFd> {
        let Some(pins) = &self.pins else {
            return Some(link);
        };
        self.count += 1;
        match bpf::pin_in(pins.as_fd(), link.as_fd(), &self.count.to_string()) {
            Ok(()) => None,
            Err(error) => {
                log::info!("cannot pin a link: {error}");
                Some(link)
            }
        }
    }
}

impl Drop for KeptLinks {
    /// Detaches, and waits until that is done: who sees the tracer end may rely on it.
    fn drop(&mut self) {
        self.pins = None;
        mem::take(&mut self.memory).wait_until_restored(PATIENCE);
    }
}
