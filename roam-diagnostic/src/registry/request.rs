//! Requests in flight.
//!
//! Caller, driver and dispatcher may all hold a copy of one [`Request`] and
//! report what they see. Whoever is late does nothing: the row's phase is one
//! word that names the generation it belongs to.
//!
//! With `ROAM_DIAGNOSTIC=probes` a request has a cell instead of a row.

use std::borrow::Cow;
use std::mem::offset_of;

use roam_trace_common::Serial;
use roam_trace_common::event::{Direction, Mark, Outcome, Phase, RequestKind, pack_request};
use roam_trace_common::limits::{ARGUMENTS_BYTES, ARGUMENTS_CHARS};
use roam_trace_common::registry::{ArgumentsRecord, PhaseWord, RequestRecord, ResponseWord, Table};

use super::cells::{RequestCell, cells};
use super::{Connection, Registry, live_sequence, record, registry};
use crate::region::Slot;
use crate::slab::Slab;
use crate::statistics::EndedCall;
use crate::sync::{AtomicU64, Ordering, overwrite, pair, unpair};
use crate::{clock, probe};

record!(RequestRecord, Requests, requests);

/// Fields that share a word.
const DIRECTION_AND_KIND: usize = offset_of!(RequestRecord, direction);
const _: () = assert!(offset_of!(RequestRecord, kind) == DIRECTION_AND_KIND + 4);

/// A request that was reported. Copies refer to the same row or cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request(Serial);

/// The properties of a request when it starts.
#[derive(Debug, Clone, Copy)]
pub struct RequestStart<'a> {
    /// Its connection.
    pub connection: Connection,
    /// Its id on the wire.
    pub request_id: u64,
    /// Its method's id on the wire.
    pub method_id: u64,
    /// Its direction.
    pub direction: Direction,
    /// Its first phase.
    pub phase: Phase,
    /// Its kind.
    pub kind: RequestKind,
    /// Payload bytes.
    pub payload_bytes: u64,
    /// Its arguments as text; cut at 64 characters.
    pub arguments: Option<&'a str>,
    /// The incoming request whose handler makes this call, [`Request::NONE`] if unknown.
    pub parent: Request,
}

impl Request {
    /// No request: every method does nothing.
    pub const NONE: Self = Self(Serial::NONE);

    /// Reports a request.
    #[inline]
    pub fn start(start: &RequestStart<'_>) -> Self {
        let Some(registry) = registry() else {
            return Self::NONE;
        };
        if cells().is_some() {
            return Self::start_cell(registry, start);
        }
        let started_ns = clock::now_ns();
        let claimed = registry.claim::<RequestRecord>(|slot, serial| {
            let store = |offset, value| slot.u64(offset).store(value, Ordering::Relaxed);
            store(
                offset_of!(RequestRecord, connection),
                start.connection.serial().0,
            );
            store(offset_of!(RequestRecord, request_id), start.request_id);
            store(offset_of!(RequestRecord, method_id), start.method_id);
            store(offset_of!(RequestRecord, started_ns), started_ns);
            overwrite(
                slot.u64(offset_of!(RequestRecord, phase)),
                PhaseWord::new(serial.generation(), 0, start.phase.code(), 0).0,
            );
            store(
                offset_of!(RequestRecord, request_bytes),
                start.payload_bytes,
            );
            store(offset_of!(RequestRecord, parent), start.parent.0.0);
            store(
                DIRECTION_AND_KIND,
                pair(start.direction.code(), start.kind.code()),
            );
            let arguments_bytes = start
                .arguments
                .map_or(0, |arguments| store_arguments(registry, serial, arguments));
            store(
                offset_of!(RequestRecord, arguments_bytes),
                pair(arguments_bytes, 0),
            );
        });
        let Some(serial) = claimed else {
            return Self::NONE;
        };
        probe::request_start(
            serial.0,
            start.connection.serial().0,
            start.request_id,
            start.method_id,
            pack_request(start.direction, start.phase, start.kind),
            start.payload_bytes,
            start.parent.0.0,
        );
        Self(serial)
    }

    /// Returns its serial, [`Serial::NONE`] if nothing is recorded.
    pub fn serial(self) -> Serial {
        self.0
    }

