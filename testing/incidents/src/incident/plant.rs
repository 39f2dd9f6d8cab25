//! Short words for acts and roots.

use super::data::{Act, Root};
use crate::control::{Order, Report};
use crate::service::{Behavior, Method, Pin, Step, Ticket};

pub(super) fn handler(process: &'static str, method: &'static str) -> Root {
    Root {
        process,
        methods: vec![method],
        nodes: vec!["handler"],
    }
}

/// All handlers of a method in a process together.
pub(super) fn pile(process: &'static str, method: &'static str) -> Root {
    Root {
        process,
        methods: vec![method],
        nodes: vec!["handlers"],
    }
}

/// A process or one of its drivers.
pub(super) fn process(process: &'static str) -> Root {
    Root {
        process,
        nodes: vec!["process", "driver"],
        ..Root::default()
    }
}

/// Calls of a client, with what handlers on their way do.
pub(super) fn calls(method: Method, count: u32, catalog: u8, plan: &[(Method, Behavior)]) -> Act {
    calls_of("client-1", method, count, ticket(catalog, plan))
}

pub(super) fn calls_of(process: &'static str, method: Method, count: u32, ticket: Ticket) -> Act {
    let order = Order::Call {
        method,
        count,
        at_once: count,
        ticket,
    };
    Act::Order(process, order)
}

pub(super) fn ticket(catalog: u8, plan: &[(Method, Behavior)]) -> Ticket {
    let steps = plan.iter().map(|&(at, behavior)| Step { at, behavior });
    Ticket {
        catalog,
        plan: steps.collect(),
        ..Ticket::default()
    }
}

pub(super) fn pinned(ticket: Ticket, pins: &[(Method, u32)]) -> Ticket {
    let pins = pins.iter().map(|&(method, link)| Pin { method, link });
    Ticket {
        pins: pins.collect(),
        ..ticket
    }
}

pub(super) fn reached(
    process: &'static str,
    method: Method,
    behavior: Behavior,
    count: u32,
) -> Act {
    Act::Await(process, Report::Reached { method, behavior }, count)
}

pub(super) fn ended(method: Method, count: u32) -> Act {
    Act::Await("client-1", Report::Ended { method, ok: true }, count)
}

pub(super) fn repeat(process: &'static str, method: Method, ticket: Ticket) -> Act {
    let order = Order::Repeat {
        method,
        pause_ms: 100,
        ticket,
    };
    Act::Order(process, order)
}
