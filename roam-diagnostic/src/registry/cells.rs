//! What is remembered of the requests in flight where no rows are written (`ROAM_DIAGNOSTIC=probes`): as much as it
//! takes for every probe to fire as it does with rows. Private to the process: no reader ever looks at a cell.
//!
//! A thread owns a block of cells and alone claims them, in turns, without a locked instruction. A call that is still
//! in flight when its cell's turn comes is skipped. If all of a block are in flight, the thread exchanges the block for
//! another one.

use std::cell::Cell;
use std::collections::VecDeque;

use roam_trace_common::Serial;
use roam_trace_common::event::{Outcome, Phase};
use roam_trace_common::registry::PhaseWord;

use crate::region::zeroed_cells;
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, local, overwrite};

/// Cells of a block.
const BLOCK: u32 = if cfg!(loom) { 2 } else { 64 };
/// Blocks that are searched for a free cell before a call counts as lost.
const SEARCHED: usize = 16;
/// No cell has this number.
const NOWHERE: u32 = u32::MAX;

/// The words of a cell:
///
/// - its life: the generation, and in the lowest bit whether the request is in flight. The owner of the block stores it
///   when a request starts, and whoever ends the request exchanges it. Nobody else writes it, so a generation is never
///   used twice, and a request ends once.
/// - a [`PhaseWord`] without times, and an [`Answer`]. Whoever reports stores them, having seen that the request is in
///   flight. Between the two the request may end and the cell be claimed again: then the late word replaces that of the
///   next request. It is of another generation and therefore ignored: that request's next phase is reported as if it
///   were the first one, and an answer that was replaced is reported as none. Threads that report phases of one request
///   at the same time may replace each other's; the answer is not among what they write.
pub(crate) type Words = [AtomicU64; 3];

/// The request is in flight.
const LIVE: u64 = 1;

/// All cells, and which blocks of them have no owner.
pub(super) struct Cells {
    cells: Box<[Words]>,
    blocks: Mutex<Blocks>,
    process_id: u32,
}

impl Cells {
    pub(super) fn new(capacity: u32) -> Self {
        let blocks = capacity.div_ceil(BLOCK);
        Self {
            cells: zeroed_cells(capacity as usize),
            blocks: Mutex::new(Blocks {
                // The other half are for threads that come too late to own one.
                owners: blocks / 2,
                returned: Vec::new(),
                unused: 0,
                count: blocks,
                full: VecDeque::new(),
            }),
            process_id: std::process::id(),
        }
    }

    /// Remembers a request; `None` where no free cell was found.
    #[inline]
    pub(super) fn claim(&'static self, phase: Phase) -> Option<Serial> {
        let claimed = LOCAL.try_with(|local| {
            let serial = self.claim_cell(local.next.get(), phase)?;
            local.next.set(following(serial.slot()));
            Some(serial)
        });
        match claimed {
            Ok(Some(serial)) => Some(serial),
            _ => self.claim_anywhere(phase),
        }
    }

    /// Returns the cell of a request.
    #[inline]
    pub(super) fn get(&'static self, serial: Serial) -> Option<RequestCell> {
        let words = self.cells.get(serial.slot() as usize)?;
        Some(RequestCell { words, serial })
    }

    /// Claims the cell if it is free. Only for the owner of its block.
    #[inline]
    fn claim_cell(&self, slot: u32, phase: Phase) -> Option<Serial> {
        let [life, phase_word, _] = self.cells.get(slot as usize)?;
        let ended = life.load(Ordering::Acquire);
        if ended & LIVE != 0 {
            return None;
        }
        let serial = Serial::new(slot, ended / 2 + 1);
        overwrite(life, live(serial));
        let first = PhaseWord::new(serial.generation(), 0, phase.code(), 0);
        // Whoever finds this word, and is late, finds that its own request has ended.
        phase_word.store(first.0, Ordering::Release);
        Some(serial)
    }

    #[cold]
    fn claim_anywhere(&'static self, phase: Phase) -> Option<Serial> {
        // A thread that is ending owns nothing any more.
        let own = LOCAL.try_with(|local| self.claim_own(local, phase));
        own.unwrap_or(None).or_else(|| self.claim_shared(phase))
    }

    /// Claims a cell in a block that the thread owns from then on.
    fn claim_own(&'static self, local: &Local, phase: Phase) -> Option<Serial> {
        for _ in 0..SEARCHED {
            let next = local.next.get();
            if let Some(serial) = self.claim_in_block(next, phase) {
                local.next.set(following(serial.slot()));
                return Some(serial);
            }
            let full = (next != NOWHERE).then_some(next / BLOCK);
            let block = self.blocks().exchange(full)?;
            local.cells.set(Some(self));
            local.next.set(block * BLOCK);
        }
        None
    }

    /// Claims a cell in a block that has no owner.
    fn claim_shared(&self, phase: Phase) -> Option<Serial> {
        let mut blocks = self.blocks();
        for _ in 0..SEARCHED {
            let block = blocks.take()?;
            if let Some(serial) = self.claim_in_block(block * BLOCK, phase) {
                blocks.returned.push(block);
                return Some(serial);
            }
            blocks.full.push_back(block);
        }
        None
    }

    /// Claims a free cell of a block, `next` or one after it.
    fn claim_in_block(&self, next: u32, phase: Phase) -> Option<Serial> {
        std::iter::successors(Some(next), |&slot| Some(following(slot)))
            .take(BLOCK as usize)
            .find_map(|slot| self.claim_cell(slot, phase))
    }

