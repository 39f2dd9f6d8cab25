//! The client's side of the whole run: every suite in both directions, every script in both roles, and
//! what needs more than one link. Prints the transcript; judges nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use roam_session::{
    Caller, FramedClient, MessageConnector, NoDispatcher, RetryPolicy, Role,
    connect_framed_with_policy,
};
use roam_stream::{CobsFramed, Connector, HandshakeConfig};
use tokio::net::UnixStream;

use crate::host::Host;
use crate::link::Link;
use crate::service::{ControlClient, PeerClient, peer_method_id};
use crate::suite::{self, FEW_CONCURRENT, SUITES};
use crate::transcript::Transcript;
use crate::victim;
use crate::wire::{self, SCRIPTS};

/// Runs everything against the serving process.
pub async fn run(host: Arc<Host>) -> Result<()> {
    let control = ControlClient::new(dial(&host).await?.handle);
    for name in SUITES {
        let link = dial(&host).await?;
        print(
            &format!("{name}, the initiator calls"),
            suite::run(name, link.handle).await,
        );
        let link = dial(&host).await?;
        ControlClient::new(link.handle)
            .mirror(name.to_owned())
            .await?;
        print(
            &format!("{name}, the acceptor calls"),
            control.result().await?,
        );
    }
    print("both call at once", both_at_once(&host, &control).await?);
    for script in SCRIPTS {
        control.arm_victim(script.to_owned()).await?;
        let raw = wire::play(script, host.dial(".victim").await?, Role::Initiator).await;
        print(&format!("{script}, played to the acceptor"), raw);
        print(
            &format!("{script}, seen by the acceptor"),
            control.result().await?,
        );

        control.arm_raw(script.to_owned()).await?;
        let stream = host.dial(".raw").await?;
        let seen = victim::run(host.clone(), script, stream, Role::Initiator).await;
        print(&format!("{script}, seen by the initiator"), seen);
        print(
            &format!("{script}, played to the initiator"),
            control.result().await?,
        );
    }
    print(
        "the server goes away",
        server_goes_away(&host, &control).await?,
    );
    print(
        "the client goes away",
        client_goes_away(&host, &control).await?,
    );
    print(
        "reconnect, framed",
        reconnect_framed(&host, &control).await?,
    );
    print(
        "reconnect, byte stream",
        reconnect_stream(&host, &control).await?,
    );
    Ok(())
}

fn print(scenario: &str, lines: Vec<String>) {
    println!("== {scenario}");
    for line in lines {
        println!("{line}");
    }
}

async fn dial(host: &Arc<Host>) -> Result<Link> {
    Ok(Link::open(host.clone(), host.dial("").await?, Role::Initiator).await?)
}

async fn both_at_once(host: &Arc<Host>, control: &ControlClient) -> Result<Vec<String>> {
    let handle = dial(host).await?.handle;
    ControlClient::new(handle.clone())
        .mirror(FEW_CONCURRENT.to_owned())
        .await?;
    let mut log = Transcript(suite::run(FEW_CONCURRENT, handle).await);
    log.note("the other way", control.result().await);
    Ok(log.0)
}

async fn server_goes_away(host: &Arc<Host>, control: &ControlClient) -> Result<Vec<String>> {
    let mut log = Transcript::default();
    control.flaky(true).await?;
    let link = Link::open(host.clone(), host.dial(".flaky").await?, Role::Initiator).await?;
    let peer = PeerClient::new(link.handle);
    let before = control.holds().await?;
    let (pending, gone) = tokio::join!(async { peer.hold().await }, async {
        wait_for_holds(control, before.0 + 1).await;
        control.flaky(false).await
    });
    log.note("pending", pending);
    log.note("gone", gone);
    log.note("driver", link.driver.await);
    log.note("afterwards", peer.echo("nobody".to_owned()).await);
    settle(control, before, &mut log).await;
    Ok(log.0)
}

async fn client_goes_away(host: &Arc<Host>, control: &ControlClient) -> Result<Vec<String>> {
    let mut log = Transcript::default();
    let before = control.holds().await?;
    let link = dial(host).await?;
    let peer = PeerClient::new(link.handle);
    let pending = tokio::spawn(async move { peer.hold().await });
    wait_for_holds(control, before.0 + 1).await;
    link.driver.abort();
    log.note("pending", pending.await);
    settle(control, before, &mut log).await;
    Ok(log.0)
}

