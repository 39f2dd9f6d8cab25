//! Requests that came in, of drivers with and without a `DiagnosticState`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};

use roam_diagnostic::registry::{Direction, Mark, Phase};
use roam_dump::model::Request;
use roam_session::{ChannelRegistry, Context, ServiceDispatcher, dispatch_call_infallible};
use roam_wire::{ConnectionId, Message};

use super::hub::ScriptedGuest;
use super::{is_grouping, wait_for_handler};
use crate::links::{ECHO, PANIC, Service, UNSERIALIZABLE, WAIT};
use crate::rows::{connection, connections, requests, snapshot, wait_until};

/// All rows with that request id, of whatever connection.
fn rows_of(request_id: u64) -> Vec<Request> {
    let mut rows = snapshot().requests;
    rows.retain(|row| row.request_id == request_id);
    rows
}

/// Serves, and notes the rows of each request between its arrival and its handler's first step.
struct PhaseWitness {
    service: Service,
    seen: Arc<Mutex<Vec<(u64, Phase)>>>,
}

impl ServiceDispatcher for PhaseWitness {
    fn method_ids(&self) -> Vec<u64> {
        self.service.method_ids()
    }

    fn dispatch(
        &self,
        cx: &Context,
        payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let handler = self.service.dispatch(cx, payload, registry);
        let rows = rows_of(cx.request_id.raw());
        let seen = rows.iter().map(|row| (row.request_bytes, row.phase));
        self.seen.lock().unwrap().extend(seen);
        handler
    }
}

#[tokio::test]
async fn an_incoming_request_is_one_row_with_and_without_a_state() {
    for with_state in [false, true] {
        let name = format!("shm incoming, {with_state}");
        let service = Service::default();
        let seen = Arc::default();
        let witness = PhaseWitness {
            service: service.clone(),
            seen: Arc::clone(&seen),
        };
        let mut guest = ScriptedGuest::new(&name, with_state, witness).await;
        let request_id = guest.call(ConnectionId::ROOT, WAIT, Vec::new()).await;
        wait_for_handler(&name).await;
        assert_eq!(*seen.lock().unwrap(), [(0, Phase::Received)]);
        // No other row anywhere is of the same request.
        let [row] = &rows_of(request_id)[..] else {
            panic!("{:#?}", rows_of(request_id));
        };
        assert_eq!(row.direction, Direction::Incoming);
        assert_eq!(row.method_id, WAIT);
        assert_eq!(row.connection, connection(&name).serial);
        assert_eq!(row.mark, None);
        service.finish.notify_one();
        assert_eq!(guest.response_to(request_id).await, [0]);
        wait_until("its row is gone", || rows_of(request_id).is_empty()).await;
    }
}

#[tokio::test]
async fn a_refused_request_is_one_row() {
    for with_state in [false, true] {
        let name = format!("shm refused, {with_state}");
        let seen = Arc::default();
        let witness = PhaseWitness {
            service: Service::default(),
            seen: Arc::clone(&seen),
        };
        let mut guest = ScriptedGuest::new(&name, with_state, witness).await;
        // No such method; arguments that do not decode.
        for (method_id, payload, answer) in [(5, vec![], [1, 1]), (ECHO, vec![200], [1, 2])] {
            let request_id = guest.call(ConnectionId::ROOT, method_id, payload).await;
            assert_eq!(guest.response_to(request_id).await, answer);
            wait_until("its row is gone", || rows_of(request_id).is_empty()).await;
        }
        let phases: Vec<_> = seen.lock().unwrap().iter().map(|seen| seen.1).collect();
        assert_eq!(phases, [Phase::Received; 2]);
    }
}

#[tokio::test]
async fn a_handler_that_cannot_answer_leaves_a_mark_until_its_connection_closes() {
    for with_state in [false, true] {
        let name = format!("shm no answer, {with_state}");
        let mut guest = ScriptedGuest::new(&name, with_state, Service::default()).await;
        let mut request_ids = Vec::new();
        for method_id in [PANIC, UNSERIALIZABLE] {
            let request_id = guest.call(ConnectionId::ROOT, method_id, Vec::new()).await;
            wait_until("the handler is gone", || {
                matches!(&rows_of(request_id)[..],
                    [row] if row.mark == Some(Mark::EndedWithoutAnswer))
            })
            .await;
            request_ids.push(request_id);
        }
        assert_eq!(requests(&name).len(), 2);
        guest.say_goodbye().await;
        wait_until("both rows are gone", || {
            request_ids.iter().all(|&id| rows_of(id).is_empty())
        })
        .await;
    }
}

