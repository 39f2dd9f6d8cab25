//! The writer of the registry: one value for each connection, request or channel, whose
//! methods change its row and fire its probe. Nothing here blocks or fails: an event that
//! finds its table full is counted as lost, and the value that it returns does nothing.
//!
//! `ROAM_DIAGNOSTIC=off` in the environment switches rows and probes off. With
//! `ROAM_DIAGNOSTIC=probes`, requests have no rows, and their calls are not counted in
//! statistics: only the probes report them. A forked child that does not exec reports nothing.

mod cells;
mod channel;
mod connection;
#[cfg(all(test, loom))]
mod model;
#[cfg(not(loom))]
pub mod own;
mod request;

use std::sync::OnceLock;

use roam_trace_common::Serial;
use roam_trace_common::limits;
use roam_trace_common::registry::{FLAG_ARGUMENTS, FLAG_COARSE_CLOCK, FLAG_PROBES_ONLY, Table};

pub use channel::{Channel, ChannelOpen};
pub use connection::{Connection, ConnectionOpen};
pub use request::{Request, RequestStart};
pub use roam_trace_common::event::{
    ChannelDirection, ChannelSide, ConnectionState, Direction, Mark, Outcome, Phase, RequestKind,
    Role,
};

use crate::clock;
use crate::names::Names;
use crate::region::{Identity, Region, Slot, Slots};
use crate::slab::{Slab, caches};
use crate::statistics::Statistics;
use crate::sync::{Ordering, fence};

const CONNECTIONS: u32 = rows(limits::CONNECTIONS, 1);
const REQUESTS: u32 = rows(limits::REQUESTS, 4);
const CHANNELS: u32 = rows(limits::CHANNELS, 4);
const STATISTICS: u32 = rows(limits::STATISTICS, 2);

/// Rows that there is room for. Loom tries so many orders of events, and Miri takes so long for each, that few
/// must do for them.
const fn rows(usual: u32, in_loom: u32) -> u32 {
    if cfg!(loom) {
        in_loom
    } else if cfg!(miri) {
        64
    } else {
        usual
    }
}

/// The process's tables and who may write where.
pub(crate) struct Registry {
    region: Region,
    connections: Slab,
    requests: Slab,
    channels: Slab,
    names: Names,
    statistics: Statistics,
}

#[cfg(not(loom))]
static REGISTRY: OnceLock<Option<Registry>> = OnceLock::new();

#[cfg(loom)]
loom::lazy_static! {
    /// A new one for every order of events that is tried.
    static ref REGISTRY: OnceLock<Option<Registry>> = OnceLock::new();
}

/// The registry, made at the first call, or `None` where nothing is to be reported.
#[inline]
pub(crate) fn registry() -> Option<&'static Registry> {
    existing(REGISTRY.get_or_init(Registry::create))
}

/// The registry, if anything was reported yet.
fn existing_registry() -> Option<&'static Registry> {
    existing(REGISTRY.get()?)
}

#[inline]
fn existing(registry: &'static Option<Registry>) -> Option<&'static Registry> {
    registry
        .as_ref()
        .filter(|registry| registry.region.is_owner())
}

/// Returns the time for those reports that take one, 0 where nothing is to be reported.
#[inline]
pub fn now_ns() -> u64 {
    registry().map_or(0, |_| clock::now_ns())
}

/// Returns whether `ROAM_DEBUG` asks for the arguments of calls, and calls have rows to keep them. The variables are
/// read once.
pub fn arguments_enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| std::env::var_os("ROAM_DEBUG").is_some() && !asks_for("probes"))
}

/// Whether `ROAM_DIAGNOSTIC` has this value.
fn asks_for(value: &str) -> bool {
    std::env::var_os("ROAM_DIAGNOSTIC").is_some_and(|asked| asked == value)
}

/// Registers the name of a method, `Service.method`.
pub fn register_method(method_id: u64, name: &str) {
    if let Some(registry) = registry() {
        registry
            .names
            .register_method(&registry.region, method_id, name);
    }
}

/// Registers the name of an element type and returns its index for `ChannelOpen`: its slot plus one, 0 if the
/// table is full. `key` identifies the type, so that its name is rendered once.
pub fn register_type(key: usize, name: impl FnOnce() -> String) -> u32 {
    let Some(registry) = registry() else {
        return 0;
    };
    let known = registry.names.type_index(key);
    known.unwrap_or_else(|| registry.names.add_type(&registry.region, key, &name()))
}

