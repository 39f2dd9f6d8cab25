//! How a call fails, layer by layer: the method's own error or the callee's
//! refusal ([`RoamError`]), the connection ([`TransportError`]), the bytes of the
//! response ([`DecodeError`]), and all of them in one ([`CallError`]). And why
//! there is no connection to call over ([`ConnectError`]).

use std::{fmt, io};

use facet::Facet;
use roam_frame::OwnedMessage;

/// Bytes that cannot be decoded.
type DeserializeError = facet_postcard::DeserializeError<facet_postcard::PostcardError>;

/// Stands for the error of a method that cannot fail.
// `std::convert::Infallible` would say it better, but implements no `Facet`.
#[derive(Debug, Clone, PartialEq, Eq, Facet)]
pub struct Never;

/// Encodes why a call failed in its response. The discriminants are those of the wire.
#[repr(u8)]
#[derive(Debug, Clone, PartialEq, Eq, Facet)]
pub enum RoamError<E> {
    /// The method's own error.
    User(E) = 0,
    /// The callee has no method with that id.
    UnknownMethod = 1,
    /// The callee cannot decode the arguments.
    InvalidPayload = 2,
    /// The call was cancelled, or a proxy lost its connection to the callee.
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

/// Holds what the payload of a response encodes.
pub type CallResult<T, E> = ::core::result::Result<T, RoamError<E>>;

/// Holds a [`CallResult`] that borrows from the message of the response.
pub type BorrowedCallResult<T, E> = OwnedMessage<CallResult<T, E>>;

/// Says why a typed call failed. `E` is the method's own error.
#[derive(Debug)]
pub enum CallError<E = Never> {
    /// The callee answered with an error.
    Roam(RoamError<E>),
    /// The arguments cannot be encoded.
    Encode(facet_postcard::SerializeError),
    /// The value or error in the response cannot be decoded.
    Decode(DeserializeError),
    /// The bytes of the response are not a result.
    Protocol(DecodeError),
    /// The connection closed before the response arrived.
    ConnectionClosed,
    /// The driver of the connection is gone.
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

/// Says why a call got no response.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The arguments cannot be encoded.
    #[error("encode error: {0}")]
    Encode(facet_postcard::SerializeError),
    /// The connection closed before the response arrived.
    #[error("connection closed")]
    ConnectionClosed,
    /// The driver of the connection is gone.
    #[error("driver task stopped")]
    DriverGone,
}

/// Says why the bytes of a response are not a result.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The payload is empty.
    #[error("empty response payload")]
    EmptyPayload,
    /// The payload ends after the byte for an error.
    #[error("truncated error response")]
    TruncatedError,
    /// The payload names an error that [`RoamError`] does not have.
    #[error("unknown RoamError discriminant: {0}")]
    UnknownRoamErrorDiscriminant(u8),
    /// The payload starts with neither 0 (value) nor 1 (error).
    #[error("invalid Result discriminant: {0}")]
    InvalidResultDiscriminant(u8),
    /// The value or error in the payload cannot be decoded.
    #[error("postcard: {0}")]
    Postcard(DeserializeError),
}

/// Says why a call of a client failed. `TransportError` is the error of the client's transport.
#[derive(Debug)]
pub enum ClientError<TransportError> {
    /// The transport failed.
    Transport(TransportError),
    /// The arguments cannot be encoded.
    Encode(facet_postcard::SerializeError),
    /// The response cannot be decoded.
    Decode(DeserializeError),
}

impl<TransportError> From<TransportError> for ClientError<TransportError> {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

/// Says why a dispatcher did not answer.
#[derive(Debug)]
pub enum DispatchError {
    /// The result cannot be encoded.
    Encode(facet_postcard::SerializeError),
}

/// Says why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Every attempt that the [`RetryPolicy`](crate::RetryPolicy) allows failed.
    #[error("reconnection failed after {attempts} attempts: {original}")]
    RetriesExhausted {
        /// Error of the attempt before the last, or of the only one.
        #[source]
        original: io::Error,
        /// Number of attempts.
        attempts: u32,
    },
    /// The attempt to connect failed.
    #[error("connection failed: {0}")]
    ConnectFailed(#[source] io::Error),
    /// The call itself failed.
    #[error("RPC error: {0}")]
    Rpc(#[from] TransportError),
    /// The peer rejected the virtual connection, for this reason.
    #[error("connection rejected: {0}")]
    Rejected(String),
}