    fn blocks(&self) -> MutexGuard<'_, Blocks> {
        self.blocks
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The cell whose turn is next in the same block. The last block may have fewer cells than others.
fn following(slot: u32) -> u32 {
    slot / BLOCK * BLOCK + (slot + 1) % BLOCK
}

/// The life of a request that is in flight.
#[inline]
fn live(serial: Serial) -> u64 {
    serial.generation() * 2 | LIVE
}

/// The blocks that no thread owns.
struct Blocks {
    /// How many more threads may own a block.
    owners: u32,
    /// Blocks that probably have free cells.
    returned: Vec<u32>,
    /// Blocks from here on were never used.
    unused: u32,
    /// How many blocks there are.
    count: u32,
    /// Blocks that were full, first the one for which that is longest ago.
    full: VecDeque<u32>,
}

impl Blocks {
    /// A block in place of a full one, or of none.
    fn exchange(&mut self, full: Option<u32>) -> Option<u32> {
        match full {
            Some(full) => self.full.push_back(full),
            None => self.owners = self.owners.checked_sub(1)?,
        }
        self.take()
    }

    fn take(&mut self) -> Option<u32> {
        if let Some(returned) = self.returned.pop() {
            return Some(returned);
        }
        if self.unused < self.count {
            self.unused += 1;
            return Some(self.unused - 1);
        }
        self.full.pop_front()
    }
}

/// The cell of one request, which may have ended.
#[derive(Clone, Copy)]
pub(super) struct RequestCell {
    words: &'static Words,
    serial: Serial,
}

impl RequestCell {
    /// Returns whether the request has not ended.
    #[inline]
    pub(super) fn is_live(self) -> bool {
        self.words[0].load(Ordering::Acquire) == live(self.serial)
    }

    /// Returns the request's phase and mark; phase 0 if they were replaced. `None` if the request has ended.
    #[inline]
    pub(super) fn phase(self) -> Option<PhaseWord> {
        // In this order: a word of the next request shows that this one has ended.
        let word = PhaseWord(self.words[1].load(Ordering::Acquire));
        let generation = self.serial.generation();
        self.is_live().then(|| match word.is_of(generation) {
            true => word,
            false => PhaseWord::new(generation, 0, 0, 0),
        })
    }

    /// Replaces phase and mark; `None` where the request has ended or `change` wants no change.
    #[inline]
    pub(super) fn update(
        self,
        change: impl FnOnce(PhaseWord) -> Option<PhaseWord>,
    ) -> Option<PhaseWord> {
        let changed = change(self.phase()?)?;
        self.words[1].store(changed.0, Ordering::Release);
        Some(changed)
    }

    /// Stores the outcome and the bytes of the response.
    #[inline]
    pub(super) fn answer(self, outcome: Outcome, payload_bytes: u64) {
        let answer = Answer::new(self.serial.generation(), outcome, payload_bytes);
        self.words[2].store(answer.0, Ordering::Release);
    }

    /// Ends the request. Returns the outcome and the bytes of its response, 0 if there was none; or `None` if it had
    /// ended before.
    #[inline]
    pub(super) fn end(self) -> Option<(Option<Outcome>, u64)> {
        // Read first, since the next request may be answered as soon as the cell is free.
        let answer = Answer(self.words[2].load(Ordering::Acquire));
        let live = live(self.serial);
        self.words[0]
            .compare_exchange(live, live & !LIVE, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        Some(match answer.is_of(self.serial.generation()) {
            true => (answer.outcome(), answer.bytes()),
            false => (None, 0),
        })
    }
}

/// The response of a request: low bits of the cell's generation, outcome, payload bytes.
#[derive(Clone, Copy)]
struct Answer(u64);

impl Answer {
    const OUTCOME_SHIFT: u32 = 32;
    const GENERATION_SHIFT: u32 = 36;
    const OUTCOME_MASK: u64 = (1 << (Self::GENERATION_SHIFT - Self::OUTCOME_SHIFT)) - 1;

    #[inline]
    fn new(generation: u64, outcome: Outcome, payload_bytes: u64) -> Self {
        Self(
            generation << Self::GENERATION_SHIFT
                | u64::from(outcome.code()) << Self::OUTCOME_SHIFT
                | payload_bytes.min(u32::MAX.into()),
        )
    }

    #[inline]
    fn is_of(self, generation: u64) -> bool {
        (self.0 >> Self::GENERATION_SHIFT)
            == generation << Self::GENERATION_SHIFT >> Self::GENERATION_SHIFT
    }

    fn outcome(self) -> Option<Outcome> {
        Outcome::from_code((self.0 >> Self::OUTCOME_SHIFT & Self::OUTCOME_MASK) as u32)
    }

    fn bytes(self) -> u64 {
        self.0 & u64::from(u32::MAX)
    }
}

local!(LOCAL: Local = Local::new());

/// The block that a thread owns.
struct Local {
    /// The cell whose turn it is; [`NOWHERE`] if the thread owns no block.
    next: Cell<u32>,
    /// What the block is of.
    cells: Cell<Option<&'static Cells>>,
}

impl Local {
    const fn new() -> Self {
        Self {
            next: Cell::new(NOWHERE),
            cells: Cell::new(None),
        }
    }

    /// Gives the block back.
    #[cfg(any(not(loom), test))]
    fn close(&self) {
        let next = self.next.replace(NOWHERE);
        // In a forked child the lock may be held for ever, by a thread that was not forked.
        let cells = self.cells.take();
        if let Some(cells) = cells.filter(|cells| cells.process_id == std::process::id()) {
            let mut blocks = cells.blocks();
            blocks.returned.push(next / BLOCK);
            blocks.owners += 1;
        }
    }
}

/// Under loom a thread's own values are dropped after the tables.
#[cfg(not(loom))]
impl Drop for Local {
    fn drop(&mut self) {
        self.close();
    }
}

/// Does what the end of the thread does otherwise.
#[cfg(all(test, loom))]
pub(super) fn end_thread() {
    LOCAL.with(Local::close);
}
