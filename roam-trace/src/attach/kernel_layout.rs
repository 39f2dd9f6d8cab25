//! Two offsets inside the running kernel's structures, from its own type
//! information (BTF).
//!
//! The program that notices the exit of a process needs to know whether the
//! exiting thread is the last one; Linux reports that only from 6.16. Owns the
//! few lines of BTF decoding that takes: aya decodes all of it and gives no offsets
//! out, and a second complete decoding would take longer than attaching.
//!
//! The format is that of <https://docs.kernel.org/bpf/btf.html>.

use std::fs;
use std::io;

use thiserror::Error;

const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;

/// Bytes from the start of a structure to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KernelLayout {
    /// `task_struct.signal`.
    pub(super) task_signal: u64,
    /// `signal_struct.live`.
    pub(super) signal_live: u64,
}

/// Why the layout is not known.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// The kernel does not offer its types.
    #[error("cannot read {BTF_PATH}; the kernel needs CONFIG_DEBUG_INFO_BTF")]
    Read(#[source] io::Error),
    /// They are not as documented.
    #[error("{BTF_PATH} is invalid: {0}")]
    Malformed(&'static str),
    /// A member is not where it used to be.
    #[error("the kernel structure {structure} has no member `{member}`")]
    Missing {
        /// The structure.
        structure: &'static str,
        /// The member.
        member: &'static str,
    },
}

impl KernelLayout {
    /// That of the running kernel.
    pub(super) fn read() -> Result<Self, LayoutError> {
        Self::parse(&fs::read(BTF_PATH).map_err(LayoutError::Read)?)
    }

    fn parse(btf: &[u8]) -> Result<Self, LayoutError> {
        let sections = Sections::parse(btf).ok_or(LayoutError::Malformed("its header"))?;
        let [task_signal, signal_live] =
            sections.offsets([("task_struct", "signal"), ("signal_struct", "live")])?;
        Ok(Self {
            task_signal,
            signal_live,
        })
    }
}

/// The two parts of the data.
struct Sections<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Sections<'a> {
    fn parse(btf: &'a [u8]) -> Option<Self> {
        let (&magic, _) = btf.split_first_chunk::<2>()?;
        if u16::from_ne_bytes(magic) != MAGIC {
            return None;
        }
        let part = |offset_at| {
            let start = word(btf, 4)?.checked_add(word(btf, offset_at)?)? as usize;
            let end = start.checked_add(word(btf, offset_at + 4)? as usize)?;
            btf.get(start..end)
        };
        Some(Self {
            types: part(8)?,
            strings: part(16)?,
        })
    }

    /// The offsets of some members, each in a structure of its own.
    fn offsets<const N: usize>(
        &self,
        wanted: [(&'static str, &'static str); N],
    ) -> Result<[u64; N], LayoutError> {
        let mut found = [None; N];
        let mut at = 0;
        while at < self.types.len() && found.contains(&None) {
            let kind = Type::at(self.types, at).ok_or(LayoutError::Malformed("a type"))?;
            if kind.is_struct() {
                for ((structure, member), found) in wanted.iter().zip(&mut found) {
                    if found.is_none() && self.is_string(kind.name, structure) {
                        *found = self.member_offset(at, &kind, member);
                    }
                }
            }
            at += kind.bytes;
        }
        let mut offsets = [0; N];
        for ((offset, found), (structure, member)) in offsets.iter_mut().zip(found).zip(wanted) {
            *offset = found.ok_or(LayoutError::Missing { structure, member })?;
        }
        Ok(offsets)
    }

    /// Bytes to a member of the structure at `at`.
    fn member_offset(&self, at: usize, kind: &Type, member: &str) -> Option<u64> {
        (0..kind.members).find_map(|index| {
            let entry = at + 12 + 12 * index;
            let name = word(self.types, entry)?;
            let bits = word(self.types, entry + 8)?;
            // With bit fields in the structure, the member's width is in the top byte.
            let bits = if kind.has_bit_fields {
                bits & 0xff_ffff
            } else {
                bits
            };
            self.is_string(name, member).then_some(u64::from(bits / 8))
        })
    }

    /// Whether the string at an offset is this one.
    fn is_string(&self, offset: u32, expected: &str) -> bool {
        self.strings
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(expected.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// The head of one type.
struct Type {
    name: u32,
    kind: u32,
    members: usize,
    has_bit_fields: bool,
    /// With everything that belongs to it.
    bytes: usize,
}

impl Type {
    fn at(types: &[u8], at: usize) -> Option<Self> {
        let name = word(types, at)?;
        let info = word(types, at + 4)?;
        let kind = info >> 24 & 0x1f;
        let members = (info & 0xffff) as usize;
        let tail = match kind {
            // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
            2 | 7..=12 | 16 | 18 => 0,
            // Integer, variable, declaration tag.
            1 | 14 | 17 => 4,
            // Array.
            3 => 12,
            // Structure, union, data section, 64-bit enumeration.
            4 | 5 | 15 | 19 => 12 * members,
            // Enumeration, function prototype.
            6 | 13 => 8 * members,
            _ => return None,
        };
        Some(Self {
            name,
            kind,
            members,
            has_bit_fields: info >> 31 == 1,
            bytes: 12 + tail,
        })
    }

    fn is_struct(&self) -> bool {
        self.kind == KIND_STRUCT
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let (word, _) = bytes.get(at..)?.split_first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A type's three words and what follows it.
    fn encode(types: &mut Vec<u8>, words: impl IntoIterator<Item = u32>) {
        types.extend(words.into_iter().flat_map(u32::to_ne_bytes));
    }

    /// Types as the kernel has them: an integer, an array, and structures with and without bit fields.
    fn sample() -> Vec<u8> {
        let mut strings = vec![0];
        let mut string = |text: &str| {
            let at = strings.len() as u32;
            strings.extend(text.as_bytes());
            strings.push(0);
            at
        };
        let mut types = Vec::new();
        encode(&mut types, [string("int"), 1 << 24, 4, 0x0100_0020]);
        encode(&mut types, [0, 3 << 24, 0, 1, 1, 10]);
        let structure =
            |bit_fields: u32, members: u32| bit_fields << 31 | KIND_STRUCT << 24 | members;
        encode(
            &mut types,
            [string("task_struct_other"), structure(0, 1), 8],
        );
        encode(&mut types, [string("signal"), 1, 64]);
        encode(&mut types, [string("task_struct"), structure(1, 2), 4096]);
        encode(&mut types, [string("signals"), 1, 3 << 24]);
        encode(&mut types, [string("signal"), 1, 14_784]);
        encode(&mut types, [string("signal_struct"), structure(0, 2), 64]);
        encode(&mut types, [string("sigcnt"), 1, 0, string("live"), 1, 32]);

        let mut btf = Vec::new();
        btf.extend(MAGIC.to_ne_bytes());
        btf.extend([1, 0]);
        let (types_bytes, strings_bytes) = (types.len() as u32, strings.len() as u32);
        encode(&mut btf, [24, 0, types_bytes, types_bytes, strings_bytes]);
        btf.extend(types);
        btf.extend(strings);
        btf
    }

    #[test]
    fn finds_members_by_their_exact_names() {
        assert_eq!(
            KernelLayout::parse(&sample()).unwrap(),
            KernelLayout {
                task_signal: 1_848,
                signal_live: 4,
            }
        );
    }

    #[test]
    fn names_the_member_that_is_missing() {
        let mut btf = sample();
        let at = btf
            .windows(6)
            .position(|bytes| bytes == b"\0live\0")
            .unwrap();
        btf[at + 1] = b'L';
        assert_eq!(
            KernelLayout::parse(&btf).unwrap_err().to_string(),
            "the kernel structure signal_struct has no member `live`"
        );
    }

    #[test]
    fn understands_the_running_kernel() {
        if std::path::Path::new(BTF_PATH).exists() {
            KernelLayout::read().unwrap();
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = KernelLayout::parse(&bytes);
        }

        #[test]
        fn damaged_types_never_panic(
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..10),
        ) {
            let mut btf = sample();
            for (index, byte) in damage {
                let at = index.index(btf.len());
                btf[at] = byte;
            }
            let _ = KernelLayout::parse(&btf);
        }
    }
}
