//! Memory that holds a registry: a file, bytes at hand, or this process's own mapping.

use std::fs::File;
use std::io;

/// Memory that holds a registry.
pub trait RegionMemory {
    /// Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads into `buffer` from `offset`, which is a multiple of eight, and returns how many bytes there were.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Returns where memory in use starts at or after `offset`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok(Some(offset))
    }
}

#[cfg(target_os = "linux")]
impl RegionMemory for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        use rustix::fs::{SeekFrom, seek};
        match seek(self, SeekFrom::Data(offset)) {
            Ok(start) => Ok(Some(start)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A region whose bytes are at hand, such as a recorded one.
impl RegionMemory for [u8] {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).map_or(self.len(), |offset| offset.min(self.len()));
        let bytes = buffer.len().min(self.len() - start);
        buffer[..bytes].copy_from_slice(&self[start..start + bytes]);
        Ok(bytes)
    }
}

/// Reads until the buffer is full or the memory ends, and returns how many bytes there were.
pub(crate) fn read_full<M: RegionMemory + ?Sized>(
    memory: &M,
    buffer: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match memory.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(bytes) => done += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
