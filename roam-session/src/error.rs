//! How a call fails, layer by layer: the method's own error or the peer's
//! refusal ([`RoamError`]), the way to the peer ([`TransportError`]), the bytes
//! that came back ([`DecodeError`]), and all of them in one ([`CallError`]).

use std::{fmt, io};

use facet::Facet;
use roam_frame::OwnedMessage;

/// Bytes did not decode.
type DeserializeError = facet_postcard::DeserializeError<facet_postcard::PostcardError>;

/// The error type of a method that cannot fail.
// `std::convert::Infallible` would say it better, but implements no `Facet`.
#[derive(Debug, Clone, PartialEq, Eq, Facet)]
pub struct Never;

/// The error half of every response on the wire. The discriminants are the wire's.
#[repr(u8)]
#[derive(Debug, Clone, PartialEq, Eq, Facet)]
pub enum RoamError<E> {
    /// The method's own error.
    User(E) = 0,
    /// The callee has no method of that id.
    UnknownMethod = 1,
    /// The callee could not decode the arguments.
    InvalidPayload = 2,
    /// The call was cancelled, or a proxy lost its upstream.
    Cancelled = 3,
}

impl<E> RoamError<E> {
    /// Applies `f` to the method's own error.
    pub fn map_user<F, E2>(self, f: F) -> RoamError<E2>
    where
        F: FnOnce(E) -> E2,
    {
        match self {
            Self::User(error) => RoamError::User(f(error)),
            Self::UnknownMethod => RoamError::UnknownMethod,
            Self::InvalidPayload => RoamError::InvalidPayload,
            Self::Cancelled => RoamError::Cancelled,
        }
    }
}

/// What a response's payload encodes.
pub type CallResult<T, E> = ::core::result::Result<T, RoamError<E>>;

/// A [`CallResult`] that borrows from the message it came in.
pub type BorrowedCallResult<T, E> = OwnedMessage<CallResult<T, E>>;

/// Why a typed call failed. `E` is the method's own error.
#[derive(Debug)]
pub enum CallError<E = Never> {
    /// The callee answered with an error.
    Roam(RoamError<E>),
    /// The arguments did not serialize.
    Encode(facet_postcard::SerializeError),
    /// The value or error in the response did not decode.
    Decode(DeserializeError),
    /// The response's bytes are no result at all.
    Protocol(DecodeError),
    /// The connection closed before the response came.
    ConnectionClosed,
    /// Nothing drives the connection any more.
    DriverGone,
}

impl<E> CallError<E> {
    /// Applies `f` to the method's own error.
    pub fn map_user<F, E2>(self, f: F) -> CallError<E2>
    where
        F: FnOnce(E) -> E2,
    {
        match self {
            Self::Roam(error) => CallError::Roam(error.map_user(f)),
            Self::Encode(error) => CallError::Encode(error),
            Self::Decode(error) => CallError::Decode(error),
            Self::Protocol(error) => CallError::Protocol(error),
            Self::ConnectionClosed => CallError::ConnectionClosed,
            Self::DriverGone => CallError::DriverGone,
        }
    }
}

impl<E: fmt::Debug> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Roam(error) => write!(f, "roam error: {error:?}"),
            Self::Encode(error) => write!(f, "encode error: {error}"),
            Self::Decode(error) => write!(f, "decode error: {error}"),
            Self::Protocol(error) => write!(f, "protocol error: {error}"),
            Self::ConnectionClosed => f.write_str("connection closed"),
            Self::DriverGone => f.write_str("driver task stopped"),
        }
    }
}

impl<E: fmt::Debug> std::error::Error for CallError<E> {}

impl<E> From<TransportError> for CallError<E> {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Encode(error) => Self::Encode(error),
            TransportError::ConnectionClosed => Self::ConnectionClosed,
            TransportError::DriverGone => Self::DriverGone,
        }
    }
}

impl<E> From<DecodeError> for CallError<E> {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Postcard(error) => Self::Decode(error),
            other => Self::Protocol(other),
        }
    }
}

/// Why a call got no response.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The arguments did not serialize.
    #[error("encode error: {0}")]
    Encode(facet_postcard::SerializeError),
    /// The connection closed before the response came.
    #[error("connection closed")]
    ConnectionClosed,
    /// Nothing drives the connection any more.
    #[error("driver task stopped")]
    DriverGone,
}

/// Why a response's bytes are no result.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// There are none.
    #[error("empty response payload")]
    EmptyPayload,
    /// They say "error" and end there.
    #[error("truncated error response")]
    TruncatedError,
    /// They name an error that [`RoamError`] does not have.
    #[error("unknown RoamError discriminant: {0}")]
    UnknownRoamErrorDiscriminant(u8),
    /// They start with neither 0 (value) nor 1 (error).
    #[error("invalid Result discriminant: {0}")]
    InvalidResultDiscriminant(u8),
    /// The value or error in them did not decode.
    #[error("postcard: {0}")]
    Postcard(DeserializeError),
}

/// An error of a client that is generic over its transport's.
#[derive(Debug)]
pub enum ClientError<TransportError> {
    /// The transport's own error.
    Transport(TransportError),
    /// The arguments did not serialize.
    Encode(facet_postcard::SerializeError),
    /// The response did not decode.
    Decode(DeserializeError),
}

impl<TransportError> From<TransportError> for ClientError<TransportError> {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

/// Why a dispatcher could not answer.
#[derive(Debug)]
pub enum DispatchError {
    /// The result did not serialize.
    Encode(facet_postcard::SerializeError),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No attempt succeeded.
    #[error("reconnection failed after {attempts} attempts: {original}")]
    RetriesExhausted {
        /// How one of them failed.
        #[source]
        original: io::Error,
        /// How many there were.
        attempts: u32,
    },
    /// There is no way to the peer.
    #[error("connection failed: {0}")]
    ConnectFailed(#[source] io::Error),
    /// The call itself failed.
    #[error("RPC error: {0}")]
    Rpc(#[from] TransportError),
    /// The peer does not want the virtual connection.
    #[error("connection rejected: {0}")]
    Rejected(String),
}
