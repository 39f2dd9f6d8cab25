//! Links in shared memory, served by the driver that roam-shm publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roam_session::diagnostic::DiagnosticState;
use roam_session::{ConnectionHandle, MessageTransport, ServiceDispatcher};
use roam_shm::driver::{
    IncomingConnections, MultiPeerHostDriver, ShmDriver, establish_guest, establish_multi_peer_host,
};
use roam_shm::host::ShmHost;
use roam_shm::layout::SegmentConfig;
use roam_shm::spawn::AddPeerOptions;
use roam_shm::transport::ShmGuestTransport;
use roam_wire::{ConnectionId, Message};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::links::Service;

/// How long a scripted guest waits for a message.
const DEADLINE: Duration = Duration::from_secs(10);

/// A link whose guest is called `NAME guest` and whose host is called `NAME host`.
pub(super) struct Hub {
    pub(super) guest: ConnectionHandle,
    pub(super) guest_incoming: IncomingConnections,
    pub(super) guest_driver: JoinHandle<()>,
    pub(super) guest_name: String,
    pub(super) host: ConnectionHandle,
    pub(super) host_incoming: IncomingConnections,
    pub(super) host_driver: JoinHandle<()>,
    pub(super) host_name: String,
    _directory: TempDir,
}

impl Hub {
    /// Both ends serve the same.
    pub(super) fn new(name: &str, service: &Service) -> Self {
        let (mut hub, guest_driver, host_driver) = Self::undriven(name, service);
        hub.guest_driver = tokio::spawn(async move {
            let _ = guest_driver.run().await;
        });
        hub.host_driver = tokio::spawn(async move {
            let _ = host_driver.run().await;
        });
        hub
    }

    /// The same, with drivers that are yet to run.
    pub(super) fn undriven(
        name: &str,
        service: &Service,
    ) -> (
        Self,
        ShmDriver<ShmGuestTransport, Service>,
        MultiPeerHostDriver,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut host = create_host(&directory);
        let ticket = host.add_peer(AddPeerOptions::default()).unwrap();
        let peer_id = ticket.peer_id;
        let transport = ShmGuestTransport::from_spawn_args(ticket.into_spawn_args()).unwrap();
        let (guest, guest_incoming, guest_driver) = establish_guest(transport, service.clone());
        let peers = [(peer_id, service.clone())];
        let (host_driver, mut hosts, mut incoming, _control) =
            establish_multi_peer_host(host, peers);
        let host = hosts.remove(&peer_id).unwrap();
        let (guest_name, host_name) = (format!("{name} guest"), format!("{name} host"));
        guest.set_diagnostic_name(&guest_name);
        host.set_diagnostic_name(&host_name);
        let hub = Self {
            guest,
            guest_incoming,
            guest_driver: tokio::spawn(async {}),
            guest_name,
            host,
            host_incoming: incoming.remove(&peer_id).unwrap(),
            host_driver: tokio::spawn(async {}),
            host_name,
            _directory: directory,
        };
        (hub, guest_driver, host_driver)
    }
}

/// A host whose guest is the test itself, message by message. The host's connection has the name given.
pub(super) struct ScriptedGuest {
    pub(super) host: ConnectionHandle,
    pub(super) host_incoming: IncomingConnections,
    transport: ShmGuestTransport,
    _directory: TempDir,
}

impl ScriptedGuest {
    /// `with_state`: whether the host's driver is given a [`DiagnosticState`].
    pub(super) async fn new(
        name: &str,
        with_state: bool,
        dispatcher: impl ServiceDispatcher + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut host = create_host(&directory);
        let ticket = host.add_peer(AddPeerOptions::default()).unwrap();
        let peer_id = ticket.peer_id;
        let transport = ShmGuestTransport::from_spawn_args(ticket.into_spawn_args()).unwrap();
        // Only a peer that is added while the driver runs may have a state.
        let (driver, _, _, control) = establish_multi_peer_host::<Service, _>(host, []);
        tokio::spawn(driver.run());
        let state = with_state.then(|| Arc::new(DiagnosticState::new(name)));
        let added = control.add_peer_with_diagnostics(peer_id, dispatcher, state);
        let (host, host_incoming) = added.await.unwrap();
        if !with_state {
            host.set_diagnostic_name(name);
        }
        Self {
            host,
            host_incoming,
            transport,
            _directory: directory,
        }
    }

    pub(super) async fn send(&mut self, message: Message) {
        MessageTransport::send(&mut self.transport, &message)
            .await
            .unwrap();
    }

    pub(super) async fn receive(&mut self) -> Message {
        let received = MessageTransport::recv(&mut self.transport);
        let received = tokio::time::timeout(DEADLINE, received).await;
        received.expect("a message came").unwrap().unwrap()
    }

    /// Calls the host with an id that no other request of this process has, and returns that.
    pub(super) async fn call(
        &mut self,
        conn_id: ConnectionId,
        method_id: u64,
        payload: Vec<u8>,
    ) -> u64 {
        /// Ids are 32 bits on shared memory.
        static REQUEST_IDS: AtomicU64 = AtomicU64::new(1 << 30);

        let request_id = REQUEST_IDS.fetch_add(1, Ordering::Relaxed);
        self.call_as(request_id, conn_id, method_id, payload).await;
        request_id
    }

    /// Calls the host with an id of the caller's choice.
    pub(super) async fn call_as(
        &mut self,
        request_id: u64,
        conn_id: ConnectionId,
        method_id: u64,
        payload: Vec<u8>,
    ) {
        self.send(Message::Request {
            conn_id,
            request_id,
            method_id,
            metadata: Vec::new(),
            channels: Vec::new(),
            payload,
        })
        .await;
    }

    /// Receives the response to a request, which is the next message.
    pub(super) async fn response_to(&mut self, request_id: u64) -> Vec<u8> {
        match self.receive().await {
            Message::Response {
                request_id: id,
                payload,
                ..
            } if id == request_id => payload,
            other => panic!("no response to {request_id}: {other:?}"),
        }
    }

    /// Receives a request, which is the next message. Returns its connection's id and its own.
    pub(super) async fn receive_request(&mut self) -> (ConnectionId, u64) {
        match self.receive().await {
            Message::Request {
                conn_id,
                request_id,
                ..
            } => (conn_id, request_id),
            other => panic!("no request: {other:?}"),
        }
    }

    pub(super) async fn respond(
        &mut self,
        conn_id: ConnectionId,
        request_id: u64,
        payload: Vec<u8>,
    ) {
        self.send(Message::Response {
            conn_id,
            request_id,
            metadata: Vec::new(),
            channels: Vec::new(),
            payload,
        })
        .await;
    }

    /// Ends the link.
    pub(super) async fn say_goodbye(&mut self) {
        self.send(Message::Goodbye {
            conn_id: ConnectionId::ROOT,
            reason: String::new(),
        })
        .await;
    }
}

fn create_host(directory: &TempDir) -> ShmHost {
    ShmHost::create(directory.path().join("segment"), SegmentConfig::default()).unwrap()
}
