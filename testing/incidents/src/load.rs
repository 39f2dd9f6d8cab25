//! What the clients do all the time: short calls at a rate, and long polls and streams.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::app::App;
use crate::control::Report;
use crate::service::{Behavior, Method, NotifierClient, Step, Ticket};

/// Calls of one client in flight at the most.
const CONCURRENCY: usize = 100;
/// How long a client with a time limit waits for a call.
const PATIENCE: Duration = Duration::from_secs(4);
/// Polls of each kind that make polls usual.
const WARMING: u32 = 25;

/// Short calls of all kinds, about that many per second.
pub(crate) async fn calls(app: Arc<App>, rate: f64, has_limit: bool) {
    let permits = Arc::new(Semaphore::new(CONCURRENCY));
    loop {
        // Gaps of that length on average, so that calls overlap now and then.
        let gap = 2.0 * rand::random::<f64>() / rate;
        sleep(Duration::from_secs_f64(gap)).await;
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let app = app.clone();
        tokio::spawn(async move {
            let method = any_method();
            let ticket = Ticket {
                tag: rand::rng().random_range(0..1 << 20),
                ..Ticket::default()
            };
            let call = app.call(method, &ticket);
            // What fails is made again sooner or later, as everything here.
            let _ = match has_limit {
                true => timeout(PATIENCE, call).await.unwrap_or(Ok(0)),
                false => call.await,
            };
            drop(permit);
        });
    }
}

fn any_method() -> Method {
    match rand::rng().random_range(0..100) {
        0..50 => Method::GatewayPage,
        50..70 => Method::GatewayOrder,
        70..85 => Method::GatewayStatus,
        85..93 => Method::GatewayArchive,
        93..96 => Method::GatewayPrice,
        96..97 => Method::GatewayFan,
        97..99 => Method::GatewayExport,
        _ => Method::GatewayUpload,
    }
}

/// Long polls and streams of that length, that many of each kind, after enough shorter ones to make them usual.
pub(crate) async fn polls(app: Arc<App>, count: u32, length: Duration) {
    let warming = Duration::from_secs(2).max(length / 8);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..WARMING {
        for kind in 0..3 {
            let app = app.clone();
            tasks.spawn(async move { poll(&app, kind, warming).await });
        }
    }
    tasks.join_all().await;
    for _ in 0..count {
        for kind in 0..3 {
            let app = app.clone();
            tokio::spawn(async move {
                loop {
                    let spread = rand::rng().random_range(1.0..1.05);
                    if poll(&app, kind, length.mul_f64(spread)).await.is_err() {
                        sleep(Duration::from_millis(200)).await;
                    }
                }
            });
        }
    }
    app.report(&Report::Warm);
}

async fn poll(app: &Arc<App>, kind: u32, length: Duration) -> Result<u64, String> {
    let ticket = |at| Ticket {
        plan: vec![Step {
            at,
            behavior: Behavior::Sleep(length.as_millis().try_into().unwrap_or(u32::MAX)),
        }],
        ..Ticket::default()
    };
    match kind {
        0 => {
            app.call(Method::NotifierPoll, &ticket(Method::NotifierPoll))
                .await
        }
        1 => {
            app.call(Method::GatewaySubscribe, &ticket(Method::NotifierPoll))
                .await
        }
        _ => {
            let (events, mut read) = roam::channel::<u64>();
            let ticket = ticket(Method::NotifierWatch);
            let watch = app.call_over(
                Method::NotifierWatch,
                &ticket,
                |handle, ticket| async move {
                    let watch = NotifierClient::new(handle).watch(ticket, events);
                    watch.await.map_err(|error| format!("{error:?}"))
                },
            );
            let read = async { while let Ok(Some(_)) = read.recv().await {} };
            tokio::join!(watch, read).0
        }
    }
}
