//! From the bytes of a shared-memory hub to a printed section: with any bytes it ends and prints no terminal escapes.
#![no_main]

use std::io;

use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use roam_dump::explain_hubs;
use roam_dump::model::{Hub, HubContent};
use roam_dump::render::{hub, text};
use roam_dump::shm::{HubBudget, HubDetail, join, read_hub};
use roam_trace_fuzz::region::Shifting;

const DETAIL: HubDetail = HubDetail {
    slots: true,
    history: 8,
};

fuzz_target!(|input: &[u8]| {
    let memory = Shifting::hub(input);
    let mut hubs = [(); 2].map(|()| {
        let content = match read_hub(&memory, DETAIL, &mut HubBudget::default(), 1 << 60) {
            Ok(state) => HubContent::Content(Box::new(state)),
            Err(error) => HubContent::Error(error.to_string().into()),
        };
        vec![Hub {
            path: "hostile".into(),
            is_deleted: false,
            file: None,
            users: Vec::new(),
            findings: Vec::new(),
            content,
        }]
    });
    let [before, after] = &mut hubs;
    explain_hubs(before, after);
    join(after, &[]);
    if let Some(state) = after[0].state() {
        for pool in &state.pools {
            let known = pool.free + pool.allocated + pool.in_flight + pool.unread;
            assert_eq!(known, pool.total);
        }
        let room = input.len() / 64;
        for peer in &state.peers {
            assert!(peer.to_host.unread.len() <= room && peer.to_peer.unread.len() <= room);
        }
    }
    let options = text::Options {
        time_zone: TimeZone::UTC,
        ..text::Options::plain()
    };
    let mut printed = Vec::new();
    hub::render(&mut printed, &options, &after[0]).unwrap();
    let printed = String::from_utf8(printed).unwrap();
    let steers = |character: char| character != '\n' && character.is_control();
    assert!(!printed.contains(steers), "{printed:?}");
    serde_json::to_writer(io::sink(), &after[0]).unwrap();
});
