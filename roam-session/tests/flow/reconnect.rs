//! What a client that reconnects does with a link that others found dead before.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::poll;
use roam_session::{
    HandshakeConfig, MessageConnector, MessageTransport, NoDispatcher, RetryPolicy, accept_framed,
    connect_framed_with_policy,
};
use roam_wire::Message;
use tokio::sync::mpsc;

use super::{Arithmetic, DOUBLE, Pipe, pipe};

/// Hands the peer's end of every transport out.
struct Connector {
    peers: mpsc::UnboundedSender<Pipe>,
    links: Arc<AtomicUsize>,
}

impl MessageConnector for Connector {
    type Transport = Pipe;

    async fn connect(&self) -> io::Result<Pipe> {
        self.links.fetch_add(1, Ordering::Relaxed);
        let (ours, theirs) = pipe();
        self.peers.send(theirs).map_err(io::Error::other)?;
        Ok(ours)
    }
}

#[tokio::test]
async fn a_late_failure_leaves_the_next_link_alone() {
    let (peers, mut accepted) = mpsc::unbounded_channel();
    let links = Arc::new(AtomicUsize::new(0));
    let connector = Connector {
        peers,
        links: Arc::clone(&links),
    };
    let policy = RetryPolicy {
        initial_backoff: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    let config = HandshakeConfig::default();
    let client = connect_framed_with_policy(connector, config.clone(), NoDispatcher, policy);
    let mut early = pin!(client.call_raw(DOUBLE, vec![21]));
    let mut late = pin!(client.call_raw(DOUBLE, vec![4]));

    // The first peer takes both calls and goes.
    assert!(poll!(&mut early).is_pending());
    let mut peer = accepted.recv().await.unwrap();
    peer.send(&Message::Hello(config.to_hello())).await.unwrap();
    assert!(matches!(peer.recv().await, Ok(Some(Message::Hello(_)))));
    for _ in 0..2 {
        assert!(poll!(&mut early).is_pending());
        assert!(poll!(&mut late).is_pending());
        let received = peer.recv().await;
        assert!(matches!(received, Ok(Some(Message::Request { .. }))));
    }
    drop(peer);

    // The second one serves.
    tokio::spawn(async move {
        while let Some(peer) = accepted.recv().await {
            let accepting = accept_framed(peer, HandshakeConfig::default(), Arithmetic);
            let (_, _, driver) = accepting.await.unwrap();
            tokio::spawn(driver.run());
        }
    });
    assert_eq!(early.await.unwrap(), [0, 42]);
    assert_eq!(links.load(Ordering::Relaxed), 2);
    // This one learns only now that the first link failed.
    assert_eq!(late.await.unwrap(), [0, 8]);
    assert_eq!(links.load(Ordering::Relaxed), 2);
}
