//! What `roam-trace top` shows: readings of processes, made into rows, drawn on a terminal.
//!
//! Data goes one way: a [`Reading`] and the one before become the rows of a view, [`State`] sorts and filters them and
//! takes keys, and [`draw`] draws it. Nothing here reads a process or a terminal.

mod cell;
mod details;
mod draw;
mod layout;
mod reading;
mod readings;
mod row;
mod state;
mod summary;
#[cfg(test)]
mod tests;
mod view;

pub(crate) use draw::{Theme, body_rows, draw};
pub(crate) use reading::{Key, MethodKey, ProcessReading, ProcessStatus, Reading};
pub(crate) use state::{State, Step};
#[cfg(test)]
pub(crate) use view::View;
