//! Verdicts and the wait graph over processes that are made up.

mod channels;
mod graph;
mod links;
mod planted;
mod requests;
mod sockets;
mod world;
