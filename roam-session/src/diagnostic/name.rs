//! The names of methods, by the published API.

use std::sync::{PoisonError, RwLock};

use roam_diagnostic::registry;

/// Sorted by method id.
static METHOD_NAMES: RwLock<Vec<(u64, &'static str)>> = RwLock::new(Vec::new());

/// Returns whether arguments are recorded, which `ROAM_DEBUG` decides when the program starts.
pub fn debug_enabled() -> bool {
    registry::arguments_enabled()
}

/// Sets the name of a method for dumps. The last name of a method counts.
pub fn register_method_name(method_id: u64, name: &'static str) {
    let mut names = METHOD_NAMES.write().unwrap_or_else(PoisonError::into_inner);
    match names.binary_search_by_key(&method_id, |&(id, _)| id) {
        Ok(index) => names[index].1 = name,
        Err(index) => names.insert(index, (method_id, name)),
    }
    drop(names);
    registry::register_method(method_id, name);
}

/// Returns the name that a method was registered with last.
pub fn get_method_name(method_id: u64) -> Option<&'static str> {
    let names = METHOD_NAMES.read().unwrap_or_else(PoisonError::into_inner);
    let index = names.binary_search_by_key(&method_id, |&(id, _)| id);
    Some(names[index.ok()?].1)
}
