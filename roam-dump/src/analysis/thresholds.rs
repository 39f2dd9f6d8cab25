//! When something counts as stuck, by the options of the user.

use wildmatch::WildMatch;

/// Microseconds from which on something counts as stuck by default.
pub const STUCK_US: u64 = 1_000_000;

/// When something counts as stuck.
///
/// A request must also be older than what is usual for its method, if that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Microseconds below which nothing counts as stuck.
    pub stuck_us: u64,
    /// Methods with a time of their own, in microseconds. It alone decides; the last entry that matches holds.
    pub methods: Vec<(MethodGlob, u64)>,
    /// Methods whose calls are not judged.
    pub ignored: Vec<MethodGlob>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            stuck_us: STUCK_US,
            methods: Vec::new(),
            ignored: Vec::new(),
        }
    }
}

impl Thresholds {
    /// The time that the user set for a method.
    pub(super) fn of_method(&self, method: &str) -> Option<u64> {
        let mut methods = self.methods.iter().rev();
        methods
            .find(|(glob, _)| glob.matches(method))
            .map(|&(_, stuck_us)| stuck_us)
    }

    pub(super) fn is_ignored(&self, method: &str) -> bool {
        self.ignored.iter().any(|glob| glob.matches(method))
    }
}

/// A pattern of method names: `*` stands for any characters, `?` for one. A method without a name has the one that
/// dumps show, `method_id=0x…`.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodGlob(WildMatch);

impl MethodGlob {
    /// Returns whether a method has such a name.
    pub fn matches(&self, method: &str) -> bool {
        self.0.matches(method)
    }
}

impl From<&str> for MethodGlob {
    fn from(pattern: &str) -> Self {
        Self(WildMatch::new(pattern))
    }
}
