//! What may be the key or the value of a kernel map.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A type of which every byte pattern is a value, and none of its bytes is padding.
pub(crate) trait Plain: FromBytes + IntoBytes + Immutable + Copy + 'static {}

impl<T: FromBytes + IntoBytes + Immutable + Copy + 'static> Plain for T {}
