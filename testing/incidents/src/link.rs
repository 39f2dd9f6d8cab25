//! Links: set up, named, logged, driven and served.

use std::sync::Arc;

use anyhow::{Context, Result};
use roam::session::ConnectionHandle;
use roam_stream::{CobsFramed, HandshakeConfig, initiate_framed};
use tokio::task::JoinHandle;

use crate::app::{App, Link, Target};
use crate::handlers;
use crate::socket::{Introduction, Socket, greet};
use crate::witness::ConnectionLine;

/// Opens a connection to a process, as one of a pool. A task drives it; without the task it is closed.
pub(crate) async fn connect<S: Socket>(
    app: &Arc<App>,
    mut socket: S,
    server: &str,
    pool: &str,
    number: u32,
) -> Result<(Link, JoinHandle<()>)> {
    let line = greet(&app.node, &mut socket, server, number, 0).await?;
    let name: Arc<str> = line.name.as_str().into();
    let open = Open::new(app, pool, line);
    let (handle, _no_virtual_connections, driver) = initiate_framed(
        CobsFramed::new(socket),
        HandshakeConfig::default(),
        handlers::services(app, &name),
    )
    .await
    .with_context(|| format!("no handshake with {server}"))?;
    let link = open.add_link(number, handle);
    let driving = async move {
        let _ = driver.run().await;
        drop(open);
    };
    Ok((link, tokio::spawn(driving)))
}

/// Serves a connection until it closes.
pub(crate) async fn serve<S: Socket>(
    app: Arc<App>,
    socket: S,
    (peer, line): (Introduction, ConnectionLine),
) {
    let services = handlers::services(&app, &line.name.as_str().into());
    let open = Open::new(&app, &peer.process, line);
    let accepted = roam_stream::accept(socket, HandshakeConfig::default(), services).await;
    // A peer that went away meanwhile is its own affair.
    if let Ok((handle, _no_virtual_connections, driver)) = accepted {
        open.add_link(peer.number, handle);
        let _ = driver.run().await;
    }
}

/// A connection that is logged as open, and one of a pool, until this is dropped.
struct Open {
    app: Arc<App>,
    pool: String,
    line: ConnectionLine,
}

impl Open {
    fn new(app: &Arc<App>, pool: &str, line: ConnectionLine) -> Self {
        app.node.witness.connection(&line);
        Self {
            app: app.clone(),
            pool: pool.to_owned(),
            line,
        }
    }

    fn add_link(&self, number: u32, handle: ConnectionHandle) -> Link {
        handle.set_diagnostic_name(&self.line.name);
        let target = Target::Once(self.line.name.as_str().into(), handle);
        let link = Link { number, target };
        self.app.add_link(&self.pool, link.clone());
        link
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.app.remove_link(&self.pool, &self.line.name);
        self.line.open = false;
        self.app.node.witness.connection(&self.line);
    }
}
