//! What a peer process keeps: its sockets and the state that handlers share. Opens no link.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use roam_session::{ConnectionHandle, LateBoundHandle};
use tokio::net::UnixStream;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::task::JoinHandle;

use crate::transcript::Mailbox;

/// One per process.
pub struct Host {
    socket: PathBuf,
    gate: Semaphore,
    holding: AtomicU32,
    finished: AtomicU32,
    /// Serves the socket that comes and goes, while it is there.
    pub flaky: AsyncMutex<Option<JoinHandle<()>>>,
    armed: Mutex<String>,
    pub results: Mailbox,
}

impl Host {
    pub fn new(socket: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            socket,
            gate: Semaphore::new(0),
            holding: AtomicU32::new(0),
            finished: AtomicU32::new(0),
            flaky: AsyncMutex::default(),
            armed: Mutex::default(),
            results: Mailbox::new(),
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

    /// Has the next victim run that script.
    pub fn arm_victim(&self, script: String) {
        *self.armed.lock().expect("never poisoned") = script;
    }

    /// What the next victim is to run.
    pub fn take_armed(&self) -> String {
        std::mem::take(&mut *self.armed.lock().expect("never poisoned"))
    }
}

/// What the handlers of one link share.
pub struct LinkState {
    pub host: Arc<Host>,
    root: OnceLock<ConnectionHandle>,
    pub late: LateBoundHandle,
    listener: AsyncMutex<Option<JoinHandle<()>>>,
    pub callbacks: Mailbox,
}

impl LinkState {
    pub fn new(host: Arc<Host>) -> Arc<Self> {
        Arc::new(Self {
            host,
            root: OnceLock::new(),
            late: LateBoundHandle::new(),
            listener: AsyncMutex::default(),
            callbacks: Mailbox::new(),
        })
    }

    /// Sets the handle of the link, and the task that accepts its virtual connections.
    pub async fn begin(&self, root: ConnectionHandle, listener: JoinHandle<()>) {
        let _ = self.root.set(root);
        *self.listener.lock().await = Some(listener);
    }

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
}
