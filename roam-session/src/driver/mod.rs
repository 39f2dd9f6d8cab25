//! Everything between a transport of whole messages and the handles and
//! dispatchers of a program.
//!
//! A link is set up by [`accept_framed`] or [`initiate_framed`] (both ends say
//! Hello), and then run by its [`Driver`]. It starts with one connection, the root;
//! more are opened over it by [`ConnectionHandle::connect`](crate::ConnectionHandle::connect)
//! and accepted as [`IncomingConnection`]s. [`connect_framed`] makes a client that
//! sets up a new link whenever it has none.

mod config;
mod connection;
mod error;
mod handshake;
mod link;
mod reconnect;
mod run;
mod virtual_connection;

pub use config::{HandshakeConfig, Negotiated, RetryPolicy};
pub use error::ConnectionError;
pub use handshake::{accept_framed, initiate_framed};
pub use reconnect::{FramedClient, MessageConnector, connect_framed, connect_framed_with_policy};
pub use run::Driver;
pub use virtual_connection::{IncomingConnection, IncomingConnections};

pub use crate::dispatch::NoDispatcher;
pub use crate::error::ConnectError;
