//! Where rows come from.

use std::fmt;

use serde::Serialize;

/// Where a row or a whole snapshot comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The process's registry.
    Registry,
    /// The kernel maps that its probes fill.
    Probes,
    /// Both: a probe saw the row while it was attached, and the registry holds it.
    Both,
}

impl Source {
    pub(super) fn is_registry(&self) -> bool {
        *self == Self::Registry
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Registry => "registry",
            Self::Probes => "probes",
            Self::Both => "registry and probes",
        })
    }
}
