//! Names of methods, as the published API keeps them.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use roam_diagnostic::registry;

static METHOD_NAMES: RwLock<BTreeMap<u64, &'static str>> = RwLock::new(BTreeMap::new());

/// Whether arguments are recorded: `ROAM_DEBUG` was set when the program started.
pub fn debug_enabled() -> bool {
    registry::arguments_enabled()
}

/// Makes a method's name known to dumps.
pub fn register_method_name(method_id: u64, name: &'static str) {
    METHOD_NAMES
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(method_id, name);
    registry::register_method(method_id, name);
}

/// The name a method was registered with.
pub fn get_method_name(method_id: u64) -> Option<&'static str> {
    METHOD_NAMES
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&method_id)
        .copied()
}
