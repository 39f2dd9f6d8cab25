//! Whose turn it is where a driver has something to read and something to write.
//!
//! A driver reads nothing while a write of its own waits for room, and writes
//! nothing while it waits to deliver to a full channel. So neither may run ahead of
//! the other: two drivers that rather wrote than read could fill a transport in both
//! directions and wait for each other for ever, and one that rather read than wrote
//! could fill the channels of a proxy, which empties them through its queue.
//!
//! They therefore take turns, but for a head start of the writes: as long as they are
//! ahead of the reads by no more than a transport holds in any case, the queue alone is
//! asked, because asking the transport costs more.

/// Messages by which writes may be ahead. A unix socket holds some 270 small ones.
const HEAD_START: u64 = 64;
/// Payload bytes by which writes may be ahead. A unix socket holds 208 KiB unless told otherwise.
const HEAD_START_BYTES: u64 = 32 * 1024;

/// The turns of one driver.
#[derive(Debug, Default)]
pub(super) struct Turns {
    ahead: u64,
    ahead_bytes: u64,
    /// Whether the transport was asked since the last write.
    was_asked: bool,
}

impl Turns {
    /// Whether the queue may be asked without asking the transport before.
    pub(super) fn is_queues(&self) -> bool {
        self.was_asked || (self.ahead < HEAD_START && self.ahead_bytes < HEAD_START_BYTES)
    }

    /// The transport is asked for something to read.
    pub(super) fn ask(&mut self) {
        self.was_asked = true;
    }

    /// A message is written.
    pub(super) fn write(&mut self, payload_bytes: u64) {
        self.ahead += 1;
        self.ahead_bytes = self.ahead_bytes.saturating_add(payload_bytes);
        self.was_asked = false;
    }

    /// A message was read.
    pub(super) fn read(&mut self, payload_bytes: u64) {
        self.ahead = self.ahead.saturating_sub(1);
        self.ahead_bytes = self.ahead_bytes.saturating_sub(payload_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_have_a_head_start_and_then_take_turns() {
        let mut turns = Turns::default();
        for _ in 0..HEAD_START {
            assert!(turns.is_queues());
            turns.write(1);
        }
        for _ in 0..3 {
            assert!(!turns.is_queues());
            turns.ask();
            assert!(turns.is_queues());
            turns.write(1);
        }
        for _ in 0..4 {
            assert!(!turns.is_queues());
            turns.read(0);
        }
        assert!(turns.is_queues());
    }

    #[test]
    fn reads_save_up_no_head_start() {
        let mut turns = Turns::default();
        for _ in 0..1_000 {
            turns.read(1_000);
        }
        for _ in 0..HEAD_START {
            turns.write(0);
        }
        assert!(!turns.is_queues());
    }

    #[test]
    fn a_large_message_uses_the_head_start_up() {
        let mut turns = Turns::default();
        turns.write(HEAD_START_BYTES);
        assert!(!turns.is_queues());
        turns.read(1);
        assert!(turns.is_queues());
    }
}
