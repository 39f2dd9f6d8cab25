//! The name of one record: never reused within a process.

use crate::limits::SERIAL_SLOT_BITS;

/// Identifies one record of one table for as long as the process lives.
///
/// The low 24 bits are the slot, the rest is the slot's generation, which
/// counts from 1. Request and channel ids may be reused, a serial may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Serial(pub u64);

impl Serial {
    /// No record.
    pub const NONE: Self = Self(0);

    /// Returns the serial of `slot` in its `generation`-th use.
    pub const fn new(slot: u32, generation: u64) -> Self {
        Self(generation << SERIAL_SLOT_BITS | slot as u64)
    }

    /// Returns the index in the table.
    pub const fn slot(self) -> u32 {
        (self.0 & ((1 << SERIAL_SLOT_BITS) - 1)) as u32
    }

    /// Returns how many times the slot was claimed, up to and including this record.
    pub const fn generation(self) -> u64 {
        self.0 >> SERIAL_SLOT_BITS
    }

    /// Returns whether this names no record.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_keeps_its_parts() {
        let serial = Serial::new(0xff_ffff, 1 << 39);
        assert_eq!((serial.slot(), serial.generation()), (0xff_ffff, 1 << 39));
        assert!(Serial::NONE.is_none() && !Serial::new(0, 1).is_none());
    }
}
