//! The kernel side of roam-trace: one program per probe, and for traced and for armed
//! processes two each that notice when one executes another program or ends.
//!
//! Owns the maps and every write the kernel does to them. Never decides what is
//! shown, and never touches the traced process.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod armed;
mod channel;
mod connection;
mod live;
mod maps;
mod process;
mod request;

/// The kernel checks this before it lends a program helpers that are for GPL programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
