//! The start of a link: both ends send Hello at once, and agree on the lower of
//! each two offers.

use std::any::type_name;
use std::io;
use std::time::Duration;

use roam_diagnostic::registry::ConnectionState;
use roam_wire::{ConnectionId, Hello, Message};

use super::link::{Link, LinkParts, Violation, goodbye};
use super::{ConnectionError, Driver, HandshakeConfig, IncomingConnections, Negotiated};
use crate::record::{ConnectionTracker, Opening};
use crate::runtime::channel;
use crate::{ConnectionHandle, MessageTransport, Role, ServiceDispatcher};

/// Maximum wait for the Hello of the peer.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages that the queue of the driver holds.
const QUEUED_MESSAGES: usize = 256;
/// Virtual connections that can wait for the program, and answers that can wait for the driver.
const OFFERED_CONNECTIONS: usize = 64;

const UNKNOWN_VERSION: Violation = "message.hello.unknown-version";
const NOT_HELLO: Violation = "message.hello.ordering";

/// Sets up a link that the peer opened. Returns a handle for calls to the peer, the requests of the peer for
/// virtual connections, and the driver. Nothing happens on the link unless [`Driver::run`] is polled.
///
/// # Errors
///
/// Fails if the transport fails, or if the peer sends no supported Hello within 5 seconds.
pub async fn accept_framed<T, D>(
    transport: T,
    config: HandshakeConfig,
    dispatcher: D,
) -> Result<(ConnectionHandle, IncomingConnections, Driver<T, D>), ConnectionError>
where
    T: MessageTransport,
    D: ServiceDispatcher,
{
    establish(transport, &config, dispatcher, Role::Acceptor).await
}

/// Sets up a link that this end opened. Returns what [`accept_framed`] returns.
///
/// # Errors
///
/// See [`accept_framed`].
pub async fn initiate_framed<T, D>(
    transport: T,
    config: HandshakeConfig,
    dispatcher: D,
) -> Result<(ConnectionHandle, IncomingConnections, Driver<T, D>), ConnectionError>
where
    T: MessageTransport,
    D: ServiceDispatcher,
{
    establish(transport, &config, dispatcher, Role::Initiator).await
}

async fn establish<T, D>(
    mut io: T,
    config: &HandshakeConfig,
    dispatcher: D,
    role: Role,
) -> Result<(ConnectionHandle, IncomingConnections, Driver<T, D>), ConnectionError>
where
    T: MessageTransport,
    D: ServiceDispatcher,
{
    // The row shows that this end waits for the Hello of the peer.
    let tracker = ConnectionTracker::open(&Opening {
        conn_id: ConnectionId::ROOT,
        role,
        link: None,
        transport: Some(type_name::<T>()),
        diagnostic_state: None,
        state: ConnectionState::Connecting,
        served_here: true,
    });
    let negotiated = exchange_hellos(&mut io, config).await?;
    tracker.row().set_state(ConnectionState::Open, 0);
    let (driver_tx, queue) = channel(QUEUED_MESSAGES);
    let (offers, incoming) = channel(OFFERED_CONNECTIONS);
    let (answers_tx, answers) = channel(OFFERED_CONNECTIONS);
    let link = Link::new(LinkParts {
        role,
        negotiated,
        dispatcher,
        driver_tx,
        offers,
        answers: answers_tx,
        tracker,
    });
    let handle = link.root_handle().clone();
    Ok((handle, incoming, Driver::new(io, link, queue, answers)))
}

async fn exchange_hellos<T: MessageTransport>(
    io: &mut T,
    config: &HandshakeConfig,
) -> Result<Negotiated, ConnectionError> {
    io.send(&Message::Hello(config.to_hello())).await?;
    let received = io.recv_timeout(HELLO_TIMEOUT).await;
    match negotiate(config, received, io.last_decoded()) {
        Ok(negotiated) => Ok(negotiated),
        Err(error) => {
            if let ConnectionError::ProtocolViolation { rule_id, .. } = error {
                // The peer may be gone; what it did wrong is the error either way.
                let _ = io.send(&goodbye(rule_id)).await;
            }
            Err(error)
        }
    }
}

/// What both ends agree on. `received` is what arrived instead of or as a Hello, `frame` its bytes.
fn negotiate(
    config: &HandshakeConfig,
    received: io::Result<Option<Message>>,
    frame: &[u8],
) -> Result<Negotiated, ConnectionError> {
    match received {
        Ok(Some(Message::Hello(Hello::V2 {
            max_payload_size,
            initial_channel_credit,
        }))) => Ok(Negotiated {
            max_payload_size: config.max_payload_size.min(max_payload_size),
            initial_credit: config.initial_channel_credit.min(initial_channel_credit),
        }),
        Ok(Some(Message::Hello(Hello::V1 { .. }))) => Err(ConnectionError::violation(
            UNKNOWN_VERSION,
            "the peer speaks version 1, which has no virtual connections",
        )),
        Ok(Some(_)) => Err(ConnectionError::violation(
            NOT_HELLO,
            "the peer's first message was no Hello",
        )),
        Ok(None) => Err(ConnectionError::Closed),
        Err(error) => Err(match frame {
            [0, version, ..] if *version > 1 => ConnectionError::violation(
                UNKNOWN_VERSION,
                format!("the peer speaks version {}", u16::from(*version) + 1),
            ),
            _ => ConnectionError::Io(error),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(max_payload_size: u32, initial_channel_credit: u32) -> Message {
        Message::Hello(Hello::V2 {
            max_payload_size,
            initial_channel_credit,
        })
    }

    #[track_caller]
    fn check(
        received: io::Result<Option<Message>>,
        frame: &[u8],
        expected: Result<(u32, u32), &str>,
    ) {
        let config = HandshakeConfig {
            max_payload_size: 100,
            initial_channel_credit: 50,
        };
        let negotiated = negotiate(&config, received, frame);
        match (negotiated, expected) {
            (Ok(negotiated), Ok(expected)) => assert_eq!(
                (negotiated.max_payload_size, negotiated.initial_credit),
                expected
            ),
            (Err(error), Err(expected)) => {
                let error = error.to_string();
                assert!(error.contains(expected), "{error}");
            }
            (negotiated, _) => panic!("{negotiated:?}"),
        }
    }

    #[test]
    fn the_lower_offer_counts() {
        check(Ok(Some(hello(10, 500))), &[], Ok((10, 50)));
        check(Ok(Some(hello(1_000, 5))), &[], Ok((100, 5)));
    }

    #[test]
    fn whatever_is_no_hello_of_ours_is_refused() {
        let old = Message::Hello(Hello::V1 {
            max_payload_size: 1,
            initial_channel_credit: 1,
        });
        let garbage = || Err(io::Error::from(io::ErrorKind::InvalidData));
        check(Ok(Some(old)), &[], Err("message.hello.unknown-version"));
        check(Ok(Some(goodbye("x"))), &[], Err("message.hello.ordering"));
        check(garbage(), &[0, 2, 0], Err("message.hello.unknown-version"));
        check(garbage(), &[0, 1], Err("IO error"));
        check(garbage(), &[77], Err("IO error"));
        check(Ok(None), &[], Err("connection closed"));
    }
}
