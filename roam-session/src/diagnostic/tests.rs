//! The published diagnostic API on top of the registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{
    ChannelDirection, DiagnosticState, adopt_incoming, dump_all_diagnostics, get_method_name,
    register_diagnostic_state, register_method_name,
};
use roam_diagnostic::registry::{Outcome, Phase};

/// Held by tests that register states: a dump meanwhile has rows of all states.
static REGISTERING: Mutex<()> = Mutex::new(());

#[test]
fn both_directions_of_one_request_id_are_two_rows() {
    let state = DiagnosticState::new("both-directions");
    state.record_outgoing_request(7, 1, None);
    state.record_incoming_request(7, 1, None);
    let dump = state.dump_if_nonempty().unwrap();
    assert!(dump.starts_with("1⬆ 1⬇"), "{dump}");
    assert_eq!(dump.matches("#7").count(), 2, "{dump}");
}

#[test]
fn a_completed_state_dumps_nothing() {
    let state = DiagnosticState::new("completed");
    state.record_incoming_request(1, 1, None);
    state.record_channel_open(3, ChannelDirection::Tx, Some(1));
    assert!(state.dump_if_nonempty().unwrap().contains("1⬇ 1tx"));
    state.complete_request(1);
    state.record_channel_close(3);
    assert_eq!(state.dump_if_nonempty(), None);
}

#[test]
fn of_two_virtual_connections_the_one_that_responds_is_completed() {
    let state = DiagnosticState::new("virtual");
    state.record_incoming_request(5, 1, None);
    let first = adopt_incoming(5, 1).unwrap();
    state.record_incoming_request(5, 2, None);
    let second = adopt_incoming(5, 2).unwrap();
    assert_eq!(adopt_incoming(5, 2), None);
    second.respond(Phase::Responding, Outcome::Ok, 1);
    state.complete_request(5);
    assert!(first.is_live() && !second.is_live());
}

#[test]
fn of_two_handlers_at_work_neither_request_is_completed() {
    let state = DiagnosticState::new("cancelled");
    let run = |method_id| {
        state.record_incoming_request(5, method_id, None);
        let request = adopt_incoming(5, method_id).unwrap();
        request.advance(Phase::Running);
        request
    };
    let (first, second) = (run(1), run(2));
    // One was cancelled, and its handler is about to go.
    state.complete_request(5);
    assert!(first.is_live() && second.is_live());
    second.end(Outcome::Aborted);
    state.complete_request(5);
    assert!(!first.is_live());
}

#[test]
fn of_two_directions_the_one_recorded_last_is_completed() {
    #[track_caller]
    fn check(is_incoming_last: bool) {
        let state = DiagnosticState::new("directions");
        if !is_incoming_last {
            state.record_incoming_request(5, 1, None);
        }
        state.record_outgoing_request(5, 2, None);
        if is_incoming_last {
            state.record_incoming_request(5, 1, None);
        }
        let incoming = adopt_incoming(5, 1).unwrap();
        incoming.advance(Phase::Running);
        state.complete_request(5);
        assert_eq!(incoming.is_live(), !is_incoming_last);
        let left = if is_incoming_last { "1⬆" } else { "1⬇" };
        let dump = state.dump_if_nonempty().unwrap();
        assert!(dump.starts_with(left), "{dump}");
        incoming.end(Outcome::Aborted);
        state.complete_request(5);
        assert_eq!(state.dump_if_nonempty(), None);
    }

    check(true);
    check(false);
}

#[test]
fn a_state_that_is_not_registered_is_in_no_dump_of_everything() {
    let _guard = REGISTERING.lock().unwrap_or_else(PoisonError::into_inner);
    let registered = Arc::new(DiagnosticState::new("registered"));
    register_diagnostic_state(&registered);
    let unregistered = Arc::new(DiagnosticState::new("unregistered"));
    for state in [&registered, &unregistered] {
        state.record_outgoing_request(1, 1, None);
        state.record_channel_open(3, ChannelDirection::Tx, None);
    }
    let dump = dump_all_diagnostics();
    assert!(dump.contains("[registered] 1⬆ 1tx"), "{dump}");
    assert!(!dump.contains("unregistered"), "{dump}");
    assert!(unregistered.dump_if_nonempty().is_some());
}

#[test]
fn a_method_has_the_name_that_it_was_given_last() {
    register_method_name(78, "Before.rename");
    register_method_name(78, "After.rename");
    assert_eq!(get_method_name(78), Some("After.rename"));
    let image = roam_dump::read::read_own().unwrap().unwrap();
    assert_eq!(image.methods[&78], b"After.rename");
}

#[test]
fn another_requests_record_is_not_adopted() {
    let state = DiagnosticState::new("adopt");
    state.record_incoming_request(5, 1, None);
    assert_eq!(adopt_incoming(5, 2), None);
}

#[test]
fn a_dump_names_methods_and_arguments_and_runs_callbacks() {
    let _guard = REGISTERING.lock().unwrap_or_else(PoisonError::into_inner);
    register_method_name(77, "Tunnel.open");
    assert_eq!(get_method_name(77), Some("Tunnel.open"));
    let state = Arc::new(DiagnosticState::new("named"));
    register_diagnostic_state(&state);
    let args = HashMap::from([("path".to_string(), "\"/x\"".to_string())]);
    state.record_outgoing_request(1, 77, Some(args));
    state.add_custom_diagnostic(|text| text.push_str("\n  ring: 3 of 256"));
    let dump = dump_all_diagnostics();
    for expected in [
        "[named]",
        "⬆#1 Tunnel.open",
        "(path=\"/x\")",
        "ring: 3 of 256",
    ] {
        assert!(dump.contains(expected), "{expected} in {dump}");
    }
}

#[test]
fn records_do_not_pile_up() {
    let state = DiagnosticState::new("pile");
    for id in 0..1_000 {
        state.record_incoming_request(id, 1, None);
        adopt_incoming(id, 1).unwrap().end(Outcome::Ok);
    }
    assert_eq!(state.dump_if_nonempty(), None);
}
