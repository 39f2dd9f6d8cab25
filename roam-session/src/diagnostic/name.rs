//! The names of methods, by the published API.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use roam_diagnostic::registry;

static METHOD_NAMES: RwLock<BTreeMap<u64, &'static str>> = RwLock::new(BTreeMap::new());

/// Returns whether arguments are recorded, which `ROAM_DEBUG` decides when the program starts.
pub fn debug_enabled() -> bool {
    registry::arguments_enabled()
}

/// Sets the name of a method for dumps. The last name of a method counts.
pub fn register_method_name(method_id: u64, name: &'static str) {
    METHOD_NAMES
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(method_id, name);
    registry::register_method(method_id, name);
}

/// Returns the name that a method was registered with last.
pub fn get_method_name(method_id: u64) -> Option<&'static str> {
    METHOD_NAMES
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&method_id)
        .copied()
}