async fn wait_for_holds(control: &ControlClient, waiting: u32) {
    while control.holds().await.is_ok_and(|holds| holds.0 != waiting) {}
}

/// A handler outlives its link in 0.6: releases it and waits until it has finished.
async fn settle(control: &ControlClient, before: (u32, u32), log: &mut Transcript) {
    log.note("release", control.release().await);
    let finished = async { while control.holds().await.is_ok_and(|holds| holds.1 == before.1) {} };
    let finished = tokio::time::timeout(Duration::from_secs(2), finished).await;
    log.note("the handler ran on", finished.is_ok());
}

/// Connects to the flaky socket, which it has opened again before its n-th attempt.
#[derive(Clone)]
struct Dial {
    host: Arc<Host>,
    control: ControlClient,
    attempts: Arc<AtomicU32>,
    reopen_at: Arc<AtomicU32>,
}

impl Dial {
    fn new(host: &Arc<Host>, control: &ControlClient) -> Self {
        Self {
            host: host.clone(),
            control: control.clone(),
            attempts: Arc::default(),
            reopen_at: Arc::default(),
        }
    }

    async fn stream(&self) -> io::Result<UnixStream> {
        let attempt = self.attempts.fetch_add(1, Ordering::SeqCst) + 1;
        if attempt == self.reopen_at.load(Ordering::SeqCst) {
            self.control.flaky(true).await.map_err(io::Error::other)?;
        }
        self.host.dial(".flaky").await
    }

    /// Two attempts fail, the third finds the socket open.
    async fn close_until_third_attempt(&self) -> Result<u32> {
        self.control.flaky(false).await?;
        let attempts = self.attempts.load(Ordering::SeqCst);
        self.reopen_at.store(attempts + 3, Ordering::SeqCst);
        Ok(attempts)
    }
}

impl Connector for Dial {
    type Transport = UnixStream;

    async fn connect(&self) -> io::Result<UnixStream> {
        self.stream().await
    }
}

impl MessageConnector for Dial {
    type Transport = CobsFramed<UnixStream>;

    async fn connect(&self) -> io::Result<CobsFramed<UnixStream>> {
        self.stream().await.map(CobsFramed::new)
    }
}

fn policy() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 6,
        initial_backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(20),
        backoff_multiplier: 2.0,
    }
}

async fn reconnect_framed(host: &Arc<Host>, control: &ControlClient) -> Result<Vec<String>> {
    let mut log = Transcript::default();
    let dial = Dial::new(host, control);
    let client: FramedClient<_, _> = connect_framed_with_policy(
        dial.clone(),
        HandshakeConfig::default(),
        NoDispatcher,
        policy(),
    );
    reconnects(&dial, client.clone(), &mut log).await?;
    let payload = facet_postcard::to_vec(&("raw".to_owned(),))?;
    log.note(
        "exhausted",
        client
            .call_raw(peer_method_id::echo(), payload.clone())
            .await,
    );
    control.flaky(true).await?;
    log.note(
        "back",
        client.call_raw(peer_method_id::echo(), payload).await,
    );
    log.note(
        "handle",
        client.handle().await.map(|handle| handle.conn_id()),
    );
    control.flaky(false).await?;
    Ok(log.0)
}

async fn reconnect_stream(host: &Arc<Host>, control: &ControlClient) -> Result<Vec<String>> {
    let mut log = Transcript::default();
    let dial = Dial::new(host, control);
    let client = roam_stream::connect_with_policy(
        dial.clone(),
        HandshakeConfig::default(),
        NoDispatcher,
        policy(),
    );
    reconnects(&dial, client, &mut log).await?;
    Ok(log.0)
}

async fn reconnects(dial: &Dial, client: impl Caller, log: &mut Transcript) -> Result<()> {
    let peer = PeerClient::new(client);
    log.note(
        "attempts before the first call",
        dial.attempts.load(Ordering::SeqCst),
    );
    dial.control.flaky(true).await?;
    log.note("first", peer.echo("first".to_owned()).await);
    log.note("user error", peer.divide(1, 0).await);
    log.note("attempts", dial.attempts.load(Ordering::SeqCst));
    for round in ["second", "third"] {
        let before = dial.close_until_third_attempt().await?;
        log.note(round, peer.echo(round.to_owned()).await);
        log.note("attempts", dial.attempts.load(Ordering::SeqCst) - before);
    }
    dial.control.flaky(false).await?;
    log.note("gone for good", peer.echo("fourth".to_owned()).await);
    Ok(())
}
