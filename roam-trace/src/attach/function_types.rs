//! The types of a program's functions, as the kernel wants them (BTF) before it takes the address of one: for each
//! that it is a function of its own file.
//!
//! The object has no types, see `cargo xtask build-ebpf`, and of these functions the kernel reads no more than
//! that. The format is that of <https://docs.kernel.org/bpf/btf.html>.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use aya_obj::generated::bpf_func_info;

use crate::bpf;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const HEADER_BYTES: u32 = 24;

/// All the names there are, after the empty one that the format begins with.
const NAMES: &[u8] = b"\0long\0function\0";
const NAME_LONG: u32 = 1;
const NAME_FUNCTION: u32 = 6;

/// Kinds of types, where they are in the second word of each.
const INTEGER: u32 = 1 << 24;
const FUNCTION: u32 = 12 << 24;
const PROTOTYPE: u32 = 13 << 24;

/// A signed integer of 8 bytes, 64 bits.
const LONG: [u32; 4] = [NAME_LONG, INTEGER, 8, 1 << 24 | 64];
/// Functions without parameters that return the first type.
const RETURNS_LONG: [u32; 3] = [0, PROTOTYPE, 1];
/// A static function of the second type.
const STATIC_FUNCTION: [u32; 3] = [NAME_FUNCTION, FUNCTION, 2];
const STATIC_FUNCTION_ID: u32 = 3;

/// Loads them for the functions that begin at these instructions.
pub(super) fn load(starts: &BTreeSet<u32>) -> io::Result<(OwnedFd, Vec<bpf_func_info>)> {
    let info = |&insn_off| bpf_func_info {
        insn_off,
        type_id: STATIC_FUNCTION_ID,
    };
    Ok((
        bpf::load_types(&types())?,
        starts.iter().map(info).collect(),
    ))
}

fn types() -> Vec<u8> {
    let words = [&LONG[..], &RETURNS_LONG, &STATIC_FUNCTION].concat();
    let types: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    let mut bytes = Vec::new();
    bytes.extend(MAGIC.to_ne_bytes());
    bytes.extend([VERSION, 0]);
    let types_bytes = types.len() as u32;
    for word in [
        HEADER_BYTES,
        0,
        types_bytes,
        types_bytes,
        NAMES.len() as u32,
    ] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(types);
    bytes.extend(NAMES);
    bytes
}
