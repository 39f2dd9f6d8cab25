//! Links, and what one side of a link can have the other do: suites, scripts, and links that come and go.

use std::sync::Arc;

use roam::Context;
use roam_session::{
    ConnectionError, ConnectionHandle, ForwardingDispatcher, HandshakeConfig, IncomingConnection,
    IncomingConnections, LateBoundForwarder, Role, RoutedDispatcher, ServiceDispatcher,
    accept_framed, initiate_framed,
};
use roam_stream::CobsFramed;
use roam_wire::MetadataValue;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::handlers::Service;
use crate::host::{Host, Node};
use crate::opaque::OpaqueDispatcher;
use crate::service::{Control, ControlClient, ControlDispatcher, PeerDispatcher, kind_of};
use crate::{suite, wire};

/// A connection whose driver runs and whose other side can call everything.
pub struct Link {
    pub handle: ConnectionHandle,
    pub driver: JoinHandle<Result<(), ConnectionError>>,
}

impl Link {
    pub async fn open(
        host: Arc<Host>,
        stream: UnixStream,
        role: Role,
    ) -> Result<Self, ConnectionError> {
        let node = Node::new(host);
        let service = Service { node: node.clone() };
        let control =
            RoutedDispatcher::new(ControlDispatcher::new(service.clone()), OpaqueDispatcher);
        let dispatcher = RoutedDispatcher::new(PeerDispatcher::new(service), control);
        let framed = CobsFramed::new(stream);
        let config = HandshakeConfig::default();
        let (handle, incoming, driver) = match role {
            Role::Acceptor => accept_framed(framed, config, dispatcher).await?,
            Role::Initiator => initiate_framed(framed, config, dispatcher).await?,
        };
        let listener = tokio::spawn(listen(node.clone(), incoming));
        node.begin(handle.clone(), listener).await;
        Ok(Self {
            handle,
            driver: tokio::spawn(driver.run()),
        })
    }
}

async fn listen(node: Arc<Node>, mut incoming: IncomingConnections) {
    while let Some(connection) = incoming.recv().await {
        tokio::spawn(answer(node.clone(), connection));
    }
}

/// Does with a virtual connection what its metadata asks for.
async fn answer(node: Arc<Node>, connection: IncomingConnection) {
    let kind = match connection.metadata.first() {
        Some((key, MetadataValue::String(kind))) if key == "kind" => kind.clone(),
        _ => String::new(),
    };
    let dispatcher: Option<Box<dyn ServiceDispatcher>> = match kind.as_str() {
        "refuse" => return connection.reject("not today".to_owned(), kind_of("refused")),
        "inherit" => None,
        "forward" => Some(Box::new(ForwardingDispatcher::new(node.root()))),
        "late" => Some(Box::new(LateBoundForwarder::new(node.late.clone()))),
        _ => Some(Box::new(PeerDispatcher::new(Service {
            node: node.clone(),
        }))),
    };
    let accepted = connection.accept(kind_of("accepted"), dispatcher).await;
    if let (Ok(handle), "callback") = (accepted, kind.as_str()) {
        node.callbacks.put(suite::run("channels", handle).await);
    }
}

impl Control for Service {
    async fn mirror(&self, _cx: &Context, suite: String) {
        let node = self.node.clone();
        // A task of its own: inside a handler, `channel()` makes channels of that handler's response.
        tokio::spawn(async move {
            let transcript = suite::run(&suite, node.root()).await;
            node.host.outcomes.put(transcript);
        });
    }

    async fn nested(&self, _cx: &Context, depth: u32) -> String {
        if depth == 0 {
            return "bottom".to_owned();
        }
        let below = ControlClient::new(self.node.root()).nested(depth - 1).await;
        format!("{depth} over {below:?}")
    }

    async fn release(&self, _cx: &Context) {
        self.node.host.release();
    }

    async fn holds(&self, _cx: &Context) -> (u32, u32) {
        self.node.host.holds()
    }

    async fn bind_late(&self, _cx: &Context) {
        self.node.late.set(self.node.root());
    }

    async fn go_deaf(&self, _cx: &Context) {
        self.node.stop_listening().await;
    }

    async fn callback_transcript(&self, _cx: &Context) -> Vec<String> {
        self.node.callbacks.take().await
    }

    async fn flaky(&self, _cx: &Context, open: bool) {
        flaky(&self.node.host, open).await;
    }

    async fn arm_victim(&self, _cx: &Context, script: String) {
        self.node.host.arm_victim(script);
    }

    async fn arm_raw(&self, _cx: &Context, script: String) {
        arm_raw(self.node.host.clone(), script);
    }

    async fn outcome(&self, _cx: &Context) -> Vec<String> {
        self.node.host.outcomes.take().await
    }
}

/// Listens at once, so that whoever asked can connect when it has the answer.
fn arm_raw(host: Arc<Host>, script: String) {
    let path = host.socket(".raw");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(path).expect("the raw socket is free");
    tokio::spawn(async move {
        if let Ok((stream, _)) = listener.accept().await {
            let seen = wire::play(&script, stream, Role::Acceptor).await;
            host.outcomes.put(seen);
        }
    });
}

/// Closing drops the listener and cuts every link made through it, as a dying process does.
async fn flaky(host: &Arc<Host>, open: bool) {
    let mut serving = host.flaky.lock().await;
    if let Some(task) = serving.take() {
        task.abort();
        let _ = task.await;
    }
    let path = host.socket(".flaky");
    let _ = std::fs::remove_file(&path);
    if open {
        let listener = UnixListener::bind(path).expect("the flaky socket is free");
        *serving = Some(tokio::spawn(serve_until_aborted(host.clone(), listener)));
    }
}

async fn serve_until_aborted(host: Arc<Host>, listener: UnixListener) {
    let mut links = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let host = host.clone();
        links.spawn(async move {
            if let Ok(mut link) = Link::open(host, stream, Role::Acceptor).await {
                let _guard = AbortOnDrop(link.driver.abort_handle());
                let _ = (&mut link.driver).await;
            }
        });
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
