//! Links, and the handlers of the `Control` service: they start suites and scripts, and open and close links.

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
use crate::host::{Host, LinkState};
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
        let state = LinkState::new(host);
        let service = Service {
            state: state.clone(),
        };
        let control =
            RoutedDispatcher::new(ControlDispatcher::new(service.clone()), OpaqueDispatcher);
        let dispatcher = RoutedDispatcher::new(PeerDispatcher::new(service), control);
        let framed = CobsFramed::new(stream);
        let config = HandshakeConfig::default();
        let (handle, incoming, driver) = match role {
            Role::Acceptor => accept_framed(framed, config, dispatcher).await?,
            Role::Initiator => initiate_framed(framed, config, dispatcher).await?,
        };
        let listener = tokio::spawn(listen(state.clone(), incoming));
        state.begin(handle.clone(), listener).await;
        Ok(Self {
            handle,
            driver: tokio::spawn(driver.run()),
        })
    }
}

async fn listen(state: Arc<LinkState>, mut incoming: IncomingConnections) {
    while let Some(connection) = incoming.recv().await {
        tokio::spawn(answer(state.clone(), connection));
    }
}

/// Does with a virtual connection what its metadata asks for.
async fn answer(state: Arc<LinkState>, connection: IncomingConnection) {
    let kind = match connection.metadata.first() {
        Some((key, MetadataValue::String(kind))) if key == "kind" => kind.clone(),
        _ => String::new(),
    };
    let dispatcher: Option<Box<dyn ServiceDispatcher>> = match kind.as_str() {
        "refuse" => return connection.reject("not today".to_owned(), kind_of("refused")),
        "inherit" => None,
        "forward" => Some(Box::new(ForwardingDispatcher::new(state.root()))),
        "late" => Some(Box::new(LateBoundForwarder::new(state.late.clone()))),
        _ => Some(Box::new(PeerDispatcher::new(Service {
            state: state.clone(),
        }))),
    };
    let accepted = connection.accept(kind_of("accepted"), dispatcher).await;
    if let (Ok(handle), "callback") = (accepted, kind.as_str()) {
        state.callbacks.put(suite::run("channels", handle).await);
    }
}

impl Control for Service {
    async fn mirror(&self, _cx: &Context, suite: String) {
        let state = self.state.clone();
        // A task of its own: inside a handler, `channel()` makes channels of that handler's response.
        tokio::spawn(async move {
            let transcript = suite::run(&suite, state.root()).await;
            state.host.results.put(transcript);
        });
    }

    async fn nested(&self, _cx: &Context, depth: u32) -> String {
        if depth == 0 {
            return "bottom".to_owned();
        }
        let below = ControlClient::new(self.state.root())
            .nested(depth - 1)
            .await;
        format!("{depth} over {below:?}")
    }

    async fn release(&self, _cx: &Context) {
        self.state.host.release();
    }

    async fn holds(&self, _cx: &Context) -> (u32, u32) {
        self.state.host.holds()
    }

    async fn bind_late(&self, _cx: &Context) {
        self.state.late.set(self.state.root());
    }

    async fn go_deaf(&self, _cx: &Context) {
        self.state.stop_listening().await;
    }

    async fn callback_transcript(&self, _cx: &Context) -> Vec<String> {
        self.state.callbacks.take().await
    }

    async fn flaky(&self, _cx: &Context, open: bool) {
        flaky(&self.state.host, open).await;
    }

    async fn arm_victim(&self, _cx: &Context, script: String) {
        self.state.host.arm_victim(script);
    }

    async fn arm_raw(&self, _cx: &Context, script: String) {
        arm_raw(self.state.host.clone(), script);
    }

    async fn result(&self, _cx: &Context) -> Vec<String> {
        self.state.host.results.take().await
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
            host.results.put(seen);
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
