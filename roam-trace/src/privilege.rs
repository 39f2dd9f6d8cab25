//! The privileges of this process: which it has, which it lacks, and dropping them. Never raises one.

use std::fmt;

use procfs::sys::kernel::Version;
use rustix::io;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// A set with one capability.
pub type Capability = CapabilitySet;

/// What reading another user's process needs: its memory and files are closed to processes that may not
/// trace it, and only its user may list its descriptors.
const TO_INSPECT: [Capability; 2] = [Capability::SYS_PTRACE, Capability::DAC_READ_SEARCH];

/// What opening a registry whose descriptor was closed needs.
const TO_REOPEN: Capability = Capability::CHECKPOINT_RESTORE;

/// The capabilities that a denied action needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// One of these capabilities; the first is the least.
    AnyOf(&'static [Capability]),
    /// Every one of these.
    AllOf(Vec<Capability>),
    /// None: the capabilities are there, and something else denies the action.
    Unknown,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyOf(any_of) => {
                join(f, any_of, " or ")?;
                write!(f, " is missing; {}", advice())
            }
            Self::AllOf(all_of) => {
                join(f, all_of, " and ")?;
                let verb = if all_of.len() == 1 { "is" } else { "are" };
                write!(f, " {verb} missing; {}", advice())
            }
            Self::Unknown => f.write_str(
                "no capability is missing, so a user namespace or a security module denies it",
            ),
        }
    }
}

/// Returns what to do if a capability is missing.
pub fn advice() -> &'static str {
    match rustix::process::geteuid().is_root() {
        false => "run roam-trace as root",
        true => {
            "root does not have all capabilities here: run roam-trace on the host, or add them to its container or unit"
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, capabilities: &[Capability], separator: &str) -> fmt::Result {
    let names: Vec<_> = capabilities.iter().copied().map(name).collect();
    f.write_str(&names.join(separator))
}

/// Returns the name of a capability, for example `CAP_BPF`.
pub fn name(capability: Capability) -> String {
    let names = capability.iter_names().map(|(name, _)| name);
    format!("CAP_{}", names.collect::<String>())
}

/// Drops every capability that is not needed after attaching, irrevocably: from then on, targets choose what
/// the kernel maps hold. The descriptors of the maps, which are open, remain usable.
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

/// Drops every remaining capability, irrevocably: printing needs none.
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
    // Nothing but a pager is ever executed; now nothing can give the capabilities back, not even to root's.
    set_no_new_privs(true)
}

/// Returns whether this program may do more than the user who started it: it then executes nothing that the user chose.
pub fn is_elevated() -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    let permitted = capabilities(None).map_or(CapabilitySet::all(), |sets| sets.permitted);
    let has_capabilities = !geteuid().is_root() && !permitted.is_empty();
    getuid() != geteuid() || getgid() != getegid() || has_capabilities
}

/// Returns whether this process has a capability in effect, or one that includes it.
pub fn has(capability: Capability) -> bool {
    let in_effect = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    in_effect.contains(capability)
        || capability == Capability::DAC_READ_SEARCH && in_effect.contains(Capability::DAC_OVERRIDE)
}

/// Returns what is missing for a denied action that needs one of `any_of`.
pub fn missing(any_of: &'static [Capability]) -> Missing {
    if any_of.iter().any(|&capability| has(capability)) {
        Missing::Unknown
    } else {
        Missing::AnyOf(any_of)
    }
}

/// Returns what is missing to read another process.
pub fn missing_to_inspect() -> Missing {
    missing_of_all(&TO_INSPECT)
}

/// Returns what is missing to attach the probes with uprobe_multi.
pub fn missing_to_attach() -> Missing {
    match has(Capability::SYS_ADMIN) {
        true => Missing::Unknown,
        false => missing_of_all(&[Capability::BPF, Capability::PERFMON]),
    }
}

/// Returns what is missing for a denied action that needs all of `all_of`.
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
