//! Ordinary traffic: short calls at a bounded rate, that can be paused without
//! leaving one in flight.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use tokio::sync::{OnceCell, Semaphore, watch};

/// Calls of one traffic in flight at the most.
const CONCURRENCY: u32 = 16;
/// Calls that must have been answered before a traffic counts as flowing.
const FLOWING: u64 = 3;
/// The longest a handler pretends to work.
const LONGEST_WORK_MS: u64 = 15;

/// Background calls from one process over one link.
#[derive(Debug)]
pub(crate) struct Traffic {
    permits: Arc<Semaphore>,
    answered: watch::Receiver<u64>,
    paused: OnceCell<()>,
    calls_per_second: u32,
}

impl Traffic {
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

/// Gaps of `calls_per_second` on average, so that calls overlap now and then.
fn random_gap(calls_per_second: u32) -> Duration {
    Duration::from_secs_f64(2.0 * rand::rng().random::<f64>() / f64::from(calls_per_second))
}

/// What a handler does before it answers.
pub(crate) async fn small_work() {
    let work = rand::rng().random_range(0..=LONGEST_WORK_MS);
    tokio::time::sleep(Duration::from_millis(work)).await;
}
