//! Connections whose driver is another crate's: the session sees its queue, its
//! registries, and its calls of dispatchers, and nothing else.

use std::sync::Arc;

use roam_diagnostic::registry::{ConnectionState, Direction, Mark, Phase};
use roam_session::diagnostic::DiagnosticState;
use roam_session::{
    ChannelRegistry, ConnectionHandle, Context, DriverMessage, ResponseData, Role, Rx,
    ServiceDispatcher, channel,
};
use roam_wire::{ConnectionId, MethodId, RequestId};
use tokio::sync::mpsc;

use crate::links::{CONSUME, ECHO, PANIC, Service, WAIT};
use crate::rows::{
    channel as channel_row, channels, connection, connections, request, requests, wait_until,
};

/// The state that such a driver has of one connection.
struct ForeignDriver {
    handle: ConnectionHandle,
    registry: ChannelRegistry,
    queue: mpsc::Receiver<DriverMessage>,
    driver_tx: mpsc::Sender<DriverMessage>,
    state: Option<Arc<DiagnosticState>>,
    service: Service,
}

impl ForeignDriver {
    fn new(name: &str, state: Option<Arc<DiagnosticState>>) -> Self {
        let (driver_tx, queue) = mpsc::channel(16);
        let handle = ConnectionHandle::new_with_diagnostics(
            ConnectionId::ROOT,
            driver_tx.clone(),
            Role::Initiator,
            u32::MAX,
            state.clone(),
        );
        let registry = ChannelRegistry::new_with_credit_and_role(
            ConnectionId::ROOT,
            u32::MAX,
            driver_tx.clone(),
            Role::Initiator,
        );
        if state.is_none() {
            handle.set_diagnostic_name(name);
        }
        Self {
            handle,
            registry,
            queue,
            driver_tx,
            state,
            service: Service::default(),
        }
    }

    /// Takes a request as such a driver does.
    fn receive(
        &mut self,
        request_id: u64,
        method_id: u64,
        payload: Vec<u8>,
        channels: Vec<u64>,
    ) -> tokio::task::JoinHandle<()> {
        if let Some(state) = &self.state {
            state.record_incoming_request(request_id, method_id, None);
        }
        let cx = Context::new(
            ConnectionId::ROOT,
            RequestId::new(request_id),
            MethodId::new(method_id),
            Vec::new(),
            channels,
        );
        tokio::spawn(self.service.dispatch(&cx, payload, &mut self.registry))
    }

    async fn take_response(&mut self) -> Vec<u8> {
        match self.queue.recv().await {
            Some(DriverMessage::Response {
                request_id,
                payload,
                ..
            }) => {
                if let Some(state) = &self.state {
                    state.complete_request(request_id);
                }
                payload
            }
            _ => panic!("no response"),
        }
    }
}

#[tokio::test]
async fn a_handle_and_a_registry_are_one_connection() {
    let ForeignDriver {
        handle,
        registry,
        queue: _queue,
        driver_tx,
        ..
    } = ForeignDriver::new("joined", None);
    let row = connection("joined");
    assert_eq!(row.state, ConnectionState::Open);
    assert_eq!(row.driver, None);

    // A virtual connection, whose registry comes first.
    let conn_id = ConnectionId::new(3);
    let tx = driver_tx.clone();
    let virtual_registry =
        ChannelRegistry::new_with_credit_and_role(conn_id, 1, tx, Role::Initiator);
    let virtual_handle =
        ConnectionHandle::new_with_diagnostics(conn_id, driver_tx, Role::Initiator, 1, None);
    let row = connection("joined conn 3");
    assert_eq!((row.conn_id, row.link), (3, connection("joined").serial));
    drop(virtual_registry);
    assert_eq!(connections("joined conn 3"), []);
    drop(virtual_handle);

    // The registry goes when the driver closes the connection; a handle may stay.
    drop(registry);
    assert_eq!(connections("joined"), []);
    drop(handle);
}

#[tokio::test]
async fn a_lone_handle_and_a_lone_registry_have_rows() {
    let (driver_tx, _queue) = mpsc::channel(1);
    let handle = ConnectionHandle::new(driver_tx, Role::Acceptor, 1);
    handle.set_diagnostic_name("lone handle");
    assert_eq!(connections("lone handle").len(), 1);
    drop(handle);
    assert_eq!(connections("lone handle"), []);

    let (driver_tx, _queue) = mpsc::channel(1);
    let mut registry = ChannelRegistry::new(driver_tx.clone());
    let (tx, _rx) = mpsc::channel(1);
    registry.register_incoming(7, tx);
    let handle = ConnectionHandle::new(driver_tx, Role::Acceptor, 1);
    handle.set_diagnostic_name("lone registry");
    assert_eq!(channel_row("lone registry").channel_id, 7);
    drop(registry);
    assert_eq!(connections("lone registry"), []);
}

