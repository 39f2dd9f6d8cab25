//! What this process may do, what it lacks, and giving up what it has. Never raises a privilege.

use std::fmt;

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use procfs::sys::kernel::Version;
use rustix::thread::set_no_new_privs;

/// What looking into another user's process takes: its memory and files are closed to those who may not
/// trace it, and the directory of its descriptors is its user's.
const TO_LOOK_INTO: [Capability; 2] = [Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH];

/// What opening a registry whose descriptor was closed takes.
const TO_REOPEN: Capability = Capability::CAP_CHECKPOINT_RESTORE;

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
                "no capability is missing, so a user namespace or a security module refuses it",
            ),
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, capabilities: &[Capability], separator: &str) -> fmt::Result {
    for (index, capability) in capabilities.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        write!(f, "{capability}")?;
    }
    Ok(())
}

/// Gives up for good what is not needed once probes are attached, from when on the tracer's maps are filled
/// with what processes choose. Who holds a map's descriptor may read and change the map.
///
/// # Errors
///
/// What the system says; expected of none.
pub fn drop_attach_privileges() -> Result<(), CapsError> {
    let mut kept = CapsHashSet::from(TO_LOOK_INTO);
    kept.insert(TO_REOPEN);
    // Before Linux 5.19, kernel.unprivileged_bpf_disabled closes every bpf command to those without it.
    if Version::current().is_ok_and(|kernel| kernel < Version::new(5, 19, 0)) {
        kept.insert(Capability::CAP_BPF);
    }
    retain(&kept)
}

/// Gives up for good whatever is left: to print takes nothing.
///
/// # Errors
///
/// What the system says; expected of none.
pub fn drop_all() -> Result<(), CapsError> {
    retain(&CapsHashSet::new())
}

fn retain(kept: &CapsHashSet) -> Result<(), CapsError> {
    // A capability can only be in the other sets while it is in the permitted one, so that goes last.
    for set in [CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
        let left = &caps::read(None, set)? & kept;
        caps::set(None, set, &left)?;
    }
    // Nothing is ever executed; now nothing could give the capabilities back.
    set_no_new_privs(true).map_err(|error| CapsError::from(error.to_string()))
}

/// Whether this process has a capability in effect, or one that includes it.
pub fn has(capability: Capability) -> bool {
    let in_effect =
        |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    match capability {
        Capability::CAP_DAC_READ_SEARCH => {
            in_effect(capability) || in_effect(Capability::CAP_DAC_OVERRIDE)
        }
        _ => in_effect(capability),
    }
}

/// What a refused action needed, any of `any_of` being enough.
pub fn missing(any_of: &'static [Capability]) -> Missing {
    if any_of.iter().any(|&capability| has(capability)) {
        Missing::Unknown
    } else {
        Missing::AnyOf(any_of)
    }
}

/// What looking into a process needed.
pub fn missing_to_look_into() -> Missing {
    missing_of_all(&TO_LOOK_INTO)
}

/// What a refused action needed, all of `all_of` being necessary.
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
