//! Shared-memory hubs: of this process, and in files of all sorts.

use std::fs::{self, File};
use std::path::Path;
use std::process;

use roam_shm::{Frame, MsgDesc, Payload, SegmentConfig, ShmGuest, ShmHost, msg_type};
use serde_json::Value;
use tempfile::TempDir;

use crate::run::{Run, roam_trace};
use crate::schema;

/// A hub in a file, with two messages to its guest.
struct Hub {
    directory: TempDir,
    _host: ShmHost,
    _guest: ShmGuest,
}

impl Hub {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = SegmentConfig {
            max_guests: 2,
            ring_size: 8,
            slot_size: 64,
            slots_per_guest: 4,
            max_payload_size: 60,
            ..SegmentConfig::default()
        };
        let mut host = ShmHost::create(directory.path().join("hub"), config).unwrap();
        let guest = ShmGuest::attach_path(directory.path().join("hub")).unwrap();
        for (id, payload_bytes) in [(1, 5), (2, 40)] {
            let mut desc = MsgDesc::new(msg_type::REQUEST, id, 0x1234);
            desc.payload_len = payload_bytes;
            let payload = Payload::Owned(vec![7; payload_bytes as usize]);
            host.send(guest.peer_id(), Frame { desc, payload }).unwrap();
        }
        Self {
            directory,
            _host: host,
            _guest: guest,
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// What was printed, without what is different in every run.
    fn redacted(&self, text: &str) -> String {
        text.replace(&self.path(""), "DIRECTORY/")
    }
}

#[test]
fn a_hub_in_a_file() {
    let hub = Hub::new();
    let run = roam_trace(&["shm", &hub.path("hub"), "--slots", "--history=3"]);
    assert_eq!((run.status, &*run.stderr), (0, ""));
    insta::assert_snapshot!(hub.redacted(&run.stdout));
    let run = roam_trace(&["shm", &hub.path("hub"), "--slots", "--json"]);
    schema::check(&schema::schema("shm"), &run.stdout);
}

#[test]
fn the_hubs_of_a_process() {
    let [hub, deleted] = [Hub::new(), Hub::new()];
    fs::remove_file(deleted.path("hub")).unwrap();
    let run = roam_trace(&["shm", "-p", &process::id().to_string(), "--json"]);
    assert_eq!((run.status, &*run.stderr), (0, ""));
    let shown: Value = serde_json::from_str(&run.stdout).unwrap();
    let shown = shown["hubs"].as_array().unwrap();
    for (hub, is_deleted) in [(&hub, false), (&deleted, true)] {
        let path = hub.path("hub");
        let mut hubs = shown.iter().filter(|shown| shown["path"] == *path);
        let shown = hubs.next().unwrap();
        assert!(hubs.next().is_none(), "{shown:#}");
        assert_eq!(shown["is_deleted"], is_deleted);
        assert_eq!(shown["users"][0]["pid"], process::id());
        assert_eq!(shown["users"][0]["role"], "unknown");
        assert_eq!(shown["content"]["peers"][0]["to_peer"]["len"], 2);
        // Nobody reads them, and nothing shows who should.
        assert_eq!(shown["findings"][0]["finding"], "not_read");
    }
}

/// Nothing on stdout, one line on stderr.
fn check(hub: &Hub, run: &Run, expected: &str) {
    assert_eq!((run.status, &*run.stdout), (1, ""));
    let line = hub.redacted(&run.stderr);
    assert_eq!(line, format!("roam-trace: {expected}\n"));
}

#[test]
fn files_that_are_no_hubs() {
    let hub = Hub::new();
    let check_file = |name: &str, expected: &str| {
        let run = roam_trace(&["shm", &hub.path(name)]);
        check(
            &hub,
            &run,
            &format!("cannot read DIRECTORY/{name}: {expected}"),
        );
    };
    let whole = fs::read(hub.path("hub")).unwrap();
    check_file("missing", "No such file or directory (os error 2)");
    check_file("", "it is no regular file");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        hub.path("fifo"),
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .unwrap();
    check_file("fifo", "it is no regular file");
    File::create(hub.path("empty")).unwrap();
    let no_hub = "the file is no hub of roam-shm: it does not start with \"RAPAHUB\\x01\"";
    check_file("empty", no_hub);
    fs::write(hub.path("text"), "text").unwrap();
    check_file("text", no_hub);
    fs::write(hub.path("short"), &whole[..100]).unwrap();
    let claimed = whole.len();
    check_file(
        "short",
        &format!("the file is truncated: it has 100 bytes, and the hub claims {claimed}"),
    );
    let mut newer = whole.clone();
    newer[8] = 2;
    fs::write(hub.path("newer"), newer).unwrap();
    check_file(
        "newer",
        "the hub has version 2, and this reader has version 1",
    );
    let device = roam_trace(&["shm", "/dev/zero"]);
    check(
        &hub,
        &device,
        "cannot read /dev/zero: it is no regular file",
    );
}

#[test]
fn a_process_without_a_hub() {
    let hub = Hub::new();
    let mut sleep = process::Command::new("sleep").arg("1000").spawn().unwrap();
    let run = roam_trace(&["shm", "-p", &sleep.id().to_string()]);
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    check(&hub, &run, "no shared-memory hub of roam-shm is mapped");
    assert!(Path::new(&hub.path("hub")).exists());
}
