//! The diagnostic API of the published crate. All of it is `roam-diagnostic`'s;
//! the session records by itself and needs none of it.

pub use roam_diagnostic::state::{
    ChannelDirection, DiagnosticCallback, DiagnosticState, InFlightRequest, OpenChannel,
    RequestDirection, debug_enabled, dump_all_diagnostics, get_method_name,
    register_diagnostic_state, register_method_name,
};
