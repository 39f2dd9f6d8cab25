//! STUB until roam_diagnostic::state lands.
use roam_diagnostic::registry::{Connection, Request};
use std::collections::HashMap;
use std::sync::Arc;

pub type DiagnosticCallback = Box<dyn Fn(&mut String) + Send + Sync>;
pub struct DiagnosticState {
    pub name: String,
}
impl DiagnosticState {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
    pub fn group(&self) -> Connection {
        Connection::NONE
    }
    pub fn record_incoming_request(&self, _: u64, _: u64, _: Option<HashMap<String, String>>) {}
    pub fn record_outgoing_request(&self, _: u64, _: u64, _: Option<HashMap<String, String>>) {}
    pub fn complete_request(&self, _: u64) {}
}
pub(crate) fn adopt_incoming(_: u64, _: u64) -> Option<Request> {
    None
}
pub fn debug_enabled() -> bool {
    false
}
pub fn register_method_name(id: u64, name: &'static str) {
    roam_diagnostic::registry::register_method(id, name)
}
pub fn register_diagnostic_state(_: &Arc<DiagnosticState>) {}
