//! Connections. Whoever releases a connection must be its last user.

use std::mem::offset_of;

use roam_trace_common::Serial;
use roam_trace_common::event::{ConnectionState, Role};
use roam_trace_common::limits::{CONNECTION_NAME_BYTES, ERROR_BYTES};
use roam_trace_common::registry::{ConnectionRecord, FLAG_OBSERVES_WRITES, Table};

use super::{Registry, record, registry};
use crate::region::Slot;
use crate::slab::Slab;
use crate::sync::{AtomicU64, Ordering, fence, pair, replace_half};
use crate::{clock, probe};

record!(ConnectionRecord, Connections, connections);

/// Fields that share a word.
const ROLE_AND_STATE: usize = offset_of!(ConnectionRecord, role);
const FLAGS_AND_ATTEMPTS: usize = offset_of!(ConnectionRecord, flags);
const NAME_AND_ERROR_BYTES: usize = offset_of!(ConnectionRecord, name_bytes);
const TRANSPORT_BYTES_AND_LOSSES: usize = offset_of!(ConnectionRecord, transport_bytes);
const _: () = assert!(offset_of!(ConnectionRecord, state) == ROLE_AND_STATE + 4);
const _: () = assert!(offset_of!(ConnectionRecord, attempts) == FLAGS_AND_ATTEMPTS + 4);
const _: () = assert!(offset_of!(ConnectionRecord, error_bytes) == NAME_AND_ERROR_BYTES + 4);
const _: () = assert!(offset_of!(ConnectionRecord, losses) == TRANSPORT_BYTES_AND_LOSSES + 4);

/// The halves of a shared word.
const FIRST: u64 = pair(u32::MAX, 0);
const SECOND: u64 = pair(0, u32::MAX);

/// A connection that was reported. Copies refer to the same row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Connection(Serial);

/// The properties of a connection when it is opened.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionOpen<'a> {
    /// The link's root connection, [`Connection::NONE`] for a root itself.
    pub link: Connection,
    /// Its id on the wire.
    pub conn_id: u64,
    /// The grouping row of its `DiagnosticState`, or [`Connection::NONE`].
    pub group: Connection,
    /// Which end of the link this process is.
    pub role: Role,
    /// Its state.
    pub state: ConnectionState,
    /// Whether its driver reports when a request was written to the transport.
    pub observes_writes: bool,
    /// Its name; cut at 80 bytes.
    pub name: &'a str,
}

impl Connection {
    /// No connection: every method does nothing.
    pub const NONE: Self = Self(Serial::NONE);

    /// Reports a connection.
    pub fn open(open: &ConnectionOpen<'_>) -> Self {
        let Some(registry) = registry() else {
            return Self::NONE;
        };
        let now_ns = clock::now_ns();
        let mut link = open.link.0;
        let claimed = registry.claim::<ConnectionRecord>(|slot, serial| {
            if link.is_none() {
                link = serial;
            }
            let store = |offset, value| slot.u64(offset).store(value, Ordering::Relaxed);
            store(offset_of!(ConnectionRecord, link), link.0);
            store(offset_of!(ConnectionRecord, conn_id), open.conn_id);
            store(offset_of!(ConnectionRecord, group), open.group.0.0);
            store(offset_of!(ConnectionRecord, opened_ns), now_ns);
            store(offset_of!(ConnectionRecord, messages_sent), 0);
            store(offset_of!(ConnectionRecord, bytes_sent), 0);
            store(offset_of!(ConnectionRecord, messages_received), 0);
            store(offset_of!(ConnectionRecord, bytes_received), 0);
            store(offset_of!(ConnectionRecord, last_sent_ns), 0);
            store(offset_of!(ConnectionRecord, last_received_ns), 0);
            store(offset_of!(ConnectionRecord, delivering_channel), 0);
            store(offset_of!(ConnectionRecord, delivering_since_ns), 0);
            store(offset_of!(ConnectionRecord, polled_ns), 0);
            store(offset_of!(ConnectionRecord, writing_since_ns), 0);
            store(offset_of!(ConnectionRecord, enqueued), 0);
            store(offset_of!(ConnectionRecord, dequeued), 0);
            store(offset_of!(ConnectionRecord, state_ns), now_ns);
            store(ROLE_AND_STATE, pair(open.role.code(), open.state.code()));
            let flags = if open.observes_writes {
                FLAG_OBSERVES_WRITES
            } else {
                0
            };
            store(FLAGS_AND_ATTEMPTS, pair(flags, 0));
            store(offset_of!(ConnectionRecord, transport_address), 0);
            store(TRANSPORT_BYTES_AND_LOSSES, pair(0, 0));
            store(NAME_AND_ERROR_BYTES, pair(0, 0));
            store_name(slot, open.name);
        });
        let Some(serial) = claimed else {
            return Self::NONE;
        };
        if open.state != ConnectionState::Grouping {
            probe::connection_open(serial.0, link.0, open.conn_id, open.role.code().into());
        }
        Self(serial)
    }

