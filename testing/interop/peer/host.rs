//! What a peer process keeps: its sockets, its links and the state that handlers share. Knows no
//! scenario.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use roam_session::{
    ConnectionError, ConnectionHandle, ForwardingDispatcher, HandshakeConfig, IncomingConnection,
    IncomingConnections, LateBoundForwarder, LateBoundHandle, Role, RoutedDispatcher,
    ServiceDispatcher, accept_framed, initiate_framed,
};
use roam_stream::CobsFramed;
use roam_wire::{Metadata, MetadataValue};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::opaque::OpaqueDispatcher;
use crate::service::{ControlDispatcher, PeerDispatcher, Service};
use crate::wire;

/// A transcript that one task writes and another waits for.
pub struct Mailbox {
    sender: mpsc::UnboundedSender<Vec<String>>,
    receiver: tokio::sync::Mutex<mpsc::UnboundedReceiver<Vec<String>>>,
}

impl Mailbox {
    fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            sender,
            receiver: tokio::sync::Mutex::new(receiver),
        }
    }

    pub fn put(&self, transcript: Vec<String>) {
        let _ = self.sender.send(transcript);
    }

    pub async fn take(&self) -> Vec<String> {
        self.receiver.lock().await.recv().await.unwrap_or_default()
    }
}

/// One per process.
pub struct Host {
    socket: PathBuf,
    gate: Semaphore,
    holding: AtomicU32,
    finished: AtomicU32,
    flaky: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
    armed: Mutex<String>,
    pub outcomes: Mailbox,
}

impl Host {
    pub fn new(socket: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            socket,
            gate: Semaphore::new(0),
            holding: AtomicU32::new(0),
            finished: AtomicU32::new(0),
            flaky: tokio::sync::Mutex::default(),
            armed: Mutex::default(),
            outcomes: Mailbox::new(),
        })
    }

    /// A socket of the serving process; the empty name is the ordinary one.
    pub fn socket(&self, name: &str) -> PathBuf {
        let mut path = self.socket.clone().into_os_string();
        path.push(name);
        path.into()
    }

    pub async fn dial(&self, name: &str) -> std::io::Result<UnixStream> {
        UnixStream::connect(self.socket(name)).await
    }

    pub async fn hold(&self) {
        self.holding.fetch_add(1, Ordering::SeqCst);
        self.wait_for_release().await;
        self.finished.fetch_add(1, Ordering::SeqCst);
    }

    pub async fn wait_for_release(&self) {
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
    }

    pub fn release(&self) {
        self.gate.add_permits(1);
    }

    pub fn holds(&self) -> (u32, u32) {
        let finished = self.finished.load(Ordering::SeqCst);
        (self.holding.load(Ordering::SeqCst) - finished, finished)
    }

    /// Serves the ordinary and the victim socket for ever.
    pub async fn serve(self: Arc<Self>) -> std::io::Result<()> {
        let ordinary = UnixListener::bind(self.socket(""))?;
        let victims = UnixListener::bind(self.socket(".victim"))?;
        println!("ready");
        loop {
            tokio::select! {
                stream = ordinary.accept() => {
                    let (stream, host) = (stream?.0, self.clone());
                    tokio::spawn(async move { Link::open(host, stream, Role::Acceptor).await });
                }
                stream = victims.accept() => {
                    let script = std::mem::take(&mut *self.armed.lock().expect("never poisoned"));
                    let (stream, host) = (stream?.0, self.clone());
                    tokio::spawn(async move {
                        let seen = wire::victim(host.clone(), &script, stream, Role::Acceptor).await;
                        host.outcomes.put(seen);
                    });
                }
            }
        }
    }

    pub fn arm_victim(&self, script: String) {
        *self.armed.lock().expect("never poisoned") = script;
    }

    /// Listens at once, so that whoever asked can connect when it has the answer.
    pub fn arm_raw(self: Arc<Self>, script: String) {
        let path = self.socket(".raw");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(path).expect("the raw socket is free");
        tokio::spawn(async move {
            if let Ok((stream, _)) = listener.accept().await {
                let seen = wire::play(&script, stream, Role::Acceptor).await;
                self.outcomes.put(seen);
            }
        });
    }

    /// Closing drops the listener and cuts every link made through it, as a dying process does.
    pub async fn flaky(self: &Arc<Self>, open: bool) {
        let mut tasks = self.flaky.lock().await;
        for task in tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
        let path = self.socket(".flaky");
        let _ = std::fs::remove_file(&path);
        if open {
            let listener = UnixListener::bind(path).expect("the flaky socket is free");
            tasks.push(tokio::spawn(serve_until_aborted(self.clone(), listener)));
        }
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

/// What the handlers of one link share.
pub struct Node {
    pub host: Arc<Host>,
    root: OnceLock<ConnectionHandle>,
    pub late: LateBoundHandle,
    listener: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    pub callbacks: Mailbox,
}

impl Node {
    /// The handle for calling the other side of the link.
    pub fn root(&self) -> ConnectionHandle {
        self.root.get().expect("set before the driver runs").clone()
    }

    pub async fn stop_listening(&self) {
        if let Some(listener) = self.listener.lock().await.take() {
            listener.abort();
            let _ = listener.await;
        }
    }

    async fn listen(self: Arc<Self>, mut incoming: IncomingConnections) {
        while let Some(connection) = incoming.recv().await {
            tokio::spawn(self.clone().answer(connection));
        }
    }

    /// Does with a virtual connection what its metadata asks for.
    async fn answer(self: Arc<Self>, connection: IncomingConnection) {
        let kind = match connection.metadata.first() {
            Some((key, MetadataValue::String(kind))) if key == "kind" => kind.clone(),
            _ => String::new(),
        };
        let dispatcher: Option<Box<dyn ServiceDispatcher>> = match kind.as_str() {
            "refuse" => return connection.reject("not today".to_owned(), kind_of("refused")),
            "inherit" => None,
            "forward" => Some(Box::new(ForwardingDispatcher::new(self.root()))),
            "late" => Some(Box::new(LateBoundForwarder::new(self.late.clone()))),
            _ => Some(Box::new(PeerDispatcher::new(Service {
                node: self.clone(),
            }))),
        };
        let accepted = connection.accept(kind_of("accepted"), dispatcher).await;
        if let (Ok(handle), "callback") = (accepted, kind.as_str()) {
            self.callbacks
                .put(crate::suite::run("channels", handle).await);
        }
    }
}

/// The metadata of a virtual connection.
pub fn kind_of(kind: &str) -> Metadata {
    vec![("kind".to_owned(), MetadataValue::String(kind.to_owned()))]
}

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
        let node = Arc::new(Node {
            host,
            root: OnceLock::new(),
            late: LateBoundHandle::new(),
            listener: tokio::sync::Mutex::default(),
            callbacks: Mailbox::new(),
        });
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
        let _ = node.root.set(handle.clone());
        *node.listener.lock().await = Some(tokio::spawn(node.clone().listen(incoming)));
        Ok(Self {
            handle,
            driver: tokio::spawn(driver.run()),
        })
    }
}
