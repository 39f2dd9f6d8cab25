//! The probe sites of an arbitrary file.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use roam_trace::elf::{file_probe_sites, probe_sites};
use roam_trace_common::event::PROVIDER;

fuzz_target!(|file: &[u8]| {
    let sites = file_probe_sites(Cursor::new(file));
    // Memory is read more strictly than a file: tables must be aligned in it, even empty ones inside of it.
    if let Ok(in_memory) = probe_sites(file) {
        assert_eq!(sites.as_ref(), Ok(&in_memory));
    }
    for site in sites.into_iter().flatten() {
        assert_eq!(site.provider, PROVIDER);
        // Attaching writes a breakpoint there: it must be a nop.
        assert!(matches!(file[site.file_offset as usize], 0x90 | 0x1f));
        for text in [&site.name, &site.arguments] {
            assert!(
                text.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{text:?}"
            );
        }
    }
});
