//! Why a kernel map could not be read or written.

use aya::maps::MapError;
use thiserror::Error;

/// A kernel map could not be read or written.
#[derive(Debug, Error)]
#[error("cannot access the kernel map {map}")]
pub struct MapAccessError {
    /// The map's name.
    pub map: &'static str,
    /// The kernel's error.
    #[source]
    pub source: MapError,
}
