//! What is remembered of the requests in flight where no rows are written (`ROAM_DIAGNOSTIC=probes`): as much as it
//! takes for every probe to fire as it does with rows. Private to the process: no reader ever looks at a cell.
//!
//! A thread owns a block of cells and alone claims them, in turns, without a locked instruction. A call that is still
//! in flight when its cell's turn comes is skipped. If all of a block are in flight, the thread exchanges the block for
//! another one.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::OnceLock;

use roam_trace_common::Serial;
use roam_trace_common::event::{Mark, Outcome, Phase};
use roam_trace_common::limits::SERIAL_SLOT_BITS;

use crate::region;
use crate::sync::{Mutex, MutexGuard, Ordering, local, overwrite};

/// Cells of a block.
const BLOCK: u32 = if cfg!(loom) { 2 } else { 64 };
/// Blocks that are searched for a free cell before a call counts as lost.
const SEARCHED: usize = 16;
/// No cell has this number.
const NOWHERE: u32 = u32::MAX;

/// The words of a cell:
///
/// - its life: the serial of its last request, with [`ENDED`] once that has ended; 0 before the first one. The owner of the block stores it
///   when a request starts, and whoever ends the request exchanges it. Nobody else writes it, so a generation is never
///   used twice, and a request ends once.
/// - phase and mark, each a [`Tagged`] code, and an [`Answer`]. Whoever reports stores them, having seen that the cell was
///   not claimed again. If that happens in between, the late word replaces that of the next request. It is of an earlier
///   generation and therefore ignored. What it replaced is lost: a phase or a mark may be reported again, and an answer
///   is reported as none. Threads that report phases of one request at the same time may replace a later phase by an
///   earlier one. A probe may fire for a request that has just ended; the kernel programs have no row of it any more.
type Words = region::Cell;

/// The request has ended. Generations do not get that high.
const ENDED: u64 = 1 << 63;

#[cfg(not(loom))]
static CELLS: OnceLock<Cells> = OnceLock::new();

#[cfg(loom)]
loom::lazy_static! {
    /// New ones for every order of events that is tried.
    static ref CELLS: OnceLock<Cells> = OnceLock::new();
}

/// Has requests kept in cells instead of rows. `None` where there is no memory for them.
pub(super) fn create(capacity: u32) -> Option<()> {
    CELLS.set(Cells::new(capacity)?).ok()
}

/// The cells, if requests are kept in cells. In a forked child they are as if nothing had ever been reported.
#[inline]
pub(super) fn cells() -> Option<&'static Cells> {
    CELLS.get()
}

/// All cells, and which blocks of them have no owner.
pub(super) struct Cells {
    #[cfg(not(loom))]
    cells: &'static [Words],
    #[cfg(loom)]
    cells: Box<[Words]>,
    blocks: Mutex<Blocks>,
    process_id: u32,
}

impl Cells {
    /// Returns `None` where the system has no memory for them.
    pub(super) fn new(capacity: u32) -> Option<Self> {
        let blocks = capacity.div_ceil(BLOCK);
        Some(Self {
            cells: region::private_cells(capacity)?,
            blocks: Mutex::new(Blocks {
                // The other half are for threads that come too late to own one.
                owners: blocks / 2,
                returned: Vec::new(),
                unused: 0,
                count: blocks,
                full: VecDeque::new(),
            }),
            process_id: std::process::id(),
        })
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
        // A cell that was never used has the same word.
        if serial.is_none() {
            return None;
        }
        let words = self.cells.get(serial.slot() as usize)?;
        Some(RequestCell { words, serial })
    }

