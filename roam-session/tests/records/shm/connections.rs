//! Connections, root and virtual, and what ends with them.

use roam_diagnostic::registry::{ConnectionState, Direction, Mark, Phase, RequestKind, Role};
use roam_session::{ConnectError, DriverMessage, TransportError};
use roam_wire::ConnectionId;

use super::hub::Hub;
use super::{wait_for_handler, wait_for_none};
use crate::links::{Service, WAIT};
use crate::rows::{connection, connections, request, requests, wait_until};

#[tokio::test]
async fn a_connection_has_a_row_on_either_side_until_its_driver_is_gone() {
    let (hub, guest_driver, host_driver) = Hub::undriven("shm rows", &Service::default());
    for (name, role) in [
        (&hub.guest_name, Role::Initiator),
        (&hub.host_name, Role::Acceptor),
    ] {
        let row = connection(name);
        assert_eq!((row.role, row.conn_id), (role, 0));
        assert_eq!(row.link, row.serial);
        assert_eq!(row.state, ConnectionState::Open);
        // A driver that reports nothing of itself.
        assert_eq!(row.driver, None);
    }
    drop(guest_driver);
    assert_eq!(connections(&hub.guest_name), []);
    assert_eq!(connections(&hub.host_name).len(), 1);
    drop(host_driver);
    assert_eq!(connections(&hub.host_name), []);
}

#[tokio::test]
async fn a_virtual_connection_has_rows_of_its_own() {
    let service = Service::default();
    let mut hub = Hub::new("shm virtual", &service);
    let host = hub.host.clone();
    let connect = tokio::spawn(async move { host.connect(Vec::new(), None).await });
    let offer = hub.guest_incoming.recv().await.unwrap();
    let row = request(&hub.host_name);
    assert_eq!(
        (row.kind, row.direction, row.phase),
        (RequestKind::Connect, Direction::Outgoing, Phase::HandedOver)
    );
    assert!(!row.writes_observable);
    let guest_virtual = offer.accept(Vec::new(), None).await.unwrap();
    let host_virtual = connect.await.unwrap().unwrap();
    assert_eq!(requests(&hub.host_name), []);
    let [guest_name, host_name] =
        [&hub.guest_name, &hub.host_name].map(|link| format!("{link} conn 1"));
    for (name, link, role) in [
        (&guest_name, &hub.guest_name, Role::Initiator),
        (&host_name, &hub.host_name, Role::Acceptor),
    ] {
        let row = connection(name);
        assert_eq!((row.conn_id, row.role), (1, role));
        assert_eq!(row.link, connection(link).serial);
        assert_eq!(row.state, ConnectionState::Open);
    }

    // The same ids on link and virtual connection, in both directions.
    let calls = [&hub.guest, &guest_virtual, &host_virtual].map(|caller| {
        let caller = caller.clone();
        tokio::spawn(async move { caller.call(WAIT, &mut ()).await })
    });
    for name in [&hub.host_name, &host_name, &guest_name] {
        wait_for_handler(name).await;
    }
    for name in [&guest_name, &host_name] {
        let rows = requests(name);
        assert_eq!(rows.len(), 2, "{rows:#?}");
        assert!(rows.iter().all(|row| row.request_id == 1));
        assert_eq!(
            rows.iter()
                .filter(|row| row.phase == Phase::Running)
                .count(),
            1
        );
    }
    assert_eq!(request(&hub.guest_name).phase, Phase::HandedOver);
    service.finish.notify_waiters();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    for name in [&hub.guest_name, &hub.host_name, &guest_name, &host_name] {
        wait_for_none(name).await;
    }

    // Handles keep no row.
    hub.guest_driver.abort();
    hub.host_driver.abort();
    wait_until("all four rows are gone", || {
        [&hub.guest_name, &hub.host_name, &guest_name, &host_name]
            .into_iter()
            .all(|name| connections(name).is_empty())
    })
    .await;
    drop((guest_virtual, host_virtual));
}

#[tokio::test]
async fn a_request_for_a_connection_ends_with_a_refusal_and_with_its_future() {
    let mut hub = Hub::new("shm connecting", &Service::default());
    let connect = |hub: &Hub| {
        let guest = hub.guest.clone();
        tokio::spawn(async move { guest.connect(Vec::new(), None).await })
    };
    let refused = connect(&hub);
    let offer = hub.host_incoming.recv().await.unwrap();
    assert_eq!(request(&hub.guest_name).kind, RequestKind::Connect);
    offer.reject("no".to_owned(), Vec::new());
    let answer = refused.await.unwrap();
    assert!(matches!(answer, Err(ConnectError::Rejected(_))));
    assert_eq!(requests(&hub.guest_name), []);

    let dropped = connect(&hub);
    let _unanswered = hub.host_incoming.recv().await.unwrap();
    assert_eq!(requests(&hub.guest_name).len(), 1);
    dropped.abort();
    wait_for_none(&hub.guest_name).await;
}

/// The host says goodbye to a guest that breaks a rule.
#[tokio::test]
async fn a_goodbye_to_a_guest_ends_everything_there() {
    let hub = Hub::new("shm goodbye to guest", &Service::default());
    let host = hub.host.clone();
    let to_guest = tokio::spawn(async move { host.call(WAIT, &mut ()).await });
    wait_for_handler(&hub.guest_name).await;
    let guest = hub.guest.clone();
    let to_host = tokio::spawn(async move { guest.call(WAIT, &mut ()).await });
    wait_for_handler(&hub.host_name).await;
    let of_no_channel = DriverMessage::Data {
        conn_id: ConnectionId::ROOT,
        channel_id: 99,
        payload: Vec::new(),
    };
    let sent = hub.guest.driver_tx().send(of_no_channel).await;
    assert!(sent.is_ok());
    for call in [to_guest, to_host] {
        let answer = call.await.unwrap();
        assert!(matches!(answer, Err(TransportError::ConnectionClosed)));
    }
    wait_until("the guest has no rows", || {
        requests(&hub.guest_name).is_empty() && connections(&hub.guest_name).is_empty()
    })
    .await;
    // The published host keeps the connection and what runs on it.
    let row = request(&hub.host_name);
    assert_eq!((row.direction, row.mark), (Direction::Incoming, None));
    assert_eq!(connection(&hub.host_name).state, ConnectionState::Open);
}

#[tokio::test]
async fn drivers_that_are_gone_leave_their_handlers_orphaned() {
    let service = Service::default();
    let hub = Hub::new("shm drivers gone", &service);
    let host = hub.host.clone();
    let to_guest = tokio::spawn(async move { host.call(WAIT, &mut ()).await });
    wait_for_handler(&hub.guest_name).await;
    let guest = hub.guest.clone();
    let to_host = tokio::spawn(async move { guest.call(WAIT, &mut ()).await });
    wait_for_handler(&hub.host_name).await;

    hub.guest_driver.abort();
    hub.host_driver.abort();
    for (name, call) in [(&hub.guest_name, to_host), (&hub.host_name, to_guest)] {
        let answer = call.await.unwrap();
        assert!(matches!(answer, Err(TransportError::DriverGone)));
        // The handler runs on, and its request keeps the connection's row.
        let row = request(name);
        assert_eq!(row.direction, Direction::Incoming);
        assert_eq!(row.mark, Some(Mark::Orphaned));
        assert_eq!(connection(name).state, ConnectionState::Closed);
    }
    service.finish.notify_waiters();
    for name in [&hub.guest_name, &hub.host_name] {
        wait_until("all rows are gone", || {
            requests(name).is_empty() && connections(name).is_empty()
        })
        .await;
    }
}
