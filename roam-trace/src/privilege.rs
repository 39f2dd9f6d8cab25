//! The privileges of this process: which it has, which it lacks, and dropping them. Never raises one.

use std::fmt;

use procfs::sys::kernel::Version;
use rustix::io;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// A set with one capability.
pub type Capability = CapabilitySet;

/// What inspecting another user's process takes: its memory and files are closed to those who may not
/// trace it, and the directory of its descriptors is its user's.
const TO_INSPECT: [Capability; 2] = [Capability::SYS_PTRACE, Capability::DAC_READ_SEARCH];

/// What opening a registry whose descriptor was closed takes.
const TO_REOPEN: Capability = Capability::CHECKPOINT_RESTORE;

/// What would have to change for something that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// One of these capabilities; the first is the least.
    AnyOf(&'static [Capability]),
    /// Every one of these.
    AllOf(Vec<Capability>),
    /// Nothing that could be named: the capabilities are there.
    Unknown,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyOf(any_of) => {
                join(f, any_of, " or ")?;
                f.write_str(" is missing; run roam-trace as root")
            }
            Self::AllOf(all_of) => {
                join(f, all_of, " and ")?;
                let verb = if all_of.len() == 1 { "is" } else { "are" };
                write!(f, " {verb} missing; run roam-trace as root")
            }
            Self::Unknown => f.write_str(
                "no capability is missing, so a user namespace or a security module denies it",
            ),
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, capabilities: &[Capability], separator: &str) -> fmt::Result {
    let names: Vec<_> = capabilities.iter().copied().map(name).collect();
    f.write_str(&names.join(separator))
}

/// Returns the name of a capability, such as `CAP_BPF`.
pub fn name(capability: Capability) -> String {
    let names = capability.iter_names().map(|(name, _)| name);
    format!("CAP_{}", names.collect::<String>())
}

/// Drops for good what is not needed once probes are attached, from when on the tracer's maps are filled
/// with what processes choose. Who holds a map's descriptor may read and change the map.
///
/// # Errors
///
/// The error of the system call; none is expected.
pub fn drop_attach_privileges() -> io::Result<()> {
    let mut needed = TO_REOPEN.union(TO_INSPECT.into_iter().collect());
    // Before Linux 5.19, kernel.unprivileged_bpf_disabled closes every bpf command to those without it.
    if Version::current().is_ok_and(|kernel| kernel < Version::new(5, 19, 0)) {
        needed |= Capability::BPF;
    }
    retain(needed)
}

/// Drops for good whatever is left: to print takes nothing.
///
/// # Errors
///
/// The error of the system call; none is expected.
pub fn drop_all() -> io::Result<()> {
    retain(CapabilitySet::empty())
}

fn retain(needed: CapabilitySet) -> io::Result<()> {
    let sets = capabilities(None)?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: sets.effective & needed,
            permitted: sets.permitted & needed,
            inheritable: sets.inheritable & needed,
        },
    )?;
    // Nothing is ever executed; now nothing could give the capabilities back.
    set_no_new_privs(true)
}

/// Returns whether this process has a capability in effect, or one that includes it.
pub fn has(capability: Capability) -> bool {
    let in_effect = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    in_effect.contains(capability)
        || capability == Capability::DAC_READ_SEARCH && in_effect.contains(Capability::DAC_OVERRIDE)
}

/// Returns what a refused action needed, any of `any_of` being enough.
pub fn missing(any_of: &'static [Capability]) -> Missing {
    if any_of.iter().any(|&capability| has(capability)) {
        Missing::Unknown
    } else {
        Missing::AnyOf(any_of)
    }
}

/// Returns what inspecting another process needed.
pub fn missing_to_inspect() -> Missing {
    missing_of_all(&TO_INSPECT)
}

/// Returns what a refused action needed, all of `all_of` being necessary.
pub fn missing_of_all(all_of: &[Capability]) -> Missing {
    let missing: Vec<_> = all_of
        .iter()
        .copied()
        .filter(|&capability| !has(capability))
        .collect();
    if missing.is_empty() {
        Missing::Unknown
    } else {
        Missing::AllOf(missing)
    }
}
