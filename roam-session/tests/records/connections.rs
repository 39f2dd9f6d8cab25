//! Connections: names, states, and what moved over them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use roam_diagnostic::registry::{ConnectionState, Role};
use roam_session::{
    FramedClient, HandshakeConfig, MessageConnector, MessageTransport, NoDispatcher, RetryPolicy,
    Tx, channel, connect_framed_with_policy, initiate_framed,
};
use roam_wire::{ConnectionId, Message};

use crate::links::{CONSUME, ECHO, PRODUCE, Service, TestLink};
use crate::rows::{connection, connections, snapshot, wait_for, wait_until};
use crate::wire::{self, Wire};

#[tokio::test]
async fn a_link_is_shown_from_its_first_message_on() {
    let (left, right) = wire::pair();
    let initiate = initiate_framed(left, HandshakeConfig::default(), NoDispatcher);
    let initiate = tokio::spawn(initiate);
    let row = wait_for("a link waits for its Hello", || {
        let mut rows = snapshot().connections.into_iter();
        rows.find(|row| {
            row.state == ConnectionState::Connecting && row.name.starts_with("initiator Wire #")
        })
    })
    .await;
    assert_eq!((row.role, row.conn_id), (Role::Initiator, 0));
    assert_eq!(row.link, row.serial);
    drop(right);
    assert!(initiate.await.unwrap().is_err());
    wait_until("its row is gone", || connections(&row.name).is_empty()).await;
}

#[tokio::test]
async fn a_virtual_connection_is_called_after_its_link() {
    let mut link = TestLink::new("virtual", Service::default()).await;
    let caller = link.caller.clone();
    let connect = tokio::spawn(async move { caller.connect(Vec::new(), None).await.ok() });
    let offer = link.service_incoming.recv().await.unwrap();
    let theirs = offer.accept(Vec::new(), None).await.unwrap();
    let ours = connect.await.unwrap().unwrap();

    for (link, role) in [
        (&link.caller_name, Role::Initiator),
        (&link.service_name, Role::Acceptor),
    ] {
        let row = connection(&format!("{link} conn 1"));
        assert_eq!((row.conn_id, row.role), (1, role));
        assert_eq!(row.link, connection(link).serial);
        assert_eq!(row.state, ConnectionState::Open);
    }
    link.caller.set_diagnostic_name("virtual renamed");
    assert_eq!(connections("virtual caller conn 1").len(), 0);
    assert_eq!(connection("virtual renamed conn 1").conn_id, 1);
    ours.set_diagnostic_name("virtual own name");
    link.caller.set_diagnostic_name("virtual renamed again");
    assert_eq!(connection("virtual own name").conn_id, 1);

    // Handles keep neither end's row.
    link.cut();
    wait_until("all four rows are gone", || {
        ["virtual renamed again", "virtual own name"]
            .into_iter()
            .chain([&*link.service_name, "virtual service conn 1"])
            .all(|name| connections(name).is_empty())
    })
    .await;
    drop((ours, theirs));
}

#[tokio::test]
async fn a_goodbye_of_a_virtual_connection_ends_its_row() {
    let (left, mut right) = wire::pair();
    let hello = Message::Hello(HandshakeConfig::default().to_hello());
    right.send(&hello).await.unwrap();
    let initiate = initiate_framed(left, HandshakeConfig::default(), NoDispatcher);
    let (handle, _incoming, driver) = initiate.await.unwrap();
    handle.set_diagnostic_name("goodbye");
    let driver = tokio::spawn(driver.run());
    let root = handle.clone();
    let connect = tokio::spawn(async move { root.connect(Vec::new(), None).await.ok() });
    assert!(matches!(right.recv().await, Ok(Some(Message::Hello(_)))));
    assert!(matches!(
        right.recv().await,
        Ok(Some(Message::Connect { request_id: 1, .. }))
    ));
    let conn_id = ConnectionId::new(4);
    right
        .send(&Message::Accept {
            request_id: 1,
            conn_id,
            metadata: Vec::new(),
        })
        .await
        .unwrap();
    let _virtual_handle = wait_connected(connect).await;
    assert_eq!(connections("goodbye conn 4").len(), 1);
    right
        .send(&Message::Goodbye {
            conn_id,
            reason: String::new(),
        })
        .await
        .unwrap();
    wait_until("the virtual connection's row is gone", || {
        connections("goodbye conn 4").is_empty()
    })
    .await;
    assert_eq!(connection("goodbye").state, ConnectionState::Open);
    driver.abort();
}

async fn wait_connected<T>(connect: tokio::task::JoinHandle<Option<T>>) -> T {
    connect.await.unwrap().expect("connected")
}

