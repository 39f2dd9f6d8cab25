//! Channels: a row from open to close, and what moved in between.

use aya_ebpf::{bindings::BPF_ANY, macros::uprobe, programs::ProbeContext};
use roam_trace_common::event::{ChannelDirection, ChannelValue, EventKind, Loss, unpack_channel};

use crate::{
    live::{channel_event, reports_all},
    maps::{CHANNELS, add, inserted, now_ns, removed},
    process::record_key,
};

#[uprobe]
fn channel_open(ctx: ProbeContext) -> Option<()> {
    let (key, target) = record_key(&ctx)?;
    let (direction, side, type_index) = unpack_channel(ctx.arg(4)?);
    let value = ChannelValue {
        connection: ctx.arg(1)?,
        channel_id: ctx.arg(2)?,
        request: ctx.arg(3)?,
        opened_ns: now_ns(),
        last_activity_ns: 0,
        bytes_sent: 0,
        items_sent: 0,
        bytes_received: 0,
        items_received: 0,
        receive_budget_bytes: ctx.arg(5)?,
        direction,
        side,
        type_index,
        seen: 1,
    };
    inserted(
        CHANNELS.insert(key, value, BPF_ANY.into()),
        // SAFETY: No more than the address.
        unsafe { &raw mut (*target).channels },
        Loss::ChannelInsert,
    );
    channel_event(EventKind::ChannelOpen, key, &value, 0);
    Some(())
}

/// Several threads may send on one channel, so its counters are added to atomically. As
/// with a request's phase, a channel that closes this very moment may leave its slot to
/// another one.
#[uprobe]
fn channel_data(ctx: ProbeContext) -> Option<()> {
    let (key, _) = record_key(&ctx)?;
    let direction = ctx.arg::<u64>(1)? as u32;
    let bytes = ctx.arg::<u64>(2)?;
    let receive_budget_bytes = ctx.arg::<u64>(3)?;
    let row = CHANNELS.get_ptr_mut(key)?;
    // SAFETY: Just looked up; the writes stay inside the value.
    unsafe {
        if direction == ChannelDirection::Tx.code() {
            add(&raw mut (*row).bytes_sent, bytes);
            add(&raw mut (*row).items_sent, 1);
        } else {
            add(&raw mut (*row).bytes_received, bytes);
            add(&raw mut (*row).items_received, 1);
        }
        (*row).receive_budget_bytes = receive_budget_bytes;
        (*row).last_activity_ns = now_ns();
        (*row).seen = 1;
        channel_event(EventKind::ChannelData, key, &*row, bytes);
    }
    Some(())
}

#[uprobe]
fn channel_close(ctx: ProbeContext) -> Option<()> {
    let (key, target) = record_key(&ctx)?;
    if reports_all()
        && let Some(row) = CHANNELS.get_ptr(key)
    {
        // SAFETY: Just looked up; only read.
        unsafe { channel_event(EventKind::ChannelClose, key, &*row, 0) };
    }
    removed(
        CHANNELS.remove(key),
        // SAFETY: No more than the address.
        unsafe { &raw mut (*target).channels },
        Loss::ChannelUnmatched,
        Loss::ChannelDelete,
    );
    Some(())
}
