//! The USDT probes: one small function for each event, so that a program has one site
//! for each probe. Never decides whether an event is worth reporting.
//!
//! A site is a one-byte nop and a ten-byte nop; the note points at the first.
//! Linux 6.18 replaces a bare five-byte nop by a call that overwrites the red
//! zone, hence the two nops and no `nostack`. The arguments stay in the
//! registers of the C calling convention, where every tracer finds them; the
//! seventh, for which x86-64 has none, in `rax`.
#![allow(unsafe_code)]

/// Bytes at every x86-64 probe site.
pub const SITE_X86_64: [u8; 11] = [
    0x90, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00,
];

/// Declares the probe functions. Registers are given as x86-64, AArch64 pairs.
macro_rules! probes {
    ($($(#[$meta:meta])* $name:ident($($argument:ident: $x86:tt $arm:tt),*);)*) => {$(
        $(#[$meta])*
        #[inline(never)]
        #[cfg_attr(
            not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))),
            allow(unused_variables)
        )]
        pub fn $name($($argument: u64),*) {
            if cfg!(miri) {
                // It interprets no machine code, and a probe that nobody attached to does nothing.
                return;
            }
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            // SAFETY: two nops; what they are replaced by while a tracer is attached keeps
            // every register, and the block may use the stack because it is not `nostack`.
            unsafe {
                core::arch::asm!(
                    "990: nop",
                    ".byte 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00",
                    note!($name, concat!($("8@%", $x86, " "),*)),
                    $(in($x86) $argument,)*
                    options(preserves_flags),
                )
            }
            #[cfg(all(target_os = "linux", target_arch = "aarch64"))]
            // SAFETY: one nop, as above.
            unsafe {
                core::arch::asm!(
                    "990: nop",
                    note!($name, concat!($("8@", $arm, " "),*)),
                    $(in($arm) $argument,)*
                    options(preserves_flags),
                )
            }
        }
    )*};
}

/// The `.note.stapsdt` entry of the site at label 990, and the base section that
/// tools use to notice that addresses moved. `R` keeps linkers from dropping it.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
macro_rules! note {
    ($name:ident, $arguments:expr) => {
        concat!(
            ".pushsection .note.stapsdt, \"\", %note\n",
            ".balign 4\n",
            ".4byte 992f - 991f, 994f - 993f, 3\n",
            "991: .asciz \"stapsdt\"\n",
            "992: .balign 4\n",
            "993: .8byte 990b\n",
            ".8byte _.stapsdt.base\n",
            ".8byte 0\n",
            ".asciz \"roam\"\n",
            ".asciz \"",
            stringify!($name),
            "\"\n.ascii \"",
            $arguments,
            "\"\n.byte 0\n",
            "994: .balign 4\n",
            ".popsection\n",
            ".ifndef _.stapsdt.base\n",
            ".pushsection .stapsdt.base, \"aGR\", %progbits, .stapsdt.base, comdat\n",
            ".weak _.stapsdt.base\n",
            ".hidden _.stapsdt.base\n",
            "_.stapsdt.base: .space 1\n",
            ".size _.stapsdt.base, 1\n",
            ".popsection\n",
            ".endif\n",
        )
    };
}

probes! {
    /// Fires when a request starts, in the caller and in the callee.
    request_start(serial: "rdi" "x0", connection: "rsi" "x1", request_id: "rdx" "x2", method_id: "rcx" "x3", packed: "r8" "x4", request_bytes: "r9" "x5", parent: "rax" "x6");
    /// Fires when a request reaches a phase or gets a mark.
    request_phase(serial: "rdi" "x0", phase: "rsi" "x1", mark: "rdx" "x2", response_bytes: "rcx" "x3");
    /// Fires when a request ends.
    request_end(serial: "rdi" "x0", outcome: "rsi" "x1", response_bytes: "rdx" "x2");
    /// Fires when a channel is opened.
    channel_open(serial: "rdi" "x0", connection: "rsi" "x1", channel_id: "rdx" "x2", request: "rcx" "x3", packed: "r8" "x4", receive_budget_bytes: "r9" "x5");
    /// Fires when an item is sent or received.
    channel_data(serial: "rdi" "x0", direction: "rsi" "x1", payload_bytes: "rdx" "x2", receive_budget_bytes: "rcx" "x3");
    /// Fires when a channel is closed.
    channel_close(serial: "rdi" "x0");
    /// Fires when a connection is opened.
    connection_open(serial: "rdi" "x0", link: "rsi" "x1", conn_id: "rdx" "x2", role: "rcx" "x3");
    /// Fires when a connection is closed.
    connection_close(serial: "rdi" "x0");
}