    /// Returns the serial of the row, [`Serial::NONE`] if nothing is recorded.
    pub fn serial(self) -> Serial {
        self.0
    }

    /// Renames the connection. Neither this nor [`Self::set_error`] must run twice at the same time.
    pub fn set_name(self, name: &str) {
        self.change_text(|slot| store_name(slot, name));
    }

    /// Reports why the last attempt to connect failed; cut at 112 bytes.
    pub fn set_error(self, error: &str) {
        self.change_text(|slot| {
            let bytes = slot.store_text(offset_of!(ConnectionRecord, error), ERROR_BYTES, error);
            replace_half(slot.u64(NAME_AND_ERROR_BYTES), SECOND, pair(0, bytes));
        });
    }

    /// Reports how many times the client has lost its link.
    pub fn set_losses(self, losses: u32) {
        self.with_row(|slot| {
            let word = slot.u64(TRANSPORT_BYTES_AND_LOSSES);
            replace_half(word, SECOND, pair(0, losses));
        });
    }

    /// Reports address and size of the transport object in memory, or with `None` that it is about to be dropped or
    /// moved.
    pub fn set_transport(self, transport: Option<(u64, u32)>) {
        let (address, bytes) = transport.unwrap_or_default();
        self.with_row(|slot| {
            let word = slot.u64(TRANSPORT_BYTES_AND_LOSSES);
            replace_half(word, FIRST, pair(bytes, 0));
            slot.u64(offset_of!(ConnectionRecord, transport_address))
                .store(address, Ordering::Release);
        });
    }

    /// Reports the state of the connection, and how many attempts to connect have failed.
    pub fn set_state(self, state: ConnectionState, attempts: u32) {
        self.with_row(|slot| {
            let store = |offset, value| replace_half(slot.u64(offset), SECOND, pair(0, value));
            store(ROLE_AND_STATE, state.code());
            store(FLAGS_AND_ATTEMPTS, attempts);
            slot.u64(offset_of!(ConnectionRecord, state_ns))
                .store(clock::now_ns(), Ordering::Relaxed);
        });
    }

    /// Reports a message that was written to the transport at `now_ns`. Only the driver may call it.
    #[inline]
    pub fn message_sent(self, payload_bytes: u64, now_ns: u64) {
        self.count(
            offset_of!(ConnectionRecord, messages_sent),
            offset_of!(ConnectionRecord, bytes_sent),
            offset_of!(ConnectionRecord, last_sent_ns),
            payload_bytes,
            now_ns,
        );
    }

    /// Reports a message that was read from the transport at `now_ns`. Only the driver may call it.
    #[inline]
    pub fn message_received(self, payload_bytes: u64, now_ns: u64) {
        self.count(
            offset_of!(ConnectionRecord, messages_received),
            offset_of!(ConnectionRecord, bytes_received),
            offset_of!(ConnectionRecord, last_received_ns),
            payload_bytes,
            now_ns,
        );
    }

