//! Whose turn it is where a driver has something to read and something to write.
//!
//! A driver reads nothing while a write of its own waits for room. Two drivers
//! that rather wrote than read could thus fill a transport in both directions and
//! wait for each other for ever. Two that rather read, on the other hand, keep each
//! other waiting for no reason.
//!
//! So writing goes first as long as what was written since the transport last had
//! nothing to read fits into it without the peer reading any of it: a peer that
//! left nothing to read does not wait for us. Beyond that, reading goes first.

/// Messages written before reading goes first. A unix socket holds some 270 small ones.
const WRITES: u32 = 64;
/// Payload bytes written before reading goes first. A unix socket holds 208 KiB unless told otherwise.
const WRITTEN_BYTES: u64 = 32 * 1024;
/// Messages read for one that is written while reading goes first: more than one, so that what is on its
/// way gets less, and few, so that a peer that never stops sending gets its answers.
const READS_PER_WRITE: u32 = 4;

/// The turns of one driver.
#[derive(Debug)]
pub(super) struct Turns {
    writes_left: u32,
    bytes_left: u64,
    reads: u32,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            writes_left: WRITES,
            bytes_left: WRITTEN_BYTES,
            reads: 0,
        }
    }

    /// Whether what waits to be written goes before what waits to be read.
    pub(super) fn is_writes(&self) -> bool {
        (self.writes_left > 0 && self.bytes_left > 0) || self.reads >= READS_PER_WRITE
    }

    /// A message was written.
    pub(super) fn wrote(&mut self, payload_bytes: u64) {
        self.writes_left = self.writes_left.saturating_sub(1);
        self.bytes_left = self.bytes_left.saturating_sub(payload_bytes);
        self.reads = 0;
    }

    /// A message was read.
    pub(super) fn read(&mut self) {
        self.reads = self.reads.saturating_add(1);
    }

    /// There was nothing to read.
    pub(super) fn idle(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One end of a pipe that holds `room` messages each way: it answers what it reads, beside what it wants
    /// to say itself.
    struct End {
        turns: Turns,
        to_write: u32,
        to_answer: u32,
    }

    impl End {
        fn new(calls: u32) -> Self {
            Self {
                turns: Turns::new(),
                to_write: calls,
                to_answer: calls,
            }
        }

        /// Takes a turn. `incoming` and `outgoing` are what the pipe holds; `false` where the end waits.
        fn step(&mut self, incoming: &mut u32, outgoing: &mut u32, room: u32) -> bool {
            let has_read = *incoming > 0;
            let has_write = self.to_write > 0;
            if has_write && (self.turns.is_writes() || !has_read) {
                if *outgoing == room {
                    return false;
                }
                if !has_read && !self.turns.is_writes() {
                    self.turns.idle();
                }
                self.to_write -= 1;
                *outgoing += 1;
                self.turns.wrote(8);
                true
            } else if has_read {
                *incoming -= 1;
                self.turns.read();
                if self.to_answer > 0 {
                    self.to_answer -= 1;
                    self.to_write += 1;
                }
                true
            } else {
                self.turns.idle();
                false
            }
        }
    }

    #[test]
    fn two_busy_ends_never_wait_for_each_other() {
        const CALLS: u32 = 10_000;
        const ROOM: u32 = 200;
        // Whoever moves `pace` times as often is that much faster.
        for pace in [1, 2, 7, 50, 1_000] {
            let (mut left, mut right) = (End::new(CALLS), End::new(CALLS));
            let (mut to_left, mut to_right) = (0, 0);
            loop {
                let mut is_moving = right.step(&mut to_right, &mut to_left, ROOM);
                for _ in 0..pace {
                    is_moving |= left.step(&mut to_left, &mut to_right, ROOM);
                }
                if !is_moving {
                    break;
                }
            }
            let left_over = [left.to_write, right.to_write, to_left, to_right];
            assert_eq!(left_over, [0; 4], "at pace {pace}");
        }
    }

    #[test]
    fn a_few_large_messages_end_the_writers_turn() {
        let mut turns = Turns::new();
        turns.wrote(WRITTEN_BYTES);
        assert!(!turns.is_writes());
        for _ in 0..READS_PER_WRITE {
            turns.read();
        }
        assert!(turns.is_writes());
        turns.wrote(1);
        assert!(!turns.is_writes());
        turns.idle();
        assert!(turns.is_writes());
    }
}