    /// Returns whether the request has not ended.
    pub fn is_live(self) -> bool {
        if let Some(cell) = self.cell() {
            return cell.is_live();
        }
        self.with_row(|_, slot| {
            slot.u64(offset_of!(RequestRecord, sequence))
                .load(Ordering::Acquire)
        }) == Some(live_sequence(self.0))
    }

    /// Returns its phase, unless it has ended.
    pub fn phase(self) -> Option<Phase> {
        if let Some(cell) = self.cell() {
            return Phase::from_code(cell.phase()?);
        }
        let word = self.with_row(|_, slot| {
            PhaseWord(
                slot.u64(offset_of!(RequestRecord, phase))
                    .load(Ordering::Acquire),
            )
        })?;
        self.is_live().then(|| Phase::from_code(word.phase()))?
    }

    /// Reports that the request reached `phase`. Phases only go forward: a caller that reports late that its call
    /// was handed over does not undo that it was sent.
    #[inline]
    pub fn advance(self, phase: Phase) {
        self.advance_with(phase, clock::now_ns);
    }

    /// Reports that the request reached `phase` at `now_ns`.
    #[inline]
    pub fn advance_at(self, phase: Phase, now_ns: u64) {
        self.advance_with(phase, || now_ns);
    }

    #[inline]
    fn advance_with(self, phase: Phase, now_ns: impl Fn() -> u64) {
        if cells().is_some() {
            return self.advance_cell(phase);
        }
        let changed = self.with_row(|_, slot| {
            self.update_phase(slot, |word| {
                (word.phase() < phase.code())
                    .then(|| word.with_phase(phase.code(), elapsed_ns(slot, now_ns()) / 1_000))
            })
        });
        if let Some(Some(word)) = changed {
            probe::request_phase(self.0.0, phase.code().into(), word.mark().into(), 0);
        }
    }

    /// Reports the response: the outcome of the request, the payload bytes of the response, and that the request
    /// reached `phase`.
    #[inline]
    pub fn respond(self, phase: Phase, outcome: Outcome, payload_bytes: u64) {
        self.respond_with(phase, outcome, payload_bytes, clock::now_ns);
    }

    /// Reports the response as [`Self::respond`] does, as of `now_ns`.
    #[inline]
    pub fn respond_at(self, phase: Phase, outcome: Outcome, payload_bytes: u64, now_ns: u64) {
        self.respond_with(phase, outcome, payload_bytes, || now_ns);
    }

    #[inline]
    fn respond_with(
        self,
        phase: Phase,
        outcome: Outcome,
        payload_bytes: u64,
        now_ns: impl Fn() -> u64,
    ) {
        if cells().is_some() {
            return self.respond_cell(phase, outcome, payload_bytes);
        }
        let changed = self.with_row(|_, slot| {
            let elapsed_ns = elapsed_ns(slot, now_ns());
            let word = self.update_phase(slot, |word| {
                let phase = phase.code().max(word.phase());
                let word = word.with_outcome(outcome.code());
                Some(word.with_phase(phase, elapsed_ns / 1_000))
            })?;
            // The slot may have been reused in between: nobody takes the word for the next request's.
            let response =
                ResponseWord::new(self.0.generation(), elapsed_ns % 1_000, payload_bytes);
            slot.u64(offset_of!(RequestRecord, response))
                .store(response.0, Ordering::Relaxed);
            Some(word)
        });
        if let Some(Some(word)) = changed {
            probe::request_phase(
                self.0.0,
                word.phase().into(),
                word.mark().into(),
                payload_bytes,
            );
        }
    }

    /// Reports why the request stays in flight although it can no longer end as usual.
    pub fn mark(self, mark: Mark) {
        if let Some(cell) = self.cell() {
            if let Some(phase) = cell.set_mark(mark) {
                probe::request_phase(self.0.0, phase.into(), mark.code().into(), 0);
            }
            return;
        }
        let changed = self.with_row(|_, slot| {
            self.update_phase(slot, |word| {
                (word.mark() != mark.code()).then(|| word.with_mark(mark.code()))
            })
        });
        if let Some(Some(word)) = changed {
            probe::request_phase(self.0.0, word.phase().into(), mark.code().into(), 0);
        }
    }

