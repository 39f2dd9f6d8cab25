//! Where the registry says that a link's transport object is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roam_diagnostic::registry::own;
use roam_session::{HandshakeConfig, MessageTransport, NoDispatcher, initiate_framed};
use roam_wire::Message;

use crate::rows::{connection, wait_until};
use crate::wire::{self, Wire};

/// A transport that says where it is read, and what the registry says when it is dropped.
struct Located {
    wire: Wire,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    address: AtomicU64,
    /// Its row's address when it was dropped; 1 before.
    at_drop: AtomicU64,
    /// Serial of its row.
    row: AtomicU64,
}

impl MessageTransport for Located {
    async fn send(&mut self, msg: &Message) -> io::Result<()> {
        self.wire.send(msg).await
    }

    async fn recv_timeout(&mut self, timeout: Duration) -> io::Result<Option<Message>> {
        self.wire.recv_timeout(timeout).await
    }

    async fn recv(&mut self) -> io::Result<Option<Message>> {
        let address = std::ptr::from_ref(self).addr() as u64;
        self.seen.address.store(address, Ordering::Relaxed);
        self.wire.recv().await
    }

    fn last_decoded(&self) -> &[u8] {
        self.wire.last_decoded()
    }
}

impl Drop for Located {
    fn drop(&mut self) {
        let row = self.seen.row.load(Ordering::Relaxed);
        self.seen.at_drop.store(published(row).0, Ordering::Relaxed);
    }
}

/// Address and bytes of the transport in a connection's row.
fn published(serial: u64) -> (u64, u32) {
    let rows = own::rows().connections;
    let row = rows.iter().find(|row| row.serial == serial).unwrap();
    (row.transport_address, row.transport_bytes)
}

/// `end` has the driver's task end.
async fn check(name: &str, end: impl FnOnce(tokio::task::JoinHandle<()>, Wire)) {
    let (left, mut right) = wire::pair();
    let seen = Arc::new(Seen::default());
    seen.at_drop.store(1, Ordering::Relaxed);
    let config = HandshakeConfig::default();
    let hello = Message::Hello(config.to_hello());
    right.send(&hello).await.unwrap();
    let transport = Located {
        wire: left,
        seen: Arc::clone(&seen),
    };
    let initiated = initiate_framed(transport, config, NoDispatcher).await;
    let (handle, _incoming, driver) = initiated.unwrap();
    handle.set_diagnostic_name(name);
    let row = connection(name).serial;
    seen.row.store(row, Ordering::Relaxed);
    // It may still be moved.
    assert_eq!(published(row), (0, 0));

    let driver = tokio::spawn(async move {
        let _ = driver.run().await;
    });
    wait_until("the driver runs", || published(row).0 != 0).await;
    wait_until("the driver reads", || {
        let address = seen.address.load(Ordering::Relaxed);
        published(row) == (address, size_of::<Located>() as u32)
    })
    .await;

    end(driver, right);
    wait_until("the transport is dropped", || {
        seen.at_drop.load(Ordering::Relaxed) != 1
    })
    .await;
    assert_eq!(seen.at_drop.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_transport_is_shown_until_its_link_ends() {
    check("transport of a link that ends", |_, peer| drop(peer)).await;
}

#[tokio::test]
async fn a_transport_is_shown_until_its_driver_is_dropped() {
    check("transport of a dropped driver", |driver, peer| {
        driver.abort();
        std::mem::forget(peer);
    })
    .await;
}
