//! Open channels. Whoever closes a channel must be its last user: unlike a
//! request, a channel's counters are not guarded against late writers.

use std::mem::offset_of;

use roam_trace_common::Serial;
use roam_trace_common::event::{ChannelDirection, ChannelSide, pack_channel};
use roam_trace_common::registry::{ChannelRecord, FLAG_READER_GONE, FLAG_WRITER_GONE, Table};

use super::{Connection, Registry, Request, live_sequence, record, registry};
use crate::region::Slot;
use crate::slab::Slab;
use crate::sync::{Ordering, pair, replace_half};
use crate::{clock, probe};

record!(ChannelRecord, Channels, channels);

/// Fields that share a word.
const DIRECTION_AND_SIDE: usize = offset_of!(ChannelRecord, direction);
const TYPE_AND_FLAGS: usize = offset_of!(ChannelRecord, type_index);
const _: () = assert!(offset_of!(ChannelRecord, side) == DIRECTION_AND_SIDE + 4);
const _: () = assert!(offset_of!(ChannelRecord, flags) == TYPE_AND_FLAGS + 4);

/// A channel that was reported. Copies refer to the same row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Channel(Serial);

/// The properties of a channel when it is opened.
#[derive(Debug, Clone, Copy)]
pub struct ChannelOpen {
    /// The connection it belongs to.
    pub connection: Connection,
    /// Its id on the wire.
    pub channel_id: u64,
    /// The request that opened it, or [`Request::NONE`].
    pub request: Request,
    /// The direction of its data.
    pub direction: ChannelDirection,
    /// Which of the connection's registries it is in.
    pub side: ChannelSide,
    /// What [`register_type`](super::register_type) returned, or 0.
    pub type_index: u32,
    /// Payload bytes that the peer may send, `u64::MAX` for no limit.
    pub receive_budget_bytes: u64,
}

impl Channel {
    /// No channel: every method does nothing.
    pub const NONE: Self = Self(Serial::NONE);

    /// Reports a channel.
    pub fn open(open: &ChannelOpen) -> Self {
        let Some(registry) = registry() else {
            return Self::NONE;
        };
        let opened_ns = clock::now_ns();
        let claimed = registry.claim::<ChannelRecord>(|slot, _| {
            let store = |offset, value| slot.u64(offset).store(value, Ordering::Relaxed);
            store(
                offset_of!(ChannelRecord, connection),
                open.connection.serial().0,
            );
            store(offset_of!(ChannelRecord, request), open.request.serial().0);
            store(offset_of!(ChannelRecord, channel_id), open.channel_id);
            store(offset_of!(ChannelRecord, opened_ns), opened_ns);
            store(offset_of!(ChannelRecord, last_activity_ns), 0);
            store(offset_of!(ChannelRecord, bytes_sent), 0);
            store(offset_of!(ChannelRecord, items_sent), 0);
            store(offset_of!(ChannelRecord, bytes_received), 0);
            store(offset_of!(ChannelRecord, items_received), 0);
            store(offset_of!(ChannelRecord, items_read), 0);
            store(
                offset_of!(ChannelRecord, receive_budget_bytes),
                open.receive_budget_bytes,
            );
            store(
                DIRECTION_AND_SIDE,
                pair(open.direction.code(), open.side.code()),
            );
            store(TYPE_AND_FLAGS, pair(open.type_index, 0));
        });
        let Some(serial) = claimed else {
            return Self::NONE;
        };
        probe::channel_open(
            serial.0,
            open.connection.serial().0,
            open.channel_id,
            open.request.serial().0,
            pack_channel(open.direction, open.side, open.type_index),
            open.receive_budget_bytes,
        );
        Self(serial)
    }

    /// Returns the serial of the row, [`Serial::NONE`] if nothing is recorded.
    pub fn serial(self) -> Serial {
        self.0
    }

    /// Reports an item that was handed to the driver.
    pub fn sent(self, payload_bytes: u64) {
        self.with_row(|slot| {
            let add = |offset, value| slot.u64(offset).fetch_add(value, Ordering::Relaxed);
            add(offset_of!(ChannelRecord, bytes_sent), payload_bytes);
            add(offset_of!(ChannelRecord, items_sent), 1);
            slot.u64(offset_of!(ChannelRecord, last_activity_ns))
                .store(clock::now_ns(), Ordering::Relaxed);
            let budget = slot
                .u64(offset_of!(ChannelRecord, receive_budget_bytes))
                .load(Ordering::Relaxed);
            probe::channel_data(
                self.0.0,
                ChannelDirection::Tx.code().into(),
                payload_bytes,
                budget,
            );
        });
    }

    /// Reports an item that was read from the transport, and the bytes that the peer may still send.
    pub fn received(self, payload_bytes: u64, receive_budget_bytes: u64) {
        self.with_row(|slot| {
            let add = |offset, value| slot.u64(offset).fetch_add(value, Ordering::Relaxed);
            add(offset_of!(ChannelRecord, bytes_received), payload_bytes);
            add(offset_of!(ChannelRecord, items_received), 1);
            let store = |offset, value| slot.u64(offset).store(value, Ordering::Relaxed);
            store(offset_of!(ChannelRecord, last_activity_ns), clock::now_ns());
            store(
                offset_of!(ChannelRecord, receive_budget_bytes),
                receive_budget_bytes,
            );
            probe::channel_data(
                self.0.0,
                ChannelDirection::Rx.code().into(),
                payload_bytes,
                receive_budget_bytes,
            );
        });
    }

    /// Reports that the program read a received item.
    pub fn read(self) {
        self.with_row(|slot| {
            slot.u64(offset_of!(ChannelRecord, items_read))
                .fetch_add(1, Ordering::Relaxed)
        });
    }

    /// Reports that the receiving end is gone, here or at the peer.
    pub fn reader_gone(self) {
        self.set_flag(FLAG_READER_GONE);
    }

    /// Reports that the sending end is gone, here or at the peer.
    pub fn writer_gone(self) {
        self.set_flag(FLAG_WRITER_GONE);
    }

    /// Sets the request that opened the channel, if it started after the channel.
    pub fn set_request(self, request: Request) {
        self.with_row(|slot| {
            slot.u64(offset_of!(ChannelRecord, request))
                .store(request.serial().0, Ordering::Relaxed);
        });
    }

    /// Sets the element type, if it became known after the channel was opened.
    pub fn set_type(self, type_index: u32) {
        self.with_row(|slot| {
            replace_half(
                slot.u64(TYPE_AND_FLAGS),
                pair(u32::MAX, 0),
                pair(type_index, 0),
            );
        });
    }

    /// Reports that the channel is closed. No method may be called afterwards, nor at the same time.
    pub fn close(self) {
        if self.0.is_none() {
            return;
        }
        let released = registry().and_then(|registry| {
            registry.release::<ChannelRecord, _>(self.0, live_sequence(self.0), |_| ())
        });
        if released.is_some() {
            probe::channel_close(self.0.0);
        }
    }

    fn set_flag(self, flag: u32) {
        self.with_row(|slot| {
            slot.u64(TYPE_AND_FLAGS)
                .fetch_or(pair(0, flag), Ordering::Relaxed);
        });
    }

    fn with_row<T>(self, act: impl FnOnce(Slot<'static, ChannelRecord>) -> T) -> Option<T> {
        if self.0.is_none() {
            return None;
        }
        registry()?.slots().get(self.0.slot()).map(act)
    }
}
