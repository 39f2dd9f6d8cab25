//! The committed kernel programs of both architectures, compared instruction by instruction.
//!
//! Those of x86-64 are tried on real kernels by other tests. This one shows that those of AArch64 are
//! the same programs, except that they find a probe's arguments in that architecture's registers.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;

use aya_obj::Object;
use aya_obj::generated::bpf_insn;
use libc::user_regs_struct;
use roam_trace_common::event::PROBES;

const X86_64: &[u8] = include_bytes!("../ebpf/roam-trace.x86_64.o");
const AARCH64: &[u8] = include_bytes!("../ebpf/roam-trace.aarch64.o");

/// Where the kernel keeps the registers that the C calling conventions pass arguments in: `rdi`, `rsi`,
/// `rdx`, `rcx`, `r8`, `r9` of x86-64's `struct pt_regs`, and `rax` for the seventh argument; `x0` to `x6` of AArch64's `struct user_pt_regs`
/// (`asm/ptrace.h` of each). The C library's `struct user_regs_struct` begins as both do.
const ARGUMENTS: [(i16, i16); 7] = [
    (112, 0),
    (104, 8),
    (96, 16),
    (88, 24),
    (72, 32),
    (64, 40),
    (80, 48),
];

/// `BPF_LDX | BPF_MEM | BPF_DW`.
const LOAD_WORD: u8 = 0x79;

/// The arguments that the program of each probe reads.
const READ: [(&str, &[usize]); 8] = [
    ("request_start", &[0, 1, 2, 3, 4, 5, 6]),
    ("request_phase", &[0, 1, 2, 3]),
    ("request_end", &[0, 1, 2]),
    ("channel_open", &[0, 1, 2, 3, 4, 5]),
    ("channel_data", &[0, 1, 2, 3]),
    ("channel_close", &[0]),
    ("connection_open", &[0, 1, 2, 3]),
    ("connection_close", &[0]),
];

/// The functions of an object by their names.
fn functions(object: &[u8]) -> BTreeMap<String, Vec<bpf_insn>> {
    let object = Object::parse(object).unwrap();
    object
        .functions
        .into_values()
        .map(|function| (function.name, function.instructions))
        .collect()
}

/// Two instructions that do the same. If they read an argument, each as its architecture has it, which.
fn compare(x86_64: &bpf_insn, aarch64: &bpf_insn) -> Option<usize> {
    let rest = |instruction: &bpf_insn| {
        let &bpf_insn { code, imm, .. } = instruction;
        (code, instruction.dst_reg(), instruction.src_reg(), imm)
    };
    assert_eq!(rest(x86_64), rest(aarch64));
    if x86_64.off == aarch64.off {
        return None;
    }
    assert_eq!(x86_64.code, LOAD_WORD);
    let both = (x86_64.off, aarch64.off);
    let argument = ARGUMENTS.iter().position(|offsets| *offsets == both);
    assert!(argument.is_some(), "{both:?} are not the same argument");
    argument
}

#[test]
fn aarch64_differs_in_where_the_arguments_are_and_in_nothing_else() {
    let (x86_64, aarch64) = (functions(X86_64), functions(AARCH64));
    let names = |functions: &BTreeMap<String, _>| functions.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&x86_64), names(&aarch64));
    for probe in PROBES {
        assert!(x86_64.contains_key(probe), "{probe}");
    }
    for (name, instructions) in &x86_64 {
        let others = &aarch64[name];
        assert_eq!(instructions.len(), others.len(), "{name}");
        let read: BTreeSet<usize> = instructions
            .iter()
            .zip(others)
            .filter_map(|(x86_64, aarch64)| compare(x86_64, aarch64))
            .collect();
        let expected = READ.iter().find(|(probe, _)| probe == name);
        let expected = expected.map_or(&[][..], |(_, arguments)| arguments);
        assert_eq!(read.into_iter().collect::<Vec<_>>(), expected, "{name}");
    }
}

/// Debug information holds lines of whatever sources are installed where it was built.
#[test]
fn there_is_no_debug_information() {
    for object in [X86_64, AARCH64] {
        for section in [".BTF", ".debug"] {
            let mut bytes = object.windows(section.len());
            assert!(!bytes.any(|bytes| bytes == section.as_bytes()), "{section}");
        }
    }
}

/// Run on either architecture, it shows that one's half of the table.
#[test]
fn arguments_are_where_the_c_library_has_this_architectures_registers() {
    #[cfg(target_arch = "x86_64")]
    let (ours, theirs) = (
        ARGUMENTS.map(|(x86_64, _)| x86_64),
        [
            offset_of!(user_regs_struct, rdi),
            offset_of!(user_regs_struct, rsi),
            offset_of!(user_regs_struct, rdx),
            offset_of!(user_regs_struct, rcx),
            offset_of!(user_regs_struct, r8),
            offset_of!(user_regs_struct, r9),
            offset_of!(user_regs_struct, rax),
        ],
    );
    #[cfg(target_arch = "aarch64")]
    let (ours, theirs) = (
        ARGUMENTS.map(|(_, aarch64)| aarch64),
        std::array::from_fn(|number| {
            offset_of!(user_regs_struct, regs) + number * size_of::<u64>()
        }),
    );
    assert_eq!(ours.map(|offset| offset as usize), theirs);
}