    /// Moves the request to the connection that it belongs to. No other may end the request at
    /// the same time: unlike its phase, this is not guarded against being late.
    pub fn set_connection(self, connection: Connection) {
        if self.is_live() {
            self.with_row(|_, slot| {
                slot.u64(offset_of!(RequestRecord, connection))
                    .store(connection.serial().0, Ordering::Relaxed);
            });
        }
    }

    /// Stores the arguments as text, cut at 64 characters. As for [`Self::set_connection`], no other may end the request
    /// at the same time.
    pub fn set_arguments(self, arguments: &str) {
        if self.is_live() {
            self.with_row(|registry, slot| {
                let bytes = store_arguments(registry, self.0, arguments);
                // Who reads how long the text is finds it in place.
                slot.u64(offset_of!(RequestRecord, arguments_bytes))
                    .store(pair(bytes, 0), Ordering::Release);
            });
        }
    }

    /// Reports the end. Returns whether this call ended it.
    pub fn end(self, outcome: Outcome) -> bool {
        self.end_with(|_| outcome)
    }

    /// Reports the end with the outcome that [`Self::respond`] gave, or `otherwise` where there was no
    /// response. Returns whether this call ended it.
    #[inline]
    pub fn end_as_responded(self, otherwise: Outcome) -> bool {
        self.end_with(|responded| responded.unwrap_or(otherwise))
    }

    #[inline]
    fn end_with(self, outcome: impl FnOnce(Option<Outcome>) -> Outcome) -> bool {
        if self.0.is_none() {
            return false;
        }
        if cells().is_some() {
            return self.end_cell(outcome);
        }
        let Some(registry) = registry() else {
            return false;
        };
        let row = registry.release::<RequestRecord, _>(self.0, live_sequence(self.0), |slot| {
            LastRow::take(slot, self.0.generation())
        });
        let Some(row) = row else {
            return false;
        };
        let outcome = outcome(Outcome::from_code(row.phase.outcome()));
        if row.kind == RequestKind::Call.code() {
            let call = row.ended_call(outcome);
            registry.statistics.count(&registry.region, &call);
        }
        probe::request_end(self.0.0, outcome.code().into(), row.response.bytes());
        true
    }

    #[inline]
    fn with_row<T>(
        self,
        act: impl FnOnce(&'static Registry, Slot<'static, RequestRecord>) -> T,
    ) -> Option<T> {
        if self.0.is_none() {
            return None;
        }
        let registry = registry()?;
        registry
            .slots()
            .get(self.0.slot())
            .map(|slot| act(registry, slot))
    }

    #[inline]
    fn start_cell(registry: &'static Registry, start: &RequestStart<'_>) -> Self {
        let Some(serial) = cells().and_then(|cells| cells.claim(start.phase)) else {
            registry.region.count_lost(Table::Requests);
            return Self::NONE;
        };
        probe::request_start(
            serial.0,
            start.connection.serial().0,
            start.request_id,
            start.method_id,
            pack_request(start.direction, start.phase, start.kind),
            start.payload_bytes,
            start.parent.0.0,
        );
        Self(serial)
    }

    #[inline]
    fn advance_cell(self, phase: Phase) {
        if let Some(cell) = self.cell()
            && let Some((_, true)) = cell.advance(phase)
        {
            probe::request_phase(self.0.0, phase.code().into(), 0, 0);
        }
    }

    #[inline]
    fn respond_cell(self, phase: Phase, outcome: Outcome, payload_bytes: u64) {
        if let Some(cell) = self.cell()
            && let Some((phase, _)) = cell.advance(phase)
        {
            cell.answer(outcome, payload_bytes);
            probe::request_phase(self.0.0, phase.into(), 0, payload_bytes);
        }
    }

    #[inline]
    fn end_cell(self, outcome: impl FnOnce(Option<Outcome>) -> Outcome) -> bool {
        let ended = self.cell().and_then(RequestCell::end);
        if let Some((responded, response_bytes)) = ended {
            let outcome = outcome(responded).code();
            probe::request_end(self.0.0, outcome.into(), response_bytes);
        }
        ended.is_some()
    }

    /// Its cell, if requests are kept in cells.
    #[inline]
    fn cell(self) -> Option<RequestCell> {
        cells()?.get(self.0)
    }

