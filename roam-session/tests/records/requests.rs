//! Requests, from their start to their end, on both sides.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roam_diagnostic::registry::{Direction, Mark, Phase, RequestKind};
use roam_session::{
    ChannelRegistry, Context, DriverMessage, ForwardingDispatcher, HandshakeConfig, NoDispatcher,
    ServiceDispatcher, TransportError, initiate_framed,
};
use roam_wire::ConnectionId;
use tokio::sync::oneshot;

use crate::links::{ECHO, PANIC, RELAY, Service, TestLink, UNSERIALIZABLE, WAIT};
use crate::rows::{connection, connections, request, requests, wait_for, wait_until};
use crate::wire;

async fn wait_for_phase(name: &str, phase: Phase) {
    wait_until(
        &format!("a request on {name} is {phase:?}"),
        || matches!(&requests(name)[..], [row] if row.phase == phase),
    )
    .await;
}

async fn wait_for_none(name: &str) {
    wait_until(&format!("no request on {name}"), || {
        requests(name).is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_call_is_one_row_on_either_side() {
    let service = Service::default();
    let link = TestLink::new("one row", service.clone()).await;
    let caller = link.caller.clone();
    let call = tokio::spawn(async move { caller.call(WAIT, &mut ()).await });

    wait_for_phase(&link.service_name, Phase::Running).await;
    let outgoing = request(&link.caller_name);
    let incoming = request(&link.service_name);
    for (row, direction) in [
        (&outgoing, Direction::Outgoing),
        (&incoming, Direction::Incoming),
    ] {
        assert_eq!(row.direction, direction);
        assert_eq!(row.kind, RequestKind::Call);
        assert_eq!((row.request_id, row.method_id), (1, WAIT));
        assert_eq!((row.mark, row.parent), (None, None));
        assert!(row.writes_observable);
    }
    assert_eq!(outgoing.phase, Phase::Sent);

    service.finish.notify_one();
    call.await.unwrap().unwrap();
    assert_eq!(requests(&link.caller_name), []);
    wait_for_none(&link.service_name).await;
}

#[tokio::test]
async fn payload_bytes_are_counted() {
    let link = TestLink::new("payload", Service::default()).await;
    link.service_gate.close();
    let caller = link.caller.clone();
    let call = tokio::spawn(async move { caller.call(ECHO, &mut "four".to_owned()).await });
    wait_for_phase(&link.service_name, Phase::Responding).await;
    let row = request(&link.service_name);
    assert_eq!((row.request_bytes, row.response_bytes), (5, Some(6)));
    assert_eq!(request(&link.caller_name).request_bytes, 5);
    link.service_gate.reopen();
    call.await.unwrap().unwrap();
}

/// Holds the first call in `phase`; a dropped future ends the row whatever it waits for.
#[tokio::test]
async fn an_outgoing_row_shows_how_far_it_got_and_ends_with_its_future() {
    // Nothing drives the link: its queue fills up.
    let (left, right) = wire::pair();
    let config = HandshakeConfig::default();
    let (caller, peer) = tokio::join!(
        initiate_framed(left, config.clone(), NoDispatcher),
        initiate_framed(right, config, NoDispatcher),
    );
    let (caller, _incoming, driver) = caller.unwrap();
    let _peer = peer.unwrap();
    caller.set_diagnostic_name("undriven");
    let call = || {
        let caller = caller.clone();
        tokio::spawn(async move { caller.call(ECHO, &mut String::new()).await })
    };

    let handed_over: Vec<_> = (0..256).map(|_| call()).collect();
    wait_until("the queue is full", || {
        let rows = requests("undriven");
        rows.len() == 256 && rows.iter().all(|row| row.phase == Phase::HandedOver)
    })
    .await;
    let queued = call();
    let row = wait_for("a call waits for the queue", || {
        let rows = requests("undriven");
        rows.into_iter().find(|row| row.phase == Phase::Queued)
    })
    .await;
    assert_eq!(row.request_id, 257);
    assert_eq!(connection("undriven").driver, None);

    queued.abort();
    wait_until("the queued call's row ended", || {
        requests("undriven").len() == 256
    })
    .await;
    for call in &handed_over {
        call.abort();
    }
    wait_for_none("undriven").await;

    // The driver finds 256 calls whose callers left, and takes none of them for new ones.
    let driver = tokio::spawn(driver.run());
    wait_until("the driver sent all of them", || {
        connection("undriven").sent.unwrap().messages == 256
    })
    .await;
    assert_eq!(requests("undriven"), []);
    driver.abort();
}

#[tokio::test]
async fn a_call_stays_handed_over_while_its_write_waits() {
    let link = TestLink::new("held write", Service::default()).await;
    link.caller_gate.close();
    let caller = link.caller.clone();
    let call = tokio::spawn(async move { caller.call(ECHO, &mut String::new()).await });
    let row = wait_for("the driver writes", || {
        let driver = connection(&link.caller_name).driver?;
        driver.writing_us.map(|_| request(&link.caller_name))
    })
    .await;
    assert_eq!(row.phase, Phase::HandedOver);
    link.caller_gate.reopen();
    call.await.unwrap().unwrap();
    assert_eq!(requests(&link.caller_name), []);
}

#[tokio::test]
async fn a_response_that_nobody_read_yet_is_shown() {
    let link = TestLink::new("unread response", Service::default()).await;
    let mut args = "x".to_owned();
    let mut call = Box::pin(link.caller.call(ECHO, &mut args));
    assert!(futures_util::poll!(&mut call).is_pending());
    wait_for_phase(&link.caller_name, Phase::Responded).await;
    let row = request(&link.caller_name);
    assert_eq!((row.request_bytes, row.response_bytes), (2, Some(3)));
    call.await.unwrap();
    assert_eq!(requests(&link.caller_name), []);
}

#[tokio::test]
async fn a_dropped_call_ends_here_and_runs_on_there() {
    let service = Service::default();
    let link = TestLink::new("dropped", service.clone()).await;
    let caller = link.caller.clone();
    let call = tokio::spawn(async move { caller.call(WAIT, &mut ()).await });
    wait_for_phase(&link.service_name, Phase::Running).await;
    call.abort();
    wait_for_none(&link.caller_name).await;
    assert_eq!(request(&link.service_name).phase, Phase::Running);
    service.finish.notify_one();
    wait_for_none(&link.service_name).await;
    // The late response belongs to nobody.
    wait_until("the response arrived", || {
        connection(&link.caller_name).received.unwrap().messages == 1
    })
    .await;
    assert_eq!(requests(&link.caller_name), []);
}

/// A dispatcher that reads its own row before it returns.
struct Witness(Arc<AtomicBool>);

impl ServiceDispatcher for Witness {
    fn method_ids(&self) -> Vec<u64> {
        Vec::new()
    }

    fn dispatch(
        &self,
        cx: &Context,
        _payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let was_received = request("witness service").phase == Phase::Received;
        self.0.store(was_received, Ordering::Relaxed);
        let response = DriverMessage::Response {
            conn_id: cx.conn_id,
            request_id: cx.request_id.raw(),
            channels: Vec::new(),
            payload: vec![0],
        };
        let driver_tx = registry.driver_tx();
        Box::pin(async move {
            assert!(driver_tx.send(response).await.is_ok());
        })
    }
}

#[tokio::test]
async fn a_dispatcher_of_the_programs_own_has_rows_too() {
    let was_received = Arc::new(AtomicBool::new(false));
    let link = TestLink::new("witness", Witness(was_received.clone())).await;
    link.service_gate.close();
    let caller = link.caller.clone();
    let call = tokio::spawn(async move { caller.call_raw(5, Vec::new()).await });
    wait_for_phase(&link.service_name, Phase::Responding).await;
    assert!(was_received.load(Ordering::Relaxed));
    assert_eq!(request(&link.service_name).response_bytes, Some(1));
    link.service_gate.reopen();
    call.await.unwrap().unwrap();
    wait_for_none(&link.service_name).await;
    let driver = connection(&link.service_name).driver.unwrap();
    assert_eq!((driver.enqueued, driver.dequeued), (1, 1));
}

#[tokio::test]
async fn a_call_names_the_request_whose_handler_makes_it() {
    let last = Service::default();
    let upstream = TestLink::new("upstream", last.clone()).await;
    let relay = Service {
        upstream: Some(upstream.caller.clone()),
        ..Service::default()
    };
    let link = TestLink::new("relay", relay).await;
    let caller = link.caller.clone();
    let call = tokio::spawn(async move { caller.call(RELAY, &mut ()).await });
    wait_for_phase(&upstream.service_name, Phase::Running).await;
    let relayed = request(&link.service_name);
    assert_eq!(request(&upstream.caller_name).parent, Some(relayed.serial));
    assert_eq!(request(&link.caller_name).parent, None);
    last.finish.notify_one();
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_forwarded_call_has_a_row_on_either_leg() {
    let last = Service::default();
    let upstream = TestLink::new("forward up", last.clone()).await;
    let proxy = ForwardingDispatcher::new(upstream.caller.clone());
    let link = TestLink::new("forward down", proxy).await;
    let caller = link.caller.clone();
    let call = tokio::spawn(async move { caller.call(WAIT, &mut ()).await });
    wait_for_phase(&upstream.service_name, Phase::Running).await;
    let incoming = request(&link.service_name);
    let outgoing = request(&upstream.caller_name);
    assert_eq!(incoming.phase, Phase::Running);
    assert_eq!(outgoing.phase, Phase::Sent);
    assert_eq!(outgoing.parent, Some(incoming.serial));
    last.finish.notify_one();
    call.await.unwrap().unwrap();
    wait_for_none(&link.service_name).await;
    assert_eq!(requests(&upstream.caller_name), []);
}

#[tokio::test]
async fn a_handler_that_cannot_answer_leaves_a_mark_until_its_connection_closes() {
    for (method_id, name) in [(PANIC, "panics"), (UNSERIALIZABLE, "unserializable")] {
        let link = TestLink::new(name, Service::default()).await;
        let caller = link.caller.clone();
        let call = tokio::spawn(async move { caller.call(method_id, &mut ()).await });
        wait_until("the handler is gone", || {
            matches!(&requests(&link.service_name)[..],
                [row] if row.mark == Some(Mark::EndedWithoutAnswer))
        })
        .await;
        assert_eq!(request(&link.caller_name).phase, Phase::Sent);
        link.cut();
        wait_for_none(&link.service_name).await;
        let answer = call.await.unwrap();
        assert!(matches!(answer, Err(TransportError::DriverGone)));
        assert_eq!(requests(&link.caller_name), []);
    }
}

#[tokio::test]
async fn a_handler_that_outlives_its_connection_is_orphaned() {
    let service = Service::default();
    let link = TestLink::new("orphan", service.clone()).await;
    let caller = link.caller.clone();
    let call = tokio::spawn(async move { caller.call(WAIT, &mut ()).await });
    wait_for_phase(&link.service_name, Phase::Running).await;
    link.cut();
    wait_until("the handler is orphaned", || {
        request(&link.service_name).mark == Some(Mark::Orphaned)
    })
    .await;
    assert!(matches!(
        call.await.unwrap(),
        Err(TransportError::DriverGone)
    ));
    assert_eq!(requests(&link.caller_name), []);
    // The request keeps its connection's row, which says that it is closed.
    let row = connection(&link.service_name);
    assert_eq!(
        row.state,
        roam_diagnostic::registry::ConnectionState::Closed
    );
    service.finish.notify_one();
    wait_until("both rows are gone", || {
        requests(&link.service_name).is_empty() && connections(&link.service_name).is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_request_for_a_connection_is_a_row() {
    let mut link = TestLink::new("connecting", Service::default()).await;
    let caller = link.caller.clone();
    let connect = tokio::spawn(async move { caller.connect(Vec::new(), None).await.is_ok() });
    let offer = link.service_incoming.recv().await.unwrap();
    wait_for_phase(&link.caller_name, Phase::Sent).await;
    let row = request(&link.caller_name);
    assert_eq!(
        (row.kind, row.direction),
        (RequestKind::Connect, Direction::Outgoing)
    );
    let accepted = offer.accept(Vec::new(), None).await;
    assert!(accepted.is_ok());
    assert!(connect.await.unwrap());
    assert_eq!(requests(&link.caller_name), []);

    let caller = link.caller.clone();
    let connect = tokio::spawn(async move { caller.connect(Vec::new(), None).await.is_ok() });
    let _unanswered = link.service_incoming.recv().await.unwrap();
    connect.abort();
    wait_for_none(&link.caller_name).await;
}

#[tokio::test]
async fn a_call_that_nobody_announced_is_recorded_by_the_driver() {
    let service = Service::default();
    let link = TestLink::new("raw", service.clone()).await;
    let raw_call = || {
        let (response_tx, response_rx) = oneshot::channel();
        let message = DriverMessage::Call {
            conn_id: ConnectionId::ROOT,
            request_id: link.caller.alloc_request_id(),
            method_id: WAIT,
            metadata: Vec::new(),
            channels: Vec::new(),
            payload: Vec::new(),
            response_tx,
        };
        (message, response_rx)
    };
    let driver_tx = link.caller.driver_tx();

    let (message, response) = raw_call();
    driver_tx.send(message).await.ok().unwrap();
    wait_for_phase(&link.caller_name, Phase::Sent).await;
    wait_for_phase(&link.service_name, Phase::Running).await;
    service.finish.notify_one();
    assert_eq!(response.await.unwrap().unwrap().payload, [0]);
    wait_for_none(&link.caller_name).await;

    let (message, response) = raw_call();
    driver_tx.send(message).await.ok().unwrap();
    wait_for_phase(&link.caller_name, Phase::Sent).await;
    drop(response);
    wait_for_none(&link.caller_name).await;

    let (message, response) = raw_call();
    driver_tx.send(message).await.ok().unwrap();
    wait_for_phase(&link.caller_name, Phase::Sent).await;
    link.cut();
    assert!(response.await.is_err());
    wait_for_none(&link.caller_name).await;
}
