//! Implements the diagnostic API of the published crate. The session records by itself, without it.

mod name;
mod state;
mod summary;
#[cfg(test)]
mod tests;

pub use name::{debug_enabled, get_method_name, register_method_name};
pub(crate) use state::adopt_incoming;
pub use state::{
    ChannelDirection, DiagnosticCallback, DiagnosticState, InFlightRequest, OpenChannel,
    RequestDirection, dump_all_diagnostics, register_diagnostic_state,
};
