//! The incidents, as data.

mod data;
mod handlers;
mod links;
mod plant;
mod processes;

pub(crate) use data::{Act, Incident};

/// All incidents.
pub(crate) fn incidents() -> Vec<Incident> {
    let mut all = processes::processes();
    all.extend(handlers::handlers());
    all.extend(links::links());
    all
}
