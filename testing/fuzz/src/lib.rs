//! What the fuzz targets share with the writer of their corpus: how the bytes of an input become memory or a
//! file.

pub mod elf;
pub mod hub;
pub mod region;