    /// Reports that the driver waits for room in the buffer of a channel, or with `None` that it no longer does.
    pub fn set_delivering(self, channel_id: Option<u64>) {
        self.with_row(|slot| {
            if let Some(channel_id) = channel_id {
                slot.u64(offset_of!(ConnectionRecord, delivering_channel))
                    .store(channel_id, Ordering::Relaxed);
            }
            slot.u64(offset_of!(ConnectionRecord, delivering_since_ns))
                .store(
                    if channel_id.is_some() {
                        clock::now_ns()
                    } else {
                        0
                    },
                    Ordering::Release,
                );
        });
    }

    /// Reports a heartbeat: the driver went round its loop at `now_ns`. This and the three methods below are for the row of
    /// a link's root, whose driver serves all of its connections.
    #[inline]
    pub fn driver_polled(self, now_ns: u64) {
        self.with_row(|slot| {
            slot.u64(offset_of!(ConnectionRecord, polled_ns))
                .store(now_ns, Ordering::Relaxed);
        });
    }

    /// Reports that the driver starts, or has ended, a write to the transport.
    #[inline]
    pub fn set_writing(self, is_writing: bool) {
        self.with_row(|slot| {
            slot.u64(offset_of!(ConnectionRecord, writing_since_ns))
                .store(
                    if is_writing { clock::now_ns() } else { 0 },
                    Ordering::Relaxed,
                );
        });
    }

    /// Reports a message that was put into the driver's queue.
    #[inline]
    pub fn enqueued(self) {
        self.with_row(|slot| {
            slot.u64(offset_of!(ConnectionRecord, enqueued))
                .fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Reports a message that the driver took from its queue. Only the driver may call it.
    #[inline]
    pub fn dequeued(self) {
        self.with_row(|slot| {
            add(slot.u64(offset_of!(ConnectionRecord, dequeued)), 1);
        });
    }

    /// Reports that the connection is closed. Its row stays until [`Self::release`].
    pub fn close(self) {
        self.set_state(ConnectionState::Closed, 0);
        self.set_delivering(None);
        self.set_writing(false);
        if !self.0.is_none() && registry().is_some() {
            probe::connection_close(self.0.0);
        }
    }

    /// Releases the row. No method may be called afterwards, nor at the same time.
    pub fn release(self) {
        self.with_row(|slot| {
            let sequence = slot
                .u64(offset_of!(ConnectionRecord, sequence))
                .load(Ordering::Relaxed);
            registry().and_then(|registry| {
                registry.release::<ConnectionRecord, _>(self.0, sequence, |_| ())
            })
        });
    }

    #[inline]
    fn count(self, messages: usize, bytes: usize, last_ns: usize, payload_bytes: u64, now_ns: u64) {
        self.with_row(|slot| {
            add(slot.u64(messages), 1);
            add(slot.u64(bytes), payload_bytes);
            slot.u64(last_ns).store(now_ns, Ordering::Relaxed);
        });
    }

    /// Changes text of the row between the two halves of its sequence.
    fn change_text(self, change: impl FnOnce(Slot<'_, ConnectionRecord>)) {
        self.with_row(|slot| {
            let sequence = slot.u64(offset_of!(ConnectionRecord, sequence));
            let before = sequence.load(Ordering::Relaxed);
            sequence.store(before + 1, Ordering::Relaxed);
            fence(Ordering::Release);
            change(slot);
            sequence.store(before + 2, Ordering::Release);
        });
    }

    #[inline]
    fn with_row<T>(self, act: impl FnOnce(Slot<'static, ConnectionRecord>) -> T) -> Option<T> {
        if self.0.is_none() {
            return None;
        }
        registry()?.slots().get(self.0.slot()).map(act)
    }
}

/// Adds to a counter that has one writer, which needs no locked instruction.
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}

fn store_name(slot: Slot<'_, ConnectionRecord>, name: &str) {
    let bytes = slot.store_text(
        offset_of!(ConnectionRecord, name),
        CONNECTION_NAME_BYTES,
        name,
    );
    replace_half(slot.u64(NAME_AND_ERROR_BYTES), FIRST, pair(bytes, 0));
}
