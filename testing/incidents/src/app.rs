//! What all tasks of one process share: its links, and what handlers wait for.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use roam::session::ConnectionHandle;
use tokio::runtime;
use tokio::sync::{Semaphore, watch};

use crate::control::Report;
use crate::node::Node;
use crate::reconnect::Reconnecting;
use crate::service::{Behavior, Method, Ticket, invoke};
use crate::witness::{Call, Running, lock};

pub(crate) struct App {
    pub(crate) node: Arc<Node>,
    pub(crate) lock: Arc<tokio::sync::Mutex<()>>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) pool: Arc<Semaphore>,
    /// True once handlers that wait at the gate may go on.
    pub(crate) gate: watch::Sender<bool>,
    /// Links by the process at the other end, whichever end opened them.
    links: Mutex<HashMap<String, Vec<Link>>>,
    turn: AtomicUsize,
    /// The runtime of a link that has one of its own.
    pub(crate) dedicated: Mutex<Option<runtime::Handle>>,
}

/// One connection of a pool.
#[derive(Clone)]
pub(crate) struct Link {
    /// Place in the pool, from 1.
    pub(crate) number: u32,
    pub(crate) target: Target,
}

#[derive(Clone)]
pub(crate) enum Target {
    /// A link that is gone when it closes.
    Once(Arc<str>, ConnectionHandle),
    /// A client that sets up another one.
    Again(Reconnecting),
}

impl Link {
    fn name(&self) -> String {
        match &self.target {
            Target::Once(name, _) => name.to_string(),
            Target::Again(client) => client.name(),
        }
    }

    async fn invoke(&self, method: Method, ticket: Ticket) -> Result<u64, String> {
        match &self.target {
            Target::Once(_, handle) => invoke(handle.clone(), method, ticket).await,
            Target::Again(client) => client.invoke(method, ticket).await,
        }
    }
}

impl App {
    pub(crate) fn new(name: &str, directory: &Path) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            node: Node::new(name, directory)?,
            lock: Arc::default(),
            permits: Arc::new(Semaphore::new(8)),
            pool: Arc::new(Semaphore::new(4)),
            gate: watch::Sender::new(false),
            links: Mutex::default(),
            turn: AtomicUsize::new(0),
            dedicated: Mutex::default(),
        }))
    }

    /// Tells the supervisor.
    pub(crate) fn report(&self, report: &Report) {
        let mut line = serde_json::to_vec(report).expect("a report has string keys only");
        line.push(b'\n');
        // A supervisor that no longer listens is gone, and this process ends with it.
        let _ = std::io::stdout().lock().write_all(&line);
    }

    pub(crate) fn reached(&self, method: Method, behavior: Behavior) {
        self.report(&Report::Reached { method, behavior });
    }

    pub(crate) fn add_link(&self, peer: &str, link: Link) {
        let mut links = lock(&self.links);
        links.entry(peer.to_owned()).or_default().push(link);
    }

    pub(crate) fn remove_link(&self, peer: &str, name: &str) {
        if let Some(links) = lock(&self.links).get_mut(peer) {
            links.retain(|link| link.name() != name);
        }
    }

    /// The connection that a call takes: the one that its ticket names, or the next one of the pool.
    pub(crate) fn link(&self, method: Method, ticket: &Ticket) -> Result<Link, String> {
        let server = match (method.server(), ticket.catalog) {
            ("catalog", 0) => format!("catalog-{}", 1 + ticket.tag % 2),
            ("catalog", number) => format!("catalog-{number}"),
            (server, _) => server.to_owned(),
        };
        let links = lock(&self.links);
        let pool = links.get(&server).filter(|pool| !pool.is_empty());
        let pool = pool.ok_or_else(|| format!("no link to {server}"))?;
        let pinned = ticket.pins.iter().find(|pin| pin.method == method);
        let link = match pinned {
            Some(pin) => pool.iter().find(|link| link.number == pin.link),
            None => pool.get(self.turn.fetch_add(1, Ordering::Relaxed) % pool.len()),
        };
        link.cloned().ok_or_else(|| "no such link".to_owned())
    }

    /// Logs a call that is about to be made over a link; the ticket gets its tag.
    fn started(&self, method: Method, ticket: &mut Ticket, link: &Link) -> Running<'_> {
        let parent = std::mem::replace(&mut ticket.tag, self.node.witness.tag());
        self.node.witness.start(Call {
            tag: ticket.tag,
            incoming: false,
            method: method.name(),
            connection: link.name(),
            request_id: None,
            parent,
        })
    }

    /// Calls a method for the handler whose ticket this is.
    pub(crate) async fn call(&self, method: Method, ticket: &Ticket) -> Result<u64, String> {
        let link = self.link(method, ticket)?;
        self.call_link(&link, method, ticket).await
    }

    /// The same over a link of the caller's choice.
    pub(crate) async fn call_link(
        &self,
        link: &Link,
        method: Method,
        ticket: &Ticket,
    ) -> Result<u64, String> {
        let mut ticket = ticket.clone();
        let running = self.started(method, &mut ticket, link);
        let result = link.invoke(method, ticket).await;
        if result.is_ok() {
            running.answered();
        }
        result
    }

    /// The same for a call with a channel.
    pub(crate) async fn call_over<F: Future<Output = Result<u64, String>>>(
        &self,
        method: Method,
        ticket: &Ticket,
        call: impl FnOnce(ConnectionHandle, Ticket) -> F,
    ) -> Result<u64, String> {
        let link = self.link(method, ticket)?;
        let Target::Once(_, handle) = &link.target else {
            return Err("a channel needs a link".to_owned());
        };
        let mut ticket = ticket.clone();
        let running = self.started(method, &mut ticket, &link);
        let result = call(handle.clone(), ticket).await;
        if result.is_ok() {
            running.answered();
        }
        result
    }
}
