//! Verdicts and the wait graph over processes that are made up.

mod channels;
mod crowd;
mod graph;
mod hostile;
mod links;
mod planted;
mod processes;
mod requests;
mod sockets;
mod usual;
mod world;