    /// Replaces the phase word of this very request; `None` where it ended or `change` wants no change.
    #[inline]
    fn update_phase(
        self,
        slot: Slot<'_, RequestRecord>,
        change: impl Fn(PhaseWord) -> Option<PhaseWord>,
    ) -> Option<PhaseWord> {
        let phase: &AtomicU64 = slot.u64(offset_of!(RequestRecord, phase));
        let mut current = phase.load(Ordering::Acquire);
        loop {
            // Between this read of the sequence and the exchange the slot may be released and
            // claimed again; the exchange fails then, because the word has changed.
            let sequence = slot
                .u64(offset_of!(RequestRecord, sequence))
                .load(Ordering::Acquire);
            if sequence != live_sequence(self.0) || !PhaseWord(current).is_of(self.0.generation()) {
                return None;
            }
            let changed = change(PhaseWord(current))?;
            match phase.compare_exchange_weak(
                current,
                changed.0,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(changed),
                Err(seen) => current = seen,
            }
        }
    }
}

/// What a row holds when its request ends.
struct LastRow {
    phase: PhaseWord,
    /// All 0 if there was no response, or its word was lost to a late store.
    response: ResponseWord,
    method_id: u64,
    started_ns: u64,
    request_bytes: u64,
    direction: u32,
    kind: u32,
}

impl LastRow {
    /// Reads the row, and keeps those who are late from changing it.
    #[inline]
    fn take(slot: Slot<'_, RequestRecord>, generation: u64) -> Self {
        let load = |offset| slot.u64(offset).load(Ordering::Relaxed);
        let phase = PhaseWord(load(offset_of!(RequestRecord, phase)));
        overwrite(slot.u64(offset_of!(RequestRecord, phase)), 0);
        let response = ResponseWord(load(offset_of!(RequestRecord, response)));
        let (direction, kind) = unpair(load(DIRECTION_AND_KIND));
        Self {
            phase,
            response: if phase.outcome() != 0 && response.is_of(generation) {
                response
            } else {
                ResponseWord(0)
            },
            method_id: load(offset_of!(RequestRecord, method_id)),
            started_ns: load(offset_of!(RequestRecord, started_ns)),
            request_bytes: load(offset_of!(RequestRecord, request_bytes)),
            direction,
            kind,
        }
    }

    #[inline]
    fn ended_call(&self, outcome: Outcome) -> EndedCall {
        let latency_ns = match self.phase.outcome() {
            0 => ns_since(self.started_ns),
            _ => self.phase.elapsed_us() * 1_000 + self.response.rest_ns(),
        };
        EndedCall {
            method_id: self.method_id,
            direction: self.direction,
            outcome,
            request_bytes: self.request_bytes,
            response_bytes: self.response.bytes(),
            ended_ns: self.started_ns.saturating_add(latency_ns),
            latency_ns,
        }
    }
}

/// What was not answered is rare enough for another look at the clock.
#[cold]
fn ns_since(started_ns: u64) -> u64 {
    clock::now_ns().saturating_sub(started_ns)
}

/// Nanoseconds from a request's start to `now_ns`.
#[inline]
fn elapsed_ns(slot: Slot<'_, RequestRecord>, now_ns: u64) -> u64 {
    let started_ns = slot
        .u64(offset_of!(RequestRecord, started_ns))
        .load(Ordering::Relaxed);
    now_ns.saturating_sub(started_ns)
}

/// Keeps the arguments beside the request's slot. Returns their bytes.
fn store_arguments(registry: &Registry, serial: Serial, arguments: &str) -> u32 {
    let Some(slot) = registry
        .region
        .slots::<ArgumentsRecord>(Table::Arguments)
        .get(serial.slot())
    else {
        return 0;
    };
    slot.store_text(
        offset_of!(ArgumentsRecord, text),
        ARGUMENTS_BYTES,
        &cut(arguments),
    )
}

/// The arguments, cut at the limit; an ellipsis marks the cut.
fn cut(arguments: &str) -> Cow<'_, str> {
    match arguments.char_indices().nth(ARGUMENTS_CHARS) {
        None => Cow::Borrowed(arguments),
        Some(_) => Cow::Owned(
            arguments
                .chars()
                .take(ARGUMENTS_CHARS - 1)
                .chain(['…'])
                .collect(),
        ),
    }
}
