//! Hubs that the published roam-shm made, and hubs that nobody made.

mod findings;
mod hostile;
mod layout;
mod published;
mod text;

use std::fs::File;

use roam_dump::model::HubState;
use roam_dump::read::RegionMemory;
use roam_dump::shm::{HubBudget, HubDetail, HubError, read_hub};
use roam_shm::{Frame, MsgDesc, Payload, SegmentConfig, ShmGuest, ShmHost, msg_type};
use tempfile::TempDir;

/// The time of every reading, in nanoseconds since 1970.
const NOW_NS: u64 = 1 << 62;

/// A hub in a file of its own.
struct Hub {
    host: ShmHost,
    directory: TempDir,
}

impl Hub {
    fn new(config: SegmentConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let host = ShmHost::create(directory.path().join("hub"), config).unwrap();
        Self { host, directory }
    }

    fn file(&self) -> File {
        File::open(self.directory.path().join("hub")).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.directory.path().join("hub")).unwrap()
    }

    fn attach(&self) -> ShmGuest {
        ShmGuest::attach_path(self.directory.path().join("hub")).unwrap()
    }

    fn read(&self) -> HubState {
        read(&self.file()).unwrap()
    }
}

/// A small hub: two peers, rings of eight, pools of four slots.
fn small() -> SegmentConfig {
    SegmentConfig {
        max_guests: 2,
        ring_size: 8,
        slot_size: 64,
        slots_per_guest: 4,
        max_payload_size: 60,
        max_channels: 4,
        ..SegmentConfig::default()
    }
}

fn read<M: RegionMemory + ?Sized>(memory: &M) -> Result<HubState, HubError> {
    read_with(memory, HubDetail::default())
}

fn read_with<M: RegionMemory + ?Sized>(
    memory: &M,
    detail: HubDetail,
) -> Result<HubState, HubError> {
    read_hub(memory, detail, &mut HubBudget::default(), NOW_NS)
}

/// A request whose payload takes a slot if it has more than 32 bytes.
fn request(id: u32, payload_bytes: usize) -> Frame {
    let mut desc = MsgDesc::new(msg_type::REQUEST, id, 0x1234_5678_9abc_def0);
    desc.payload_len = payload_bytes as u32;
    Frame {
        desc,
        payload: Payload::Owned(vec![7; payload_bytes]),
    }
}
