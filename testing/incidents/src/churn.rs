//! Connections to the gateway that come and go.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::app::{App, Link};
use crate::control::Report;
use crate::link;
use crate::service::{Method, Ticket};
use crate::socket;

/// Numbers of these connections, above those of every pool.
const NUMBERS: u32 = 1_000;
/// Time between two of them, and calls over each, where they come and go all the time.
const EVERY: Duration = Duration::from_millis(30);
const CALLS: u32 = 3;

async fn open(app: &Arc<App>, number: u32) -> Result<(Link, JoinHandle<()>)> {
    let socket = socket::tcp(&app.node, "gateway").await?;
    link::connect(app, socket, "gateway", "churn", number).await
}

async fn close(driver: JoinHandle<()>) {
    driver.abort();
    // That it was aborted is no news.
    let _ = driver.await;
}

/// Opens one after the other, for ever.
pub(crate) async fn for_ever(app: Arc<App>) {
    for number in NUMBERS.. {
        sleep(EVERY).await;
        // What fails is tried again, as everything here.
        let Ok((link, driver)) = open(&app, number).await else {
            continue;
        };
        for _ in 0..CALLS {
            let ticket = Ticket::default();
            let _ = app.call_link(&link, Method::GatewayPrice, &ticket).await;
        }
        close(driver).await;
    }
}

/// Opens so many and makes a call over each; closes all when the gate opens.
pub(crate) async fn at_once(app: Arc<App>, count: u32, method: Method, ticket: Ticket) {
    let mut drivers = Vec::new();
    for number in NUMBERS..NUMBERS + count {
        let Ok((link, driver)) = open(&app, number).await else {
            continue;
        };
        drivers.push(driver);
        let (app, ticket) = (app.clone(), ticket.clone());
        tokio::spawn(async move { app.call_link(&link, method, &ticket).await });
    }
    // The sender lives in what the task owns.
    let _ = app.gate.subscribe().wait_for(|open| *open).await;
    for driver in drivers {
        close(driver).await;
    }
    app.report(&Report::Churned);
}
