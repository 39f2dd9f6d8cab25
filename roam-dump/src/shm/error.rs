//! Why a hub cannot be read.

use std::io;

use thiserror::Error;

use super::layout::VERSION;

/// Why a hub cannot be read.
#[derive(Debug, Error)]
pub enum HubError {
    /// The file could not be read.
    #[error("cannot read the file: {0}")]
    Io(#[from] io::Error),
    /// The first bytes are not those of a hub.
    #[error("the file is no hub of roam-shm: it does not start with \"RAPAHUB\\x01\"")]
    NotAHub,
    /// The hub has another version of the layout.
    #[error("the hub has version {found}, and this reader has version {VERSION}")]
    Version {
        /// The version it has.
        found: u32,
    },
    /// The header contradicts itself or the size of the file.
    #[error("the header of the hub is invalid: {0}")]
    Damaged(&'static str),
    /// The file ends within the header or the peer table.
    #[error("the file is truncated: it has {bytes} bytes, and the hub claims {claimed}")]
    Truncated {
        /// Bytes of the file.
        bytes: u64,
        /// Bytes that it should have.
        claimed: u64,
    },
}
