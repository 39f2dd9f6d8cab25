//! Channels, on both sides and in both directions.

use roam_diagnostic::registry::{ChannelDirection, ChannelSide};
use roam_session::{ForwardingDispatcher, Rx, Tx, channel as new_channel};

use crate::links::{CONSUME, PRODUCE, Service, TestLink};
use crate::rows::{channel, channels, request, wait_for, wait_until};

async fn wait_for_none(name: &str) {
    wait_until(&format!("no channel on {name}"), || {
        channels(name).is_empty()
    })
    .await;
}

#[tokio::test]
async fn items_for_the_service_are_counted() {
    let service = Service::default();
    let link = TestLink::new("consume", service.clone()).await;
    let (tx, rx) = new_channel::<u32>();
    let caller = link.caller.clone();
    let mut args: Rx<u32> = rx;
    let call = tokio::spawn(async move { caller.call(CONSUME, &mut args).await.is_ok() });
    tx.send(&1).await.unwrap();
    tx.send(&300).await.unwrap();
    let received = wait_for("both items arrived", || {
        let mut rows = channels(&link.service_name);
        rows.retain(|row| row.items_received == 2);
        rows.pop()
    })
    .await;
    let sent = channel(&link.caller_name);

    assert_eq!((sent.channel_id, received.channel_id), (1, 1));
    assert_eq!(sent.direction, ChannelDirection::Tx);
    assert_eq!(received.direction, ChannelDirection::Rx);
    assert_eq!(
        (sent.side, received.side),
        (ChannelSide::Client, ChannelSide::Server)
    );
    for row in [&sent, &received] {
        assert_eq!(row.element_type.as_deref(), Some("u32"));
        assert_eq!(row.request_id, Some(1));
    }
    assert_eq!((sent.items_sent, sent.bytes_sent), (2, 3));
    assert_eq!((received.bytes_received, received.items_read), (3, Some(0)));
    assert_eq!(received.receive_budget_bytes, Some(64 * 1024 - 3));
    assert_eq!(sent.receive_budget_bytes, None);

    service.read.notify_one();
    wait_until("an item was read", || {
        channel(&link.service_name).items_read == Some(1)
    })
    .await;
    assert!(!channel(&link.service_name).reader_gone);

    drop(tx);
    wait_for_none(&link.caller_name).await;
    wait_for_none(&link.service_name).await;
    assert_eq!(request(&link.caller_name).request_id, 1);
    // The rest is read, and the handler ends.
    for _ in 0..2 {
        tokio::task::yield_now().await;
        service.read.notify_one();
    }
    call.abort();
}

#[tokio::test]
async fn items_for_the_caller_are_counted() {
    let service = Service::default();
    let link = TestLink::new("produce", service.clone()).await;
    let (tx, mut rx) = new_channel::<String>();
    let caller = link.caller.clone();
    let mut args: Tx<String> = tx;
    let call = tokio::spawn(async move { caller.call(PRODUCE, &mut args).await.is_ok() });
    let received = wait_for("both items arrived", || {
        let mut rows = channels(&link.caller_name);
        rows.retain(|row| row.items_received == 2);
        rows.pop()
    })
    .await;
    let sent = channel(&link.service_name);
    assert_eq!(sent.direction, ChannelDirection::Tx);
    assert_eq!(received.direction, ChannelDirection::Rx);
    assert_eq!(
        (sent.side, received.side),
        (ChannelSide::Server, ChannelSide::Client)
    );
    for row in [&sent, &received] {
        assert_eq!(row.element_type.as_deref(), Some("String"));
        assert_eq!(row.request_id, Some(1));
    }
    assert_eq!((sent.items_sent, sent.bytes_sent), (2, 12));
    assert_eq!(
        (received.bytes_received, received.items_read),
        (12, Some(0))
    );
    rx.recv().await.unwrap();
    assert_eq!(channel(&link.caller_name).items_read, Some(1));
    drop(rx);
    assert!(channel(&link.caller_name).reader_gone);
    // The handler drops its end.
    service.finish.notify_one();
    wait_for_none(&link.service_name).await;
    wait_for_none(&link.caller_name).await;
    service.finish.notify_one();
    assert!(call.await.unwrap());
}

#[tokio::test]
async fn a_sender_that_left_items_behind_is_shown() {
    let link = TestLink::new("writer gone", Service::default()).await;
    link.caller_gate.close();
    let (tx, rx) = new_channel::<Vec<u8>>();
    let caller = link.caller.clone();
    let mut args = rx;
    let call = tokio::spawn(async move { caller.call(CONSUME, &mut args).await.is_ok() });
    // The request waits for the transport, 256 items for the driver, and the rest for them.
    for _ in 0..300 {
        tx.send(&vec![0; 8]).await.unwrap();
    }
    wait_until("the driver's queue is full", || {
        let rows = channels(&link.caller_name);
        matches!(&rows[..], [row] if row.items_sent == 256)
    })
    .await;
    assert!(!channel(&link.caller_name).writer_gone);
    drop(tx);
    let row = channel(&link.caller_name);
    assert!(row.writer_gone);
    assert_eq!(row.element_type.as_deref(), Some("Vec<u8>"));
    call.abort();
}

#[tokio::test]
async fn channels_close_with_their_connection() {
    let link = TestLink::new("cut channels", Service::default()).await;
    let (tx, rx) = new_channel::<u32>();
    let (tx2, rx2) = new_channel::<String>();
    for (mut consumed, mut produced) in [(Some(rx), None), (None, Some(tx2))] {
        let caller = link.caller.clone();
        tokio::spawn(async move {
            if let Some(rx) = &mut consumed {
                let _: Result<_, _> = caller.call::<Rx<u32>>(CONSUME, rx).await;
            }
            if let Some(tx) = &mut produced {
                let _: Result<_, _> = caller.call::<Tx<String>>(PRODUCE, tx).await;
            }
        });
    }
    wait_until("two channels are open on either side", || {
        channels(&link.caller_name).len() == 2 && channels(&link.service_name).len() == 2
    })
    .await;
    link.cut();
    wait_for_none(&link.caller_name).await;
    wait_for_none(&link.service_name).await;
    // Late users of the closed channels do nothing.
    tx.send(&1).await.unwrap();
    drop((tx, rx2));
    assert_eq!(channels(&link.caller_name), []);
}

#[tokio::test]
async fn a_forwarded_channel_has_a_row_on_either_leg() {
    let service = Service::default();
    let upstream = TestLink::new("channel up", service.clone()).await;
    let proxy = ForwardingDispatcher::new(upstream.caller.clone());
    let link = TestLink::new("channel down", proxy).await;
    let (tx, rx) = new_channel::<u32>();
    let caller = link.caller.clone();
    let mut args = rx;
    let call = tokio::spawn(async move { caller.call(CONSUME, &mut args).await.is_ok() });
    tx.send(&7).await.unwrap();
    wait_until(
        "the item arrived",
        || matches!(&channels(&upstream.service_name)[..], [row] if row.items_received == 1),
    )
    .await;
    let down = channel(&link.service_name);
    let up = channel(&upstream.caller_name);
    assert_eq!((down.items_received, up.items_sent), (1, 1));
    assert_eq!(down.request, Some(request(&link.service_name).serial));
    assert_eq!(up.request, Some(request(&upstream.caller_name).serial));
    drop(tx);
    for name in [
        &link.caller_name,
        &link.service_name,
        &upstream.caller_name,
        &upstream.service_name,
    ] {
        wait_for_none(name).await;
    }
    call.abort();
}