    /// Claims the cell if it is free. Only for the owner of its block.
    #[inline]
    fn claim_cell(&self, slot: u32, phase: Phase) -> Option<Serial> {
        let [life, phase_word, ..] = self.cells.get(slot as usize)?;
        let last = life.load(Ordering::Acquire);
        if last != 0 && last & ENDED == 0 {
            return None;
        }
        let serial = Serial::new(slot, Serial(last & !ENDED).generation() + 1);
        overwrite(life, serial.0);
        // Whoever finds this word, and is late, finds that its own request has ended.
        phase_word.store(Tagged::new(serial, phase.code()).0, Ordering::Release);
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
            let own = (next != NOWHERE).then_some(next / BLOCK);
            if own.is_some()
                && let Some(serial) = self.claim_in_block(next, phase)
            {
                local.next.set(following(serial.slot()));
                return Some(serial);
            }
            let block = self.blocks().exchange(own)?;
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
    #[cfg(all(test, loom))]
    pub(super) fn serial(self) -> Serial {
        self.serial
    }

    /// Returns whether the request has not ended.
    #[inline]
    pub(super) fn is_live(self) -> bool {
        self.words[0].load(Ordering::Acquire) == self.serial.0
    }

    /// Returns the code of its phase, 0 if a late word replaced it; `None` if the request has ended.
    pub(super) fn phase(self) -> Option<u32> {
        let phase = Tagged(self.words[1].load(Ordering::Acquire));
        self.is_live().then(|| phase.code_of(self.serial))
    }

    /// Sets the phase unless it is further. Returns the phase that there is then and whether that changed it, or `None`
    /// if the cell has been claimed again.
    #[inline]
    pub(super) fn advance(self, phase: Phase) -> Option<(u32, bool)> {
        let [_, phase_word, ..] = self.words;
        let reached = Tagged::new(self.serial, phase.code());
        let before = Tagged(phase_word.load(Ordering::Acquire));
        if before >= reached {
            let phase = before.code_of(self.serial);
            return (phase != 0).then_some((phase, false));
        }
        phase_word.store(reached.0, Ordering::Release);
        Some((phase.code(), true))
    }

    /// Returns the code of its mark, or 0.
    #[inline]
    pub(super) fn mark(self) -> u32 {
        Tagged(self.words[2].load(Ordering::Acquire)).code_of(self.serial)
    }

    /// Sets the mark. Returns the code of the phase, or `None` if the request has ended or had the mark.
    pub(super) fn set_mark(self, mark: Mark) -> Option<u32> {
        let phase = self.phase()?;
        let is_new = self.mark() != mark.code();
        if is_new {
            self.words[2].store(Tagged::new(self.serial, mark.code()).0, Ordering::Release);
        }
        is_new.then_some(phase)
    }

    /// Stores the outcome and the bytes of the response.
    #[inline]
    pub(super) fn answer(self, outcome: Outcome, payload_bytes: u64) {
        let answer = Answer::new(self.serial, outcome, payload_bytes);
        self.words[3].store(answer.0, Ordering::Release);
    }

    /// Ends the request. Returns the outcome and the bytes of its response, 0 if there was none; or `None` if it had
    /// ended before.
    #[inline]
    pub(super) fn end(self) -> Option<(Option<Outcome>, u64)> {
        // Read first, since the next request may be answered as soon as the cell is free.
        let answer = Answer(self.words[3].load(Ordering::Acquire));
        let Serial(live) = self.serial;
        self.words[0]
            .compare_exchange(live, live | ENDED, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        Some(if answer.is_of(self.serial) {
            (answer.outcome(), answer.bytes())
        } else {
            (None, 0)
        })
    }
}

/// A code, and in front of it the generation of the request that it belongs to. Those of one cell compare: what is of a
/// later request, or further, is more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tagged(u64);

impl Tagged {
    #[inline]
    fn new(serial: Serial, code: u32) -> Self {
        Self(serial.0 >> SERIAL_SLOT_BITS << SERIAL_SLOT_BITS | u64::from(code))
    }

    /// The code, 0 if it belongs to another request.
    #[inline]
    fn code_of(self, serial: Serial) -> u32 {
        let code = self.0 ^ serial.0 >> SERIAL_SLOT_BITS << SERIAL_SLOT_BITS;
        if code >> SERIAL_SLOT_BITS == 0 {
            code as u32
        } else {
            0
        }
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
    fn new(serial: Serial, outcome: Outcome, payload_bytes: u64) -> Self {
        Self(
            serial.generation() << Self::GENERATION_SHIFT
                | u64::from(outcome.code()) << Self::OUTCOME_SHIFT
                | payload_bytes.min(u32::MAX.into()),
        )
    }

    #[inline]
    fn is_of(self, serial: Serial) -> bool {
        let tag = serial.generation() << Self::GENERATION_SHIFT;
        (self.0 ^ tag) >> Self::GENERATION_SHIFT == 0
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

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    fn cells(capacity: u32) -> &'static Cells {
        Box::leak(Box::new(Cells::new(capacity).unwrap()))
    }

    fn start(cells: &'static Cells) -> Option<RequestCell> {
        cells.get(cells.claim(Phase::Queued)?)
    }

    fn slots(requests: &[RequestCell]) -> HashSet<u32> {
        let slots = requests.iter().map(|request| request.serial.slot());
        slots.collect()
    }

    #[test]
    fn a_request_ends_once_with_its_answer() {
        let cells = cells(2 * BLOCK);
        let request = start(cells).unwrap();
        assert_eq!(
            request.advance(Phase::Sent),
            Some((Phase::Sent.code(), true))
        );
        assert_eq!(
            request.advance(Phase::HandedOver),
            Some((Phase::Sent.code(), false))
        );
        assert_eq!(request.set_mark(Mark::Orphaned), Some(Phase::Sent.code()));
        assert_eq!(request.set_mark(Mark::Orphaned), None);
        request.answer(Outcome::UserError, u64::MAX);
        assert!(request.is_live());
        let threads = Barrier::new(8);
        let ends: Vec<_> = thread::scope(|scope| {
            let end = || {
                threads.wait();
                request.end()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(end)).collect();
            let ends = threads.into_iter().map(|thread| thread.join().unwrap());
            ends.flatten().collect()
        });
        assert_eq!(ends, [(Some(Outcome::UserError), u32::MAX.into())]);
        assert!(!request.is_live());
        assert_eq!(request.phase(), None);
    }

    #[test]
    fn nothing_is_left_of_the_last_request_of_a_cell() {
        let cells = cells(2 * BLOCK);
        let first = start(cells).unwrap();
        first.advance(Phase::Responded);
        first.set_mark(Mark::Orphaned);
        first.answer(Outcome::Ok, 7);
        assert!(first.end().is_some());
        let next = std::iter::repeat_with(|| start(cells).unwrap());
        let ended = next.inspect(|request| assert!(request.end().is_some()));
        let mut ended = ended.take(BLOCK as usize - 1);
        assert!(ended.all(|request| request.serial.slot() != first.serial.slot()));
        let again = start(cells).unwrap();
        assert_eq!(again.serial, Serial::new(first.serial.slot(), 2));
        assert_eq!(
            (again.phase(), again.mark()),
            (Some(Phase::Queued.code()), 0)
        );
        assert_eq!(first.end(), None);
        assert_eq!(again.end(), Some((None, 0)));
    }

    #[test]
    fn a_late_word_is_not_the_next_requests() {
        let cells = cells(2 * BLOCK);
        let first = start(cells).unwrap();
        assert!(first.end().is_some());
        for _ in 1..BLOCK {
            assert!(start(cells).unwrap().end().is_some());
        }
        let next = start(cells).unwrap();
        assert_eq!(next.serial.slot(), first.serial.slot());
        // As if it had looked before the end.
        first.answer(Outcome::UserError, 7);
        let late = Tagged::new(first.serial, Phase::Responded.code());
        first.words[1].store(late.0, Ordering::Relaxed);
        assert!(next.is_live());
        assert_eq!(next.phase(), Some(0));
        assert_eq!(next.advance(Phase::Sent), Some((Phase::Sent.code(), true)));
        assert_eq!(next.end(), Some((None, 0)));
        assert_eq!(start(cells).unwrap().serial.generation(), 2);
    }

    #[test]
    fn calls_that_stay_in_flight_are_skipped() {
        let cells = cells(4 * BLOCK);
        let long: Vec<_> = (0..BLOCK + 3).map(|_| start(cells).unwrap()).collect();
        assert_eq!(slots(&long).len(), long.len());
        for _ in 0..3 * BLOCK {
            let short = start(cells).unwrap();
            assert!(!slots(&long).contains(&short.serial.slot()));
            assert!(short.end().is_some());
        }
        assert!(long.iter().all(|request| request.end().is_some()));
    }

    #[test]
    fn every_cell_can_be_in_flight_at_once() {
        // The last block has one cell.
        let cells = cells(3 * BLOCK + 1);
        let all: Vec<_> = std::iter::from_fn(|| start(cells)).collect();
        assert_eq!(slots(&all).len() as u32, 3 * BLOCK + 1);
        let ended = all[BLOCK as usize + 5];
        assert!(ended.end().is_some());
        let again = start(cells).unwrap();
        assert_eq!(again.serial, Serial::new(ended.serial.slot(), 2));
        assert!(start(cells).is_none());
    }

    #[test]
    fn threads_without_a_block_share_the_others() {
        let cells = cells(5);
        let threads = (0..3).map(|_| thread::spawn(|| start(cells).unwrap()));
        let threads: Vec<_> = threads.collect();
        let started: Vec<_> = threads.into_iter().map(|it| it.join().unwrap()).collect();
        assert_eq!(slots(&started).len(), 3);
        assert!(start(cells).is_some() && start(cells).is_some());
        assert!(start(cells).is_none());
    }

    #[test]
    fn a_thread_that_ends_gives_its_block_back() {
        let cells = cells(2 * BLOCK);
        for _ in 0..10 {
            let thread = thread::spawn(|| start(cells).unwrap());
            let request = thread.join().unwrap();
            assert!(request.serial.slot() < BLOCK, "it owns the same block");
            assert_eq!(cells.blocks().owners, 1);
            assert!(request.end().is_some());
        }
    }
}
