//! Background traffic: short calls at a bounded rate, which can be paused without leaving one in flight.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use roam::session::{CallError, ConnectionHandle, RoamError};
use tokio::sync::{OnceCell, Semaphore, watch};

use crate::log::Witness;
use crate::serve::UNKNOWN_ROUTE;
use crate::service::{
    ArchiveClient, Behavior, ContentServiceClient, MarkdownClient, TcpTunnelClient, Ticket, method,
};

/// Calls of one traffic in flight at the most.
const CONCURRENCY: u32 = 16;
/// Calls that must have been answered before a traffic counts as flowing.
const FLOWING: u64 = 3;

/// Background calls from one process over one link.
#[derive(Debug)]
pub(crate) struct BackgroundTraffic {
    permits: Arc<Semaphore>,
    answered: watch::Receiver<u64>,
    paused: OnceCell<()>,
    calls_per_second: u32,
}

impl BackgroundTraffic {
    /// Makes `call` about that often, until paused; `failed` hears of a call that failed.
    pub(crate) fn start<C, F>(
        calls_per_second: u32,
        call: C,
        failed: impl Fn(anyhow::Error) + Clone + Send + Sync + 'static,
    ) -> Self
    where
        C: Fn() -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let permits = Arc::new(Semaphore::new(CONCURRENCY as usize));
        let (count, answered) = watch::channel(0);
        if calls_per_second > 0 {
            let permits = permits.clone();
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(random_gap(calls_per_second)).await;
                    let Ok(permit) = permits.clone().acquire_owned().await else {
                        return;
                    };
                    let call = call();
                    let count = count.clone();
                    let failed = failed.clone();
                    tokio::spawn(async move {
                        match call.await {
                            Ok(()) => count.send_modify(|answered| *answered += 1),
                            Err(error) => failed(error.context("background call failed")),
                        }
                        drop(permit);
                    });
                }
            });
        }
        Self {
            permits,
            answered,
            paused: OnceCell::new(),
            calls_per_second,
        }
    }

    /// Waits until calls are answered; at once where there is to be no traffic.
    pub(crate) async fn flowing(&self) -> Result<()> {
        if self.calls_per_second > 0 {
            self.answered
                .clone()
                .wait_for(|answered| *answered >= FLOWING)
                .await
                .context("background traffic stopped")?;
        }
        Ok(())
    }

    /// Starts no more calls, and returns when the last one has ended.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.paused
            .get_or_try_init(|| async {
                self.permits.acquire_many(CONCURRENCY).await?.forget();
                Ok(())
            })
            .await
            .copied()
    }
}

/// Calls that are under way go on; no more are started.
impl Drop for BackgroundTraffic {
    fn drop(&mut self) {
        self.permits.close();
    }
}

/// Polls a future a single time: a call is made by it, and its response is not read.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// Gaps of `calls_per_second` on average, so that calls overlap now and then.
fn random_gap(calls_per_second: u32) -> Duration {
    Duration::from_secs_f64(2.0 * rand::rng().random::<f64>() / f64::from(calls_per_second))
}

/// One short call to a cell, of some kind; `archive` where the other end can forward to the archive.
pub(crate) async fn ordinary_call(
    witness: Arc<Witness>,
    handle: ConnectionHandle,
    archive: bool,
) -> Result<()> {
    let kind = rand::rng().random_range(0..if archive { 12 } else { 10 });
    let ticket = witness.ticket(Behavior::Answer);
    match kind {
        0..4 => {
            let client = ContentServiceClient::new(handle);
            witness
                .call(method::FIND_CONTENT, ticket, |ticket| {
                    client.find_content(ticket, "/guide".to_owned())
                })
                .await?;
        }
        4 | 5 => {
            let client = ContentServiceClient::new(handle);
            let route = if kind == 4 { "/guide" } else { UNKNOWN_ROUTE };
            let result = witness
                .call(method::COMPILE, ticket, |ticket| {
                    client.compile(ticket, route.to_owned())
                })
                .await;
            match result {
                Ok(_) | Err(CallError::Roam(RoamError::User(_))) => {}
                Err(error) => return Err(error.into()),
            }
        }
        6 | 7 => {
            let client = MarkdownClient::new(handle);
            witness
                .call(method::CONVERT, ticket, |ticket| {
                    client.convert(ticket, "*text*".to_owned())
                })
                .await?;
        }
        8 => tunnel(&witness, handle, ticket).await?,
        9 => upload(&witness, handle, ticket).await?,
        _ => {
            let client = ArchiveClient::new(handle);
            witness
                .call(method::FETCH, ticket, |ticket| {
                    client.fetch(ticket, "/guide@1".to_owned())
                })
                .await?;
        }
    }
    Ok(())
}

/// A short tunnel: a few chunks there and back.
async fn tunnel(witness: &Witness, handle: ConnectionHandle, ticket: Ticket) -> Result<()> {
    let client = TcpTunnelClient::new(handle);
    let (to_caller, mut echoes) = roam::channel::<Vec<u8>>();
    let (chunks, to_callee) = roam::channel::<Vec<u8>>();
    let send = async {
        for length in [16, 256] {
            chunks.send(&vec![0; length]).await?;
        }
        drop(chunks);
        while echoes.recv().await?.is_some() {}
        anyhow::Ok(())
    };
    let call = witness.call(method::OPEN, ticket, |ticket| {
        client.open(ticket, to_caller, to_callee)
    });
    let (sent, answered) = tokio::join!(send, call);
    answered?;
    sent
}

/// A short upload.
async fn upload(witness: &Witness, handle: ConnectionHandle, ticket: Ticket) -> Result<()> {
    let client = TcpTunnelClient::new(handle);
    let (items, to_callee) = roam::channel::<u8>();
    let send = async {
        for item in 0..20 {
            items.send(&item).await?;
        }
        drop(items);
        anyhow::Ok(())
    };
    let call = witness.call(method::UPLOAD, ticket, |ticket| {
        client.upload(ticket, to_callee)
    });
    let (sent, answered) = tokio::join!(send, call);
    answered?;
    sent
}
