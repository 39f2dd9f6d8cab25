//! What is attached to the probes of all targets, in whichever way.

use aya::Ebpf;

use super::binary::OpenBinary;
use super::error::AttachError;
use super::method::Method;
use super::perf_event::{self, PerfEventLinks};
use super::probed::ProbedProcess;
use super::site_memory::SiteMemory;
use super::uprobe_multi::{self, UprobeMultiLinks};

/// What is attached to probes, until it is dropped.
#[expect(dead_code, reason = "what they hold is for their drop")]
pub(super) enum AttachedProbes {
    UprobeMulti(UprobeMultiLinks),
    PerfEvent(PerfEventLinks),
}

impl AttachedProbes {
    /// Loads the programs of probes and attaches them to every site.
    pub(super) fn attach(
        method: Method,
        object: &[u8],
        bpf: &mut Ebpf,
        binaries: &[OpenBinary<'_>],
        targets: &[ProbedProcess],
        probes: &[&'static str],
    ) -> Result<Self, AttachError> {
        let in_order = probes.iter().flat_map(|&probe| {
            binaries
                .iter()
                .map(move |binary| (probe, binary, binary.offsets(probe)))
                .filter(|(_, _, offsets)| !offsets.is_empty())
        });
        match method {
            Method::UprobeMulti(_) => {
                let programs = uprobe_multi::Programs::load(object, bpf, probes)?;
                let mut links = UprobeMultiLinks::new(SiteMemory::open(targets));
                for (probe, binary, offsets) in in_order {
                    links
                        .attach(&programs, probe, &binary.file, &offsets, binary.pid)
                        .map_err(|source| binary.link_error(method, probe, source))?;
                }
                Ok(Self::UprobeMulti(links))
            }
            Method::PerfEvent => {
                perf_event::load(bpf, probes)?;
                let mut links = PerfEventLinks::default();
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
