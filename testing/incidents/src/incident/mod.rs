//! The incidents, as data.

mod data;
mod handlers;
mod links;
mod plant;
mod processes;

pub(crate) use data::{Act, Incident};

/// Methods whose calls are long by nature.
pub(crate) const USUAL: [&str; 3] = ["Notifier.poll", "Notifier.watch", "Gateway.subscribe"];

/// All incidents.
pub(crate) fn incidents() -> Vec<Incident> {
    let mut all = processes::processes();
    all.extend(handlers::handlers());
    all.extend(links::links());
    all
}
