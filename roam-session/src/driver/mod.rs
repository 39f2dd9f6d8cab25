//! Moves messages between a transport and the handles and dispatchers of a
//! program.
//!
//! [`accept_framed`] and [`initiate_framed`] set up a link (both ends send Hello),
//! and its [`Driver`] runs it. A link starts with one connection, the root.
//! [`ConnectionHandle::connect`](crate::ConnectionHandle::connect) opens more, which the
//! peer accepts as [`IncomingConnection`]s. [`connect_framed`] creates a client that
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
