//! The arguments string of a probe's note: taken as it is if it is printable, an error otherwise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roam_trace::elf::{ElfError, probe_sites};
use roam_trace_fuzz::elf;

fuzz_target!(|arguments: &[u8]| {
    let mut strings = b"roam\0request_end\0".to_vec();
    strings.extend(arguments);
    let file = elf::with_note(&strings);
    let expected = arguments
        .split(|&byte| byte == 0)
        .next()
        .unwrap_or_default();
    match probe_sites(file.as_slice()) {
        Ok(sites) => {
            assert_eq!(sites.len(), 1);
            assert_eq!(sites[0].name, "request_end");
            assert_eq!(sites[0].arguments.as_bytes(), expected);
            assert!(expected.iter().all(|byte| (0x20..0x7f).contains(byte)));
        }
        Err(ElfError::Note { .. }) => {
            assert!(!expected.iter().all(|byte| (0x20..0x7f).contains(byte)));
        }
        // A note that long is more than is read of any file.
        Err(error) => assert!(arguments.len() > 1 << 20, "{error}"),
    }
});