#[tokio::test]
async fn a_goodbye_and_a_cancel_end_incoming_requests() {
    for with_state in [false, true] {
        let name = format!("shm aborted, {with_state}");
        let mut guest = ScriptedGuest::new(&name, with_state, Service::default()).await;
        let cancelled = guest.call(ConnectionId::ROOT, WAIT, Vec::new()).await;
        wait_for_handler(&name).await;
        guest
            .send(Message::Cancel {
                conn_id: ConnectionId::ROOT,
                request_id: cancelled,
            })
            .await;
        assert_eq!(guest.response_to(cancelled).await, [1, 3]);
        wait_until("its row is gone", || rows_of(cancelled).is_empty()).await;

        let aborted = guest.call(ConnectionId::ROOT, WAIT, Vec::new()).await;
        wait_for_handler(&name).await;
        guest.say_goodbye().await;
        wait_until("all rows are gone", || {
            rows_of(aborted).is_empty() && connections(&name).iter().all(is_grouping)
        })
        .await;
    }
}

/// Serves every request with a handler that blocks its thread until the test lets it go on.
struct Blocking(Arc<Mutex<mpsc::Receiver<()>>>);

impl ServiceDispatcher for Blocking {
    fn method_ids(&self) -> Vec<u64> {
        Vec::new()
    }

    fn dispatch(
        &self,
        cx: &Context,
        payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let go_on = Arc::clone(&self.0);
        dispatch_call_infallible(cx, payload, registry, |(): ()| async move {
            // The runtime's timers go on.
            tokio::task::block_in_place(|| go_on.lock().unwrap().recv().ok());
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_cannot_be_aborted_is_orphaned() {
    for with_state in [false, true] {
        let name = format!("shm blocked, {with_state}");
        let (go_on, blocked) = mpsc::channel();
        let blocking = Blocking(Arc::new(Mutex::new(blocked)));
        let mut guest = ScriptedGuest::new(&name, with_state, blocking).await;
        let request_id = guest.call(ConnectionId::ROOT, 1, Vec::new()).await;
        wait_for_handler(&name).await;
        guest.say_goodbye().await;
        wait_until(
            "the handler is orphaned",
            || matches!(&rows_of(request_id)[..], [row] if row.mark == Some(Mark::Orphaned)),
        )
        .await;
        go_on.send(()).unwrap();
        wait_until("its row is gone", || rows_of(request_id).is_empty()).await;
    }
}

/// One state serves link and virtual connection, and knows requests by their ids alone.
#[tokio::test]
async fn requests_with_one_id_do_not_end_one_another() {
    let (name, service) = ("shm one id", Service::default());
    let mut guest = ScriptedGuest::new(name, true, service.clone()).await;
    guest
        .send(Message::Connect {
            request_id: 1,
            metadata: Vec::new(),
        })
        .await;
    let offer = guest.host_incoming.recv().await.unwrap();
    let _virtual_host = offer.accept(Vec::new(), None).await.unwrap();
    let Message::Accept { conn_id, .. } = guest.receive().await else {
        panic!("not accepted");
    };
    let running_on = |connection: ConnectionId| {
        let mut rows = rows_of_open_connection(name, connection);
        rows.retain(|row| row.phase == Phase::Running);
        rows.len()
    };
    for answered in [ConnectionId::ROOT, conn_id] {
        let (other, id) = if answered.is_root() {
            (conn_id, 77)
        } else {
            (ConnectionId::ROOT, 78)
        };
        guest.call_as(id, answered, WAIT, Vec::new()).await;
        wait_until("the first one runs", || running_on(answered) == 1).await;
        guest.call_as(id, other, WAIT, Vec::new()).await;
        wait_until("both run", || running_on(other) == 1).await;
        // The first one that waits is notified.
        service.finish.notify_one();
        assert_eq!(guest.response_to(id).await, [0]);
        assert_eq!((running_on(answered), running_on(other)), (0, 1));

        // A third one with the same id is cancelled, and only that.
        guest.call_as(id, answered, WAIT, Vec::new()).await;
        wait_until("both run", || running_on(answered) == 1).await;
        guest
            .send(Message::Cancel {
                conn_id: answered,
                request_id: id,
            })
            .await;
        assert_eq!(guest.response_to(id).await, [1, 3]);
        wait_until("the cancelled one ended", || running_on(answered) == 0).await;
        assert_eq!(running_on(other), 1);
        service.finish.notify_one();
        assert_eq!(guest.response_to(id).await, [0]);
        wait_until("no row is left", || requests(name).is_empty()).await;
    }
}

/// The requests of one of the connections that share a state, and with it their name.
fn rows_of_open_connection(name: &str, conn_id: ConnectionId) -> Vec<Request> {
    let mut open = connections(name);
    open.retain(|row| row.conn_id == conn_id.raw() && !is_grouping(row));
    let [open] = &open[..] else {
        panic!("{open:#?}");
    };
    let mut rows = requests(name);
    rows.retain(|row| row.connection == open.serial);
    rows
}
