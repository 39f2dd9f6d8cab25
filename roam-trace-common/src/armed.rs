//! What a set of pins says of itself: its version, and the executables that are armed.

use core::mem::size_of;

#[cfg(feature = "zerocopy")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::event::{ChannelValue, ConnectionValue, Loss, RecordKey, RequestValue, TargetValue};

/// Version of what the programs and the records of an armed set mean. The sizes of the records tell other sets
/// apart as well, see [`RECORD_SIZES`].
pub const VERSION: u32 = 1;

/// Bytes of the path of an executable, as Linux limits them.
pub const PATH_BYTES: usize = 4_096;

/// The size of every record, and how many kinds of losses there are.
pub const RECORD_SIZES: [u32; 9] = [
    size_of::<RecordKey>() as u32,
    size_of::<RequestValue>() as u32,
    size_of::<ChannelValue>() as u32,
    size_of::<ConnectionValue>() as u32,
    size_of::<TargetValue>() as u32,
    size_of::<FileKey>() as u32,
    size_of::<ExecutableValue>() as u32,
    size_of::<SetValue>() as u32,
    Loss::ALL.len() as u32,
];

/// A file on this machine. The key of an executable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct FileKey {
    /// Major number of its device.
    pub device_major: u32,
    /// Minor number of its device.
    pub device_minor: u32,
    /// Its inode number.
    pub inode: u64,
}

/// An armed executable or library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct ExecutableValue {
    /// When all its probes were attached, `CLOCK_MONOTONIC` nanoseconds of the initial time namespace.
    pub armed_ns: u64,
    /// The same moment, `CLOCK_BOOTTIME` nanoseconds of that namespace.
    pub armed_boot_ns: u64,
    /// When its content had been modified last, nanoseconds since 1970: modified in place, it has other sites.
    pub modified_ns: u64,
    /// Bytes of `path`.
    pub path_bytes: u32,
    /// Always 0.
    pub reserved: u32,
    /// Where it was when it was armed.
    pub path: [u8; PATH_BYTES],
}

/// What a set is. The only entry of its map, written last: a set without it is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "zerocopy",
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct SetValue {
    /// [`VERSION`]; 0 as long as the set is not complete.
    pub version: u32,
    /// [`RECORD_SIZES`].
    pub record_sizes: [u32; 9],
    /// Inode of the pid namespace whose pids are in the maps.
    pub pid_namespace: u64,
    /// When it was made, `CLOCK_BOOTTIME` nanoseconds of the initial time namespace.
    pub made_boot_ns: u64,
}

const _: () = assert!(size_of::<FileKey>() == 16);
const _: () = assert!(size_of::<ExecutableValue>() == 32 + PATH_BYTES);
const _: () = assert!(size_of::<SetValue>() == 56);
