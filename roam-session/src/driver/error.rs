//! Why a link ends, and why there is none.

use std::io;

use crate::ConnectError;

/// Says why a link ended.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The transport failed.
    #[error("IO error: {0}")]
    Io(#[from] io::Error),
    /// The peer broke a rule of the protocol. It was sent a Goodbye that names the rule.
    #[error("protocol violation: {rule_id}: {context}")]
    ProtocolViolation {
        /// Name of the rule, as in the Goodbye.
        rule_id: &'static str,
        /// Details for people.
        context: String,
    },
    /// A dispatcher failed.
    #[error("dispatch error: {0}")]
    Dispatch(String),
    /// The peer closed the link before it sent Hello.
    #[error("connection closed")]
    Closed,
}

impl ConnectionError {
    pub(super) fn violation(rule_id: &'static str, context: impl Into<String>) -> Self {
        Self::ProtocolViolation {
            rule_id,
            context: context.into(),
        }
    }

    /// The same error for a caller that has no link yet.
    pub(super) fn before_the_link(self) -> ConnectError {
        let kind = match self {
            Self::Io(error) => return ConnectError::ConnectFailed(error),
            Self::ProtocolViolation { .. } => io::ErrorKind::InvalidData,
            Self::Dispatch(_) => io::ErrorKind::Other,
            Self::Closed => io::ErrorKind::ConnectionReset,
        };
        ConnectError::ConnectFailed(io::Error::new(kind, self.to_string()))
    }
}
