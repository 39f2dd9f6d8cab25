//! A receiver that stopped reading: its buffer fills, the driver that delivers to
//! it stops reading the link, and every call on that link is stuck behind it.

use anyhow::{Result, ensure};

use super::stuck::{Stuck, running_in};
use crate::control::Order;
use crate::expect::{ChannelDirection, Direction, ExpectedChannel, ExpectedDelivery, Phase};
use crate::host::Host;
use crate::serve::UPLOAD_STALLS_AFTER;
use crate::service::{Behavior, ContentServiceClient, TcpTunnelClient, method};

/// Items that fit into an `Rx` of roam 0.6.
const RX_BUFFER: u64 = 1024;
/// Items beyond what the receiver takes until some must have stayed unread. The kernel's socket
/// buffer holds that many, so the sending driver is not blocked too.
const SURPLUS: u64 = 64;
/// Samples of the unread bytes until the call that follows the items must be among them.
const SAMPLES: u32 = 20;

pub(super) async fn start(host: &Host) -> Result<Stuck> {
    let cell = &host.cells[0];
    // A background call would be stuck too, without anybody expecting it.
    cell.pause_traffic().await?;

    let content = ContentServiceClient::new(cell.handle.clone());
    let client = content.clone();
    let call = host.issue(cell, method::COMPILE, Behavior::Hold, move |ticket| {
        client.compile(ticket, "/guide/debugging".to_owned())
    });
    let ([held_caller, mut held], _) = running_in(cell, call).await?;

    let (items, to_callee) = roam::channel::<u8>();
    let client = TcpTunnelClient::new(cell.handle.clone());
    let call = host.issue(cell, method::UPLOAD, Behavior::Stall, move |ticket| {
        client.upload(ticket, to_callee)
    });
    // One item more than fits: delivering it is what blocks the driver.
    let mut sent = 0;
    while sent <= UPLOAD_STALLS_AFTER + RX_BUFFER {
        items.send(&0).await?;
        sent += 1;
    }
    let (stream, mut channels) = running_in(cell, call).await?;
    // The driver may have read a few more items together with that one. What it no longer reads
    // proves that it is blocked.
    let mut unread = 0;
    while unread == 0 {
        ensure!(
            sent <= UPLOAD_STALLS_AFTER + RX_BUFFER + SURPLUS,
            "the cell's driver reads on with {sent} items in a full channel"
        );
        items.send(&0).await?;
        sent += 1;
        unread = cell.unread().await?;
    }
    count_sent(&mut channels, sent);

    // Behind what the cell does not read any more: written, and never received.
    let behind = host.issue(
        cell,
        method::FIND_CONTENT,
        Behavior::Answer,
        move |ticket| content.find_content(ticket, "/guide".to_owned()),
    );
    let mut samples = 0;
    while cell.unread().await? <= unread {
        samples += 1;
        ensure!(samples < SAMPLES, "the host's driver does not write");
    }

    cell.order(&Order::QueueBehindBlockedDriver)?;
    let (handed_over, _) = cell.stuck(Direction::Outgoing, method::RESOLVE).await?;
    ensure!(
        handed_over.phase == Phase::HandedOver,
        "a cell's call is {:?}",
        handed_over.phase
    );
    held.phase = Phase::Responding;

    let delivering = channels
        .iter()
        .filter(|channel| channel.direction == ChannelDirection::Rx)
        .map(|channel| ExpectedDelivery {
            pid: channel.pid,
            connection: channel.connection.clone(),
            channel_id: channel.channel_id,
        })
        .collect();
    Ok(Stuck {
        requests: stream
            .into_iter()
            .chain([held_caller, held, behind, handed_over])
            .collect(),
        channels,
        delivering,
        held: vec![Box::new(items)],
    })
}

/// The sending end has sent everything; how much counts as received is a matter of where one
/// counts, in the buffer or before it.
fn count_sent(channels: &mut [ExpectedChannel], sent: u64) {
    for channel in channels {
        if channel.direction == ChannelDirection::Tx {
            channel.items = Some(sent);
            // An u8 is one byte in postcard.
            channel.payload_bytes = Some(sent);
        }
    }
}
