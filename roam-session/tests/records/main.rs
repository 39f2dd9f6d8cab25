//! What the session records, read back through the registry's reader: the rows
//! that a dump of this very process would show.
//!
//! All tests share the process's registry, so each reads connections of its own.

mod channels;
mod connections;
mod foreign;
mod large;
mod links;
mod outages;
mod requests;
mod rows;
#[cfg(unix)]
mod shm;
mod transport;
mod wire;