impl Registry {
    fn create() -> Option<Self> {
        if asks_for("off") {
            return None;
        }
        let is_probes_only = asks_for("probes");
        let requests = std::env::var("ROAM_DIAGNOSTIC_REQUESTS")
            .ok()
            .and_then(|value| value.parse().ok())
            .unwrap_or(REQUESTS)
            .clamp(1, limits::MAX_CAPACITY);
        // Rows of requests, and of statistics.
        let [rows, statistics] = if is_probes_only {
            cells::create(requests)?;
            [0; 2]
        } else {
            [requests, STATISTICS]
        };
        let region = Region::create(
            [
                CONNECTIONS,
                rows,
                rows,
                CHANNELS,
                limits::METHODS,
                limits::TYPES,
                statistics,
            ],
            &Identity {
                process_id: std::process::id(),
                process_start_ticks: own_start_ticks(),
                created_ns: clock::now_ns(),
                flags: flag_if(arguments_enabled(), FLAG_ARGUMENTS)
                    | flag_if(is_probes_only, FLAG_PROBES_ONLY),
            },
        )?;
        clock::on_coarse(|| {
            if let Some(registry) = existing_registry() {
                registry.region.set_flag(FLAG_COARSE_CLOCK);
            }
        });
        Some(Self {
            region,
            // Connections come and go rarely. In loom the channels show what a slab does without caches.
            connections: Slab::new(Table::Connections, CONNECTIONS, 0),
            requests: Slab::new(Table::Requests, rows, caches(rows)),
            channels: Slab::new(
                Table::Channels,
                CHANNELS,
                if cfg!(loom) { 0 } else { caches(CHANNELS) },
            ),
            names: Names::default(),
            statistics: Statistics::new(statistics),
        })
    }
}

fn flag_if(is_set: bool, flag: u32) -> u32 {
    if is_set { flag } else { 0 }
}

/// Field 22 of the process's `stat`, or 0 where there is no `/proc`. By a way around `/proc/self/stat`
/// itself: under qemu-user that file has a time of the emulator's, which no reader would find in `/proc`.
fn own_start_ticks() -> u64 {
    std::fs::read_to_string("/proc/thread-self/../../stat")
        .ok()
        .and_then(|stat| {
            let (_, fields) = stat.rsplit_once(')')?;
            fields.split_ascii_whitespace().nth(19)?.parse().ok()
        })
        .unwrap_or(0)
}

/// A table's records, as far as claiming and releasing goes.
trait Record: Sized {
    const TABLE: Table;
    const SEQUENCE: usize;
    const SERIAL: usize;

    fn slab(registry: &Registry) -> &Slab;
}

/// Declares where a record keeps its sequence and serial.
macro_rules! record {
    ($record:ty, $table:ident, $slab:ident) => {
        impl crate::registry::Record for $record {
            const TABLE: Table = Table::$table;
            const SEQUENCE: usize = std::mem::offset_of!($record, sequence);
            const SERIAL: usize = std::mem::offset_of!($record, serial);

            fn slab(registry: &Registry) -> &Slab {
                &registry.$slab
            }
        }
    };
}
use record;

impl Registry {
    fn slots<R: Record>(&self) -> Slots<'_, R> {
        self.region.slots(R::TABLE)
    }

    /// Claims a slot and lets `fill` write the row between the two halves of its sequence.
    #[inline]
    fn claim<R: Record>(&'static self, fill: impl FnOnce(Slot<'_, R>, Serial)) -> Option<Serial> {
        let index = R::slab(self).claim(&self.region)?;
        let slot = self.slots::<R>().get(index)?;
        let sequence = slot.u64(R::SEQUENCE);
        // Only the claimer writes the sequence of a free slot.
        let free = sequence.load(Ordering::Relaxed) & !1;
        let serial = Serial::new(index, free / 2 + 1);
        sequence.store(free + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        fill(slot, serial);
        slot.u64(R::SERIAL).store(serial.0, Ordering::Relaxed);
        sequence.store(free + 2, Ordering::Release);
        Some(serial)
    }

    /// Releases the row of `serial`, after `last` has read it. Returns what `last` returned, or
    /// `None` where the row was released before.
    #[inline]
    fn release<R: Record, T>(
        &'static self,
        serial: Serial,
        sequence_now: u64,
        last: impl FnOnce(Slot<'_, R>) -> T,
    ) -> Option<T> {
        let slot = self.slots::<R>().get(serial.slot())?;
        let sequence = slot.u64(R::SEQUENCE);
        sequence
            .compare_exchange(
                sequence_now,
                sequence_now + 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .ok()?;
        fence(Ordering::Release);
        let result = last(slot);
        slot.u64(R::SERIAL).store(0, Ordering::Relaxed);
        sequence.store(sequence_now + 2, Ordering::Release);
        R::slab(self).release(serial.slot());
        Some(result)
    }
}

/// The sequence of a row that was claimed and neither renamed nor released since.
fn live_sequence(serial: Serial) -> u64 {
    serial.generation() * 2
}