#[tokio::test]
async fn what_one_end_sent_the_other_received() {
    let service = Service::default();
    let mut link = TestLink::new("traffic", service.clone()).await;
    let caller = link.caller.clone();
    let connect = tokio::spawn(async move { caller.connect(Vec::new(), None).await.ok() });
    let offer = link.service_incoming.recv().await.unwrap();
    offer.accept(Vec::new(), None).await.unwrap();
    let ours = wait_connected(connect).await;
    for text in ["a", "bc"] {
        ours.call(ECHO, &mut text.to_owned()).await.unwrap();
        link.caller.call(ECHO, &mut text.to_owned()).await.unwrap();
    }
    let (tx, mut rx) = channel::<String>();
    let caller = link.caller.clone();
    let mut args: Tx<String> = tx;
    let call = tokio::spawn(async move { caller.call(PRODUCE, &mut args).await.is_ok() });
    for _ in 0..2 {
        assert_eq!(rx.recv().await.unwrap().as_deref(), Some("hello"));
    }
    service.finish.notify_one();
    assert_eq!(rx.recv().await.unwrap(), None);
    service.finish.notify_one();
    assert!(call.await.unwrap());

    let traffic = |name: &str| {
        let row = connection(name);
        let (sent, received) = (row.sent.unwrap(), row.received.unwrap());
        (
            (sent.messages, sent.payload_bytes),
            (received.messages, received.payload_bytes),
        )
    };
    // Connect and three calls: their payloads are 1 + 1 and 1 + 2 bytes, and a channel's id. Back come
    // Accept, the texts behind a byte each, two items, a Close, and an empty result.
    assert_eq!(traffic(&link.caller_name), ((4, 6), (7, 20)));
    assert_eq!(traffic(&link.service_name), ((7, 20), (4, 6)));
    let [ours, theirs] = [&link.caller_name, &link.service_name].map(|it| format!("{it} conn 1"));
    assert_eq!(traffic(&ours), ((2, 5), (2, 7)));
    assert_eq!(traffic(&theirs), ((2, 7), (2, 5)));

    for name in [&link.caller_name, &link.service_name] {
        let driver = connection(name).driver.unwrap();
        assert_eq!(driver.enqueued, driver.dequeued);
        assert_eq!(driver.writing_us, None);
    }
}

#[tokio::test]
async fn a_driver_that_waits_for_a_reader_shows_it() {
    let service = Service::default();
    let config = HandshakeConfig {
        initial_channel_credit: u32::MAX,
        ..HandshakeConfig::default()
    };
    let link = TestLink::with_config("stalled", service.clone(), config).await;
    let (tx, rx) = channel::<u32>();
    let caller = link.caller.clone();
    let mut args = rx;
    let _call = tokio::spawn(async move { caller.call(CONSUME, &mut args).await.is_ok() });
    // One more than the reader's buffer holds.
    for number in 0..1025 {
        tx.send(&number).await.unwrap();
    }
    let row = wait_for("the driver is delivering", || {
        let row = connection(&link.service_name);
        row.delivering.is_some().then_some(row)
    })
    .await;
    assert_eq!(row.delivering.unwrap().channel_id, 1);
    service.read.notify_one();
    wait_until("the driver goes on", || {
        connection(&link.service_name).delivering.is_none()
    })
    .await;
}

/// Fails a number of times, and then connects to a service.
struct Flaky {
    failures: AtomicU32,
    service: Service,
}

impl MessageConnector for Flaky {
    type Transport = Wire;

    async fn connect(&self) -> io::Result<Wire> {
        let left = self.failures.load(Ordering::Relaxed);
        if left > 0 {
            self.failures.store(left - 1, Ordering::Relaxed);
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (ours, theirs) = wire::pair();
        let service = self.service.clone();
        tokio::spawn(async move {
            let config = HandshakeConfig::default();
            let accept = roam_session::accept_framed(theirs, config, service);
            let (_handle, _incoming, driver) = accept.await.unwrap();
            let _ = driver.run().await;
        });
        Ok(ours)
    }
}

#[tokio::test]
async fn a_client_without_a_link_is_shown_while_it_tries() {
    let policy = RetryPolicy {
        max_attempts: 3,
        initial_backoff: Duration::from_millis(300),
        backoff_multiplier: 1.0,
        ..RetryPolicy::default()
    };
    let connector = Flaky {
        failures: AtomicU32::new(2),
        service: Service::default(),
    };
    let client: FramedClient<_, _> =
        connect_framed_with_policy(connector, HandshakeConfig::default(), NoDispatcher, policy);
    let client = Arc::new(client);
    // Clients of other tests, which have other transports, may be backing off as well.
    let backing_off = |attempts: u32| {
        let mut rows = snapshot().connections.into_iter();
        rows.find(|row| {
            row.state == ConnectionState::BackingOff
                && row.attempts == attempts
                && row.name.starts_with("initiator Wire #")
        })
    };
    let call = {
        let client = Arc::clone(&client);
        tokio::spawn(async move { client.call_raw(ECHO, vec![1, b'x']).await })
    };
    let first = wait_for("one attempt failed", || backing_off(1)).await;
    let second = wait_for("two attempts failed", || backing_off(2)).await;
    assert_eq!(second.serial, first.serial);
    assert_eq!(call.await.unwrap().unwrap(), [0, 1, b'x']);
    assert_eq!(connections(&first.name), []);
    let handle = client.handle().await.unwrap();
    handle.set_diagnostic_name("reconnected");
    assert_eq!(connection("reconnected").state, ConnectionState::Open);
}
