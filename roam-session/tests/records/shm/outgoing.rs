//! Calls of this process.

use roam_diagnostic::registry::{ConnectionState, Direction, Phase, RequestKind};
use roam_session::TransportError;

use super::hub::{Hub, ScriptedGuest};
use super::{wait_for_handler, wait_for_none};
use crate::links::{ECHO, Service, WAIT};
use crate::rows::{connection, connections, request, requests, wait_for, wait_until};

#[tokio::test]
async fn a_call_is_one_row_on_either_side() {
    let service = Service::default();
    let hub = Hub::new("shm one row", &service);
    let ends = [(&hub.guest, &hub.guest_name), (&hub.host, &hub.host_name)];
    for [(caller, caller_name), (_, callee_name)] in [ends, [ends[1], ends[0]]] {
        let caller = caller.clone();
        let call = tokio::spawn(async move { caller.call(WAIT, &mut ()).await });
        wait_for_handler(callee_name).await;
        let outgoing = request(caller_name);
        let incoming = request(callee_name);
        for (row, direction) in [
            (&outgoing, Direction::Outgoing),
            (&incoming, Direction::Incoming),
        ] {
            assert_eq!(row.direction, direction);
            assert_eq!(row.kind, RequestKind::Call);
            assert_eq!((row.request_id, row.method_id), (1, WAIT));
            assert_eq!((row.mark, row.parent), (None, None));
            // The handler runs, so it was written; nobody reports that.
            assert!(!row.writes_observable);
        }
        assert_eq!(outgoing.phase, Phase::HandedOver);
        service.finish.notify_one();
        call.await.unwrap().unwrap();
        assert_eq!(requests(caller_name), []);
        wait_for_none(callee_name).await;
    }
}

#[tokio::test]
async fn an_outgoing_row_waits_for_the_queue_and_ends_with_its_future() {
    let (hub, guest_driver, host_driver) = Hub::undriven("shm queue", &Service::default());
    let call = || {
        let guest = hub.guest.clone();
        tokio::spawn(async move { guest.call(ECHO, &mut String::new()).await })
    };
    let handed_over: Vec<_> = (0..256).map(|_| call()).collect();
    wait_until("the queue is full", || {
        let rows = requests(&hub.guest_name);
        rows.len() == 256 && rows.iter().all(|row| row.phase == Phase::HandedOver)
    })
    .await;
    let queued = call();
    let row = wait_for("one more waits for the queue", || {
        let mut rows = requests(&hub.guest_name);
        rows.retain(|row| row.phase == Phase::Queued);
        rows.pop()
    })
    .await;
    assert_eq!(row.request_id, 257);
    queued.abort();
    wait_until("its row is gone", || requests(&hub.guest_name).len() == 256).await;
    for call in &handed_over {
        call.abort();
    }
    wait_for_none(&hub.guest_name).await;
    drop((guest_driver, host_driver));
}

#[tokio::test]
async fn an_outgoing_row_ends_with_its_answer() {
    let mut guest = ScriptedGuest::new("shm answer", false, Service::default()).await;
    // A value, a user error, and errors of roam's own.
    for answer in [vec![0], vec![1, 0, 9], vec![1, 1], vec![1, 3]] {
        let host = guest.host.clone();
        let call = tokio::spawn(async move { host.call_raw(ECHO, vec![7, 8, 9]).await });
        let (conn_id, request_id) = guest.receive_request().await;
        // The peer has it, and still nobody here knows that it was written.
        let row = request("shm answer");
        assert_eq!((row.request_id, row.request_bytes), (request_id, 3));
        assert_eq!(row.phase, Phase::HandedOver);
        assert!(!row.writes_observable);
        guest.respond(conn_id, request_id, answer.clone()).await;
        assert_eq!(call.await.unwrap().unwrap(), answer);
        assert_eq!(requests("shm answer"), []);
    }
}

#[tokio::test]
async fn a_dropped_call_leaves_no_row_to_its_late_response() {
    let mut guest = ScriptedGuest::new("shm dropped", false, Service::default()).await;
    let call = |guest: &ScriptedGuest| {
        let host = guest.host.clone();
        tokio::spawn(async move { host.call_raw(ECHO, Vec::new()).await })
    };
    let dropped = call(&guest);
    let (conn_id, late) = guest.receive_request().await;
    dropped.abort();
    wait_for_none("shm dropped").await;

    let answered = call(&guest);
    let (_, request_id) = guest.receive_request().await;
    guest.respond(conn_id, late, vec![0]).await;
    guest.respond(conn_id, request_id, vec![0]).await;
    answered.await.unwrap().unwrap();
    assert_eq!(requests("shm dropped"), []);
}

#[tokio::test]
async fn a_goodbye_ends_calls_and_connections() {
    let mut guest = ScriptedGuest::new("shm goodbye", false, Service::default()).await;
    let host = guest.host.clone();
    let call = tokio::spawn(async move { host.call_raw(ECHO, Vec::new()).await });
    guest.receive_request().await;
    assert_eq!(connection("shm goodbye").state, ConnectionState::Open);
    guest.say_goodbye().await;
    let answer = call.await.unwrap();
    assert!(matches!(answer, Err(TransportError::ConnectionClosed)));
    assert_eq!(requests("shm goodbye"), []);
    // The handle is still there; its connection is not.
    wait_until("the connection's row is gone", || {
        connections("shm goodbye").is_empty()
    })
    .await;
}
