//! What a client that reconnects shows while its server is gone.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::poll;
use roam_diagnostic::registry::ConnectionState;
use roam_dump::model::Connection;
use roam_session::{
    FramedClient, HandshakeConfig, MessageConnector, MessageTransport, NoDispatcher, RetryPolicy,
    accept_framed, connect_framed_with_policy,
};
use roam_wire::Message;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::links::{ECHO, Service};
use crate::rows::{snapshot, wait_for, wait_until};
use crate::wire::{self, Wire};

/// Declares a transport of a test's own, so that its rows have a name of their own.
macro_rules! transport {
    ($name:ident) => {
        struct $name(Wire);

        impl MessageTransport for $name {
            async fn send(&mut self, msg: &Message) -> io::Result<()> {
                self.0.send(msg).await
            }

            async fn recv_timeout(&mut self, timeout: Duration) -> io::Result<Option<Message>> {
                self.0.recv_timeout(timeout).await
            }

            async fn recv(&mut self) -> io::Result<Option<Message>> {
                self.0.recv().await
            }

            fn last_decoded(&self) -> &[u8] {
                self.0.last_decoded()
            }
        }

        impl From<Wire> for $name {
            fn from(wire: Wire) -> Self {
                Self(wire)
            }
        }
    };
}

transport!(Mortal);
transport!(Slow);
transport!(Patient);

/// A server that can die and come back.
#[derive(Clone, Default)]
struct Server {
    is_dead: Arc<AtomicBool>,
    driver: Arc<Mutex<Option<JoinHandle<()>>>>,
    /// Held while nobody may connect.
    door: Arc<Mutex<()>>,
}

impl Server {
    async fn die(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
        if let Some(driver) = self.driver.lock().await.take() {
            driver.abort();
        }
    }
}

struct Connector<T> {
    server: Server,
    transport: fn(Wire) -> T,
}

impl<T: MessageTransport + 'static> MessageConnector for Connector<T> {
    type Transport = T;

    async fn connect(&self) -> io::Result<T> {
        let _door = self.server.door.lock().await;
        if self.server.is_dead.load(Ordering::Relaxed) {
            return Err(io::Error::other(format!("!{}", "ä".repeat(100))));
        }
        let (ours, theirs) = wire::pair();
        let driver = tokio::spawn(async move {
            let accept = accept_framed(theirs, HandshakeConfig::default(), Service::default());
            let (_handle, _incoming, driver) = accept.await.unwrap();
            let _ = driver.run().await;
        });
        *self.server.driver.lock().await = Some(driver);
        Ok((self.transport)(ours))
    }
}

fn client<T: MessageTransport + From<Wire> + 'static>(
    server: &Server,
) -> Arc<FramedClient<Connector<T>, NoDispatcher>> {
    client_with_backoff(server, Duration::from_millis(1))
}

fn client_with_backoff<T: MessageTransport + From<Wire> + 'static>(
    server: &Server,
    backoff: Duration,
) -> Arc<FramedClient<Connector<T>, NoDispatcher>> {
    let policy = RetryPolicy {
        max_attempts: 2,
        initial_backoff: backoff,
        max_backoff: backoff,
        ..RetryPolicy::default()
    };
    let connector = Connector {
        server: server.clone(),
        transport: T::from,
    };
    let config = HandshakeConfig::default();
    Arc::new(connect_framed_with_policy(
        connector,
        config,
        NoDispatcher,
        policy,
    ))
}

/// The rows of a test's client, which are those of its transport.
fn rows(transport: &str) -> Vec<Connection> {
    let mut rows = snapshot().connections;
    rows.retain(|row| row.name.starts_with(&format!("initiator {transport} #")));
    rows
}

async fn only_row(transport: &str) -> Connection {
    wait_for("there is one row", || {
        <[_; 1]>::try_from(rows(transport)).ok().map(|[row]| row)
    })
    .await
}

#[tokio::test]
async fn an_outage_is_one_row_and_losses_are_carried_on() {
    let server = Server::default();
    let client = client::<Mortal>(&server);
    let call = || {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.call_raw(ECHO, vec![1, b'x']).await })
    };
    call().await.unwrap().unwrap();
    let open = only_row("Mortal").await;
    assert_eq!((open.state, open.losses), (ConnectionState::Open, 0));

    for losses in 1..3 {
        server.die().await;
        let mut serial = None;
        let mut attempts = 0;
        for _ in 0..3 {
            for call in [call(), call(), call()] {
                assert!(call.await.unwrap().is_err());
            }
            // It stays while nobody calls.
            let row = only_row("Mortal").await;
            assert_eq!(row.state, ConnectionState::Disconnected);
            assert_eq!(row.losses, losses);
            assert_eq!(*serial.get_or_insert(row.serial), row.serial);
            assert!(row.attempts >= attempts + 3, "{row:?}");
            attempts = row.attempts;
            let error = row.last_error.unwrap();
            assert_eq!(*error, format!("!{}", "ä".repeat(55)));
        }

        server.is_dead.store(false, Ordering::Relaxed);
        call().await.unwrap().unwrap();
        let row = only_row("Mortal").await;
        assert_eq!((row.state, row.losses), (ConnectionState::Open, losses));
        assert_eq!((row.attempts, row.last_error), (0, None));
    }

    server.die().await;
    assert!(call().await.unwrap().is_err());
    assert_eq!(only_row("Mortal").await.losses, 3);
    drop(client);
    wait_until("the row is gone", || rows("Mortal").is_empty()).await;
}

#[tokio::test]
async fn an_attempt_that_is_given_up_leaves_an_outage_as_it_is() {
    let server = Server::default();
    let client = client::<Slow>(&server);
    {
        let _door = server.door.lock().await;
        let mut first = std::pin::pin!(client.handle());
        assert!(poll!(&mut first).is_pending());
        assert_eq!(only_row("Slow").await.state, ConnectionState::Connecting);
    }
    assert_eq!(rows("Slow"), [], "nothing was lost yet");

    server.die().await;
    assert!(client.handle().await.is_err());
    let failed = only_row("Slow").await;
    {
        let _door = server.door.lock().await;
        let mut second = std::pin::pin!(client.handle());
        assert!(poll!(&mut second).is_pending());
        assert_eq!(only_row("Slow").await.state, ConnectionState::Connecting);
    }
    let row = only_row("Slow").await;
    assert_eq!((row.serial, row.attempts), (failed.serial, 1));
    assert_eq!(row.state, ConnectionState::Disconnected);
}

#[tokio::test]
async fn a_client_backs_off_while_a_call_waits() {
    let server = Server::default();
    server.die().await;
    let client = client_with_backoff::<Patient>(&server, Duration::from_secs(600));
    let backing_off = async |attempts| {
        let row = only_row("Patient").await;
        assert_eq!(
            (row.state, row.attempts),
            (ConnectionState::BackingOff, attempts)
        );
        row
    };
    let mut first = Box::pin(client.call_raw(ECHO, vec![1, b'x']));
    assert!(poll!(&mut first).is_pending());
    let row = backing_off(1).await;
    let mut second = Box::pin(client.call_raw(ECHO, vec![1, b'x']));
    assert!(poll!(&mut second).is_pending());
    drop(first);
    assert_eq!(backing_off(2).await.serial, row.serial);
    drop(second);
    let row = only_row("Patient").await;
    assert_eq!(
        (row.state, row.attempts),
        (ConnectionState::Disconnected, 2)
    );
}