#[tokio::test]
async fn a_write_is_not_observable() {
    let mut foreign = ForeignDriver::new("unobservable", None);
    let handle = foreign.handle.clone();
    let call = tokio::spawn(async move { handle.call_raw(ECHO, vec![1, 2, 3]).await });
    let Some(DriverMessage::Call { response_tx, .. }) = foreign.queue.recv().await else {
        panic!("no call");
    };
    let row = request("unobservable");
    assert_eq!(row.direction, Direction::Outgoing);
    assert_eq!(row.phase, Phase::HandedOver);
    assert!(!row.writes_observable);
    let response = ResponseData {
        payload: vec![0],
        channels: Vec::new(),
    };
    response_tx.send(Ok(response)).unwrap();
    call.await.unwrap().unwrap();
    assert_eq!(requests("unobservable"), []);
}

#[tokio::test]
async fn a_request_without_a_state_ends_once_its_response_is_queued() {
    let mut foreign = ForeignDriver::new("stateless", None);
    let handler = foreign.receive(5, WAIT, Vec::new(), Vec::new());
    wait_until("the handler runs", || {
        request("stateless").phase == Phase::Running
    })
    .await;
    let row = request("stateless");
    assert_eq!((row.direction, row.request_id), (Direction::Incoming, 5));
    foreign.service.finish.notify_one();
    handler.await.unwrap();
    assert_eq!(requests("stateless"), []);
    assert_eq!(foreign.take_response().await, [0]);
}

#[tokio::test]
async fn a_request_that_a_state_recorded_is_one_row() {
    let state = Arc::new(DiagnosticState::new("stateful"));
    let mut foreign = ForeignDriver::new("stateful", Some(state));
    let handler = foreign.receive(5, WAIT, Vec::new(), Vec::new());
    wait_until(
        "the handler runs",
        || matches!(&requests("stateful")[..], [row] if row.phase == Phase::Running),
    )
    .await;
    assert_eq!(
        request("stateful").connection,
        connection("stateful").serial
    );
    foreign.service.finish.notify_one();
    handler.await.unwrap();
    assert_eq!(request("stateful").phase, Phase::Responding);
    foreign.take_response().await;
    assert_eq!(requests("stateful"), []);
}

#[tokio::test]
async fn a_response_that_the_driver_never_takes_ends_with_the_connection() {
    let state = Arc::new(DiagnosticState::new("never taken"));
    let mut foreign = ForeignDriver::new("never taken", Some(state));
    foreign.receive(5, ECHO, vec![0], Vec::new()).await.unwrap();
    assert_eq!(request("never taken").phase, Phase::Responding);
    drop(foreign);
    assert_eq!(requests("never taken"), []);
}

#[tokio::test]
async fn an_aborted_request_ends_and_a_panic_leaves_a_mark() {
    for with_state in [false, true] {
        let name = if with_state { "abort state" } else { "abort" };
        let state = with_state.then(|| Arc::new(DiagnosticState::new(name)));
        let mut foreign = ForeignDriver::new(name, state);
        let handler = foreign.receive(1, WAIT, Vec::new(), Vec::new());
        wait_until("the handler runs", || request(name).phase == Phase::Running).await;
        handler.abort();
        wait_until("its row ended", || requests(name).is_empty()).await;

        let handler = foreign.receive(2, PANIC, Vec::new(), Vec::new());
        assert!(handler.await.unwrap_err().is_panic());
        assert_eq!(request(name).mark, Some(Mark::EndedWithoutAnswer));
        drop(foreign);
        assert_eq!(requests(name), []);
    }
}

#[tokio::test]
async fn a_handler_that_outlives_the_driver_is_orphaned() {
    let mut foreign = ForeignDriver::new("foreign orphan", None);
    let finish = foreign.service.finish.clone();
    let handler = foreign.receive(1, WAIT, Vec::new(), Vec::new());
    wait_until("the handler runs", || {
        request("foreign orphan").phase == Phase::Running
    })
    .await;
    drop(foreign);
    assert_eq!(request("foreign orphan").mark, Some(Mark::Orphaned));
    finish.notify_one();
    handler.await.unwrap();
    assert_eq!(requests("foreign orphan"), []);
    assert_eq!(connections("foreign orphan"), []);
}

#[tokio::test]
async fn channels_are_recorded_on_both_sides() {
    let mut foreign = ForeignDriver::new("foreign channels", None);
    let _handler = foreign.receive(5, CONSUME, vec![9], vec![9]);
    foreign.registry.route_data(9, vec![1]).await.unwrap();
    let row = channel_row("foreign channels");
    assert_eq!((row.channel_id, row.items_received), (9, 1));
    assert_eq!(row.request_id, Some(5));
    foreign.registry.close(9);
    assert_eq!(channels("foreign channels"), []);

    let (tx, rx) = channel::<u32>();
    let handle = foreign.handle.clone();
    let mut args: Rx<u32> = rx;
    let _call = tokio::spawn(async move { handle.call(CONSUME, &mut args).await.is_ok() });
    tx.send(&1).await.unwrap();
    wait_until(
        "the item was sent",
        || matches!(&channels("foreign channels")[..], [row] if row.items_sent == 1),
    )
    .await;
    drop(foreign.registry);
    assert_eq!(channels("foreign channels"), []);
}
