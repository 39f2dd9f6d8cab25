//! What is attached to the probes of all targets, in whichever way.

use aya::Ebpf;
use nix::sys::signal::{SigSet, SigmaskHow};

use super::binary::OpenBinary;
use super::{ATTACH_ORDER, AttachError, Method, perf_event, uprobe_multi};

/// While this lives, signals to this thread and to those that it starts wait. For whoever detaches: to a process
/// that is about to end the kernel refuses to look at the target's memory, and leaves its breakpoints there.
pub(super) struct Uninterrupted(nix::Result<SigSet>);

impl Uninterrupted {
    pub(super) fn begin() -> Self {
        Self(SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK))
    }
}

impl Drop for Uninterrupted {
    fn drop(&mut self) {
        if let Ok(before) = &self.0 {
            // It worked a moment ago, with the same kind of mask.
            let _ = before.thread_set_mask();
        }
    }
}

/// What is attached to probes, until it is dropped.
#[expect(dead_code, reason = "what they hold is for their drop")]
pub(super) enum Links {
    UprobeMulti(uprobe_multi::Links),
    PerfEvent(perf_event::Links),
}

impl Links {
    /// Loads the programs and attaches them to every site.
    pub(super) fn attach(
        method: Method,
        object: &[u8],
        bpf: &mut Ebpf,
        binaries: &[OpenBinary<'_>],
    ) -> Result<Self, AttachError> {
        let in_order = ATTACH_ORDER.into_iter().flat_map(|probe| {
            binaries
                .iter()
                .map(move |binary| (probe, binary, binary.offsets(probe)))
                .filter(|(_, _, offsets)| !offsets.is_empty())
        });
        match method {
            Method::UprobeMulti(_) => {
                let programs = uprobe_multi::Programs::load(object, bpf, &ATTACH_ORDER)?;
                let mut links = uprobe_multi::Links::default();
                for (probe, binary, offsets) in in_order {
                    links
                        .attach(&programs, probe, &binary.file, &offsets, binary.pid)
                        .map_err(|source| binary.link_error(method, probe, source))?;
                }
                Ok(Self::UprobeMulti(links))
            }
            Method::PerfEvent => {
                perf_event::load(bpf, &ATTACH_ORDER)?;
                let mut links = perf_event::Links::default();
                for (probe, binary, offsets) in in_order {
                    links
                        .attach(bpf, probe, &binary.file, &offsets)
                        .map_err(|source| binary.link_error(method, probe, source))?;
                }
                Ok(Self::PerfEvent(links))
            }
        }
    }
}
