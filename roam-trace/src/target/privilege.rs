//! What this process may do, and what it lacks. Never raises a privilege.

use std::fmt;

use caps::{CapSet, Capability};

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

/// Whether this process has a capability in effect.
pub fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// What a refused action needed, any of `any_of` being enough.
pub fn missing(any_of: &'static [Capability]) -> Missing {
    if any_of.iter().any(|&capability| has(capability)) {
        Missing::Unknown
    } else {
        Missing::AnyOf(any_of)
    }
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
