//! What the fuzz targets and the writer of their corpus have in common: how the bytes of an input become
//! memory or a file.

pub mod elf;
pub mod region;
