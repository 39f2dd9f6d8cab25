//! Reads the registry of this process itself.

use std::io;

use roam_diagnostic::registry::own::{self, OwnRegion};

use super::budget::Budget;
use super::header::ReadError;
use super::image::Image;
use super::memory::RegionMemory;
use super::tables::read_within;

impl RegionMemory for OwnRegion {
    fn bytes(&self) -> io::Result<u64> {
        Ok(OwnRegion::bytes(*self))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.copy_to(offset, buffer))
    }
}

/// Reads the registry of this process; `None` if nothing was reported yet or reporting is off.
///
/// Takes no lock.
///
/// # Errors
///
/// As [`read`](super::read); not expected of one's own memory.
pub fn read_own() -> Option<Result<Image, ReadError>> {
    own::region().map(|region| read_within(&region, &mut Budget::of_rows(u32::MAX)))
}
