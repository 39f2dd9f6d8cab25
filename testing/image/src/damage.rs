//! What no traced program writes: fields at their extremes, text that steers a terminal, and noise.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What a field may be set to, as far as it has room.
pub const EXTREMES: [u64; 9] = [
    0,
    1,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 63,
    u64::MAX - 7,
    u64::MAX - 1,
    u64::MAX,
];

/// Bytes of a row that [`extreme`] leaves alone: its sequence and its serial.
const UNCHANGED_BYTES: usize = 16;

/// What steers a terminal, turns the direction of writing, breaks lines, or is no text at all.
const MALICIOUS: &[u8] =
    b"\x1b]0;title\x07\x1b[2J\x1b[31m\r\n\0\x08\x7f\xc2\x9b31m\xe2\x80\xae\xe2\x81\xa6\xf3\xa0\x80\xa1\xff\xc0\xaf";

/// As much malicious text as there is room for, different for every `seed`.
pub fn malicious<const N: usize>(seed: u64) -> [u8; N] {
    std::array::from_fn(|index| MALICIOUS[(index + seed as usize) % MALICIOUS.len()])
}

/// `row` with one field at one of the [`EXTREMES`], another combination for every `seed`. Its sequence and
/// serial stay.
///
/// # Panics
///
/// Where the row has no other field.
pub fn extreme<R: IntoBytes + FromBytes + Immutable>(seed: u64, mut row: R) -> R {
    let fields = (size_of::<R>() - UNCHANGED_BYTES) / 4;
    let value = EXTREMES[seed as usize % EXTREMES.len()];
    let field = UNCHANGED_BYTES + seed as usize / EXTREMES.len() % fields * 4;
    set(row.as_mut_bytes(), field, value);
    row
}

/// Writes a value at an offset: eight bytes of it where one can begin there, otherwise four.
///
/// # Panics
///
/// Where the bytes end before that.
pub fn set(bytes: &mut [u8], offset: usize, value: u64) {
    match bytes.get_mut(offset..offset + 8) {
        Some(wide) if offset.is_multiple_of(8) => wide.copy_from_slice(&value.to_ne_bytes()),
        _ => bytes[offset..offset + 4].copy_from_slice(&(value as u32).to_ne_bytes()),
    }
}

/// The same random bytes every time.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
