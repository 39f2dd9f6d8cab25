//! Channels, on both sides and in both directions.

use roam_diagnostic::registry::{ChannelDirection, ChannelSide};
use roam_session::{ConnectionHandle, Rx, Tx, channel as new_channel};
use roam_wire::{ConnectionId, Message};

use super::hub::{Hub, ScriptedGuest};
use crate::links::{CONSUME, PRODUCE, Service};
use crate::rows::{channel, channels, request, wait_for, wait_until};

/// The caller sends, guest or host.
#[tokio::test]
async fn items_for_the_service_are_counted() {
    for guest_calls in [true, false] {
        let service = Service::default();
        let name = format!("shm consume, {guest_calls}");
        let hub = Hub::new(&name, &service);
        let (caller, caller_name, callee_name, channel_id) = ends(&hub, guest_calls);
        let (tx, rx) = new_channel::<u32>();
        let mut args: Rx<u32> = rx;
        let call = tokio::spawn(async move { caller.call(CONSUME, &mut args).await.is_ok() });
        tx.send(&1).await.unwrap();
        tx.send(&300).await.unwrap();
        let received = wait_for("both items arrived", || {
            let mut rows = channels(callee_name);
            rows.retain(|row| row.items_received == 2);
            rows.pop()
        })
        .await;
        let sent = channel(caller_name);
        assert_eq!(sent.direction, ChannelDirection::Tx);
        assert_eq!(received.direction, ChannelDirection::Rx);
        assert_eq!(
            (sent.side, received.side),
            (ChannelSide::Client, ChannelSide::Server)
        );
        for (row, name) in [(&sent, caller_name), (&received, callee_name)] {
            assert_eq!(row.channel_id, channel_id);
            assert_eq!(row.request, Some(request(name).serial));
            assert_eq!(row.element_type.as_deref(), Some("u32"));
        }
        assert_eq!((sent.items_sent, sent.bytes_sent), (2, 3));
        assert_eq!((received.bytes_received, received.items_read), (3, Some(0)));
        // The published driver lets as much through as it can count.
        let budget = u64::from(u32::MAX) - 3;
        assert_eq!(received.receive_budget_bytes, Some(budget));
        assert_eq!(sent.receive_budget_bytes, None);

        service.read.notify_one();
        wait_until("an item was read", || {
            channel(callee_name).items_read == Some(1)
        })
        .await;
        drop(tx);
        wait_for_no_channel(caller_name).await;
        wait_for_no_channel(callee_name).await;
        call.abort();
    }
}

/// The callee sends, host or guest.
#[tokio::test]
async fn items_for_the_caller_are_counted() {
    for guest_calls in [true, false] {
        let service = Service::default();
        let name = format!("shm produce, {guest_calls}");
        let hub = Hub::new(&name, &service);
        let (caller, caller_name, callee_name, channel_id) = ends(&hub, guest_calls);
        let (tx, mut rx) = new_channel::<String>();
        let mut args: Tx<String> = tx;
        let call = tokio::spawn(async move { caller.call(PRODUCE, &mut args).await.is_ok() });
        let received = wait_for("both items arrived", || {
            let mut rows = channels(caller_name);
            rows.retain(|row| row.items_received == 2);
            rows.pop()
        })
        .await;
        let sent = channel(callee_name);
        assert_eq!(sent.direction, ChannelDirection::Tx);
        assert_eq!(received.direction, ChannelDirection::Rx);
        assert_eq!(
            (sent.side, received.side),
            (ChannelSide::Server, ChannelSide::Client)
        );
        for (row, name) in [(&sent, callee_name), (&received, caller_name)] {
            assert_eq!(row.channel_id, channel_id);
            assert_eq!(row.request, Some(request(name).serial));
            assert_eq!(row.element_type.as_deref(), Some("String"));
        }
        assert_eq!((sent.items_sent, sent.bytes_sent), (2, 12));
        assert_eq!(
            (received.bytes_received, received.items_read),
            (12, Some(0))
        );
        rx.recv().await.unwrap();
        assert_eq!(channel(caller_name).items_read, Some(1));
        drop(rx);
        assert!(channel(caller_name).reader_gone);

        // The handler drops its end.
        service.finish.notify_one();
        wait_for_no_channel(callee_name).await;
        wait_for_no_channel(caller_name).await;
        service.finish.notify_one();
        assert!(call.await.unwrap());
    }
}

/// The caller, its name, the callee's name, and the id of the caller's first channel.
fn ends(hub: &Hub, guest_calls: bool) -> (ConnectionHandle, &str, &str, u64) {
    if guest_calls {
        (hub.guest.clone(), &hub.guest_name, &hub.host_name, 1)
    } else {
        (hub.host.clone(), &hub.host_name, &hub.guest_name, 2)
    }
}

async fn wait_for_no_channel(name: &str) {
    wait_until(&format!("no channel on {name}"), || {
        channels(name).is_empty()
    })
    .await;
}

#[tokio::test]
async fn channels_end_with_a_reset_and_with_their_connection() {
    let mut guest = ScriptedGuest::new("shm reset", false, Service::default()).await;
    for (channel_id, method_id) in [(1, CONSUME), (3, CONSUME), (5, PRODUCE)] {
        guest
            .send(Message::Request {
                conn_id: ConnectionId::ROOT,
                request_id: channel_id,
                method_id,
                metadata: Vec::new(),
                channels: vec![channel_id],
                payload: vec![channel_id as u8],
            })
            .await;
    }
    wait_until("three channels are open", || {
        channels("shm reset").len() == 3
    })
    .await;
    guest
        .send(Message::Reset {
            conn_id: ConnectionId::ROOT,
            channel_id: 1,
        })
        .await;
    wait_until("one of them was reset", || {
        let rows = channels("shm reset");
        rows.len() == 2 && rows.iter().all(|row| row.channel_id != 1)
    })
    .await;

    let host = guest.host.clone();
    let (_tx, mut args) = new_channel::<u32>();
    let call = tokio::spawn(async move { host.call(CONSUME, &mut args).await.is_ok() });
    wait_until("the host's own channel is open", || {
        let rows = channels("shm reset");
        rows.iter().any(|row| row.side == ChannelSide::Client)
    })
    .await;
    guest.say_goodbye().await;
    wait_for_no_channel("shm reset").await;
    assert!(!call.await.unwrap());
}
