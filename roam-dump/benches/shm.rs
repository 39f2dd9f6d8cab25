//! How long it takes to read a hub, and what that costs a host and a guest that exchange messages meanwhile. Asserts
//! nothing; `cargo xtask bench shm` runs it.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use roam_dump::shm::{HubBudget, HubDetail, read_hub};
use roam_shm::{Frame, MsgDesc, Payload, SegmentConfig, ShmGuest, ShmHost, msg_type};

const RUNS: usize = 21;
const PEERS: u32 = 16;
/// With the host's pool, 65,536 slots.
const SLOTS_PER_PEER: u32 = 65_536 / (PEERS + 1) + 1;
/// How often a hub is read while messages are exchanged.
const INTERVAL: Duration = Duration::from_millis(100);
const PAIRS: usize = 10;
const ROUND: Duration = Duration::from_secs(1);

fn config(slots_per_guest: u32) -> SegmentConfig {
    SegmentConfig {
        max_guests: PEERS,
        slots_per_guest,
        slot_size: 256,
        max_payload_size: 252,
        ..SegmentConfig::default()
    }
}

fn frame(payload_bytes: usize) -> Frame {
    let mut desc = MsgDesc::new(msg_type::REQUEST, 1, 1);
    desc.payload_len = payload_bytes as u32;
    Frame {
        desc,
        payload: Payload::Owned(vec![7; payload_bytes]),
    }
}

fn read(path: &Path) -> usize {
    let file = File::open(path).unwrap();
    let detail = HubDetail::default();
    let state = read_hub(&file, detail, &mut HubBudget::default(), 0).unwrap();
    assert!(state.gaps.is_empty(), "{:?}", state.gaps);
    let peers = state.peers.iter();
    peers
        .map(|peer| peer.to_host.unread.len() + peer.to_peer.unread.len())
        .sum()
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hub");
    reading(&path);
    throughput(&path);
}

/// A hub whose rings are full.
fn reading(path: &Path) {
    let mut host = ShmHost::create(path, config(SLOTS_PER_PEER)).unwrap();
    let mut guests: Vec<_> = (0..PEERS)
        .map(|_| ShmGuest::attach_path(path).unwrap())
        .collect();
    for guest in &mut guests {
        while guest.send(frame(100)).is_ok() {}
        while host.send(guest.peer_id(), frame(100)).is_ok() {}
    }
    let messages = read(path);
    let mut times: Vec<_> = (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(read(path), messages);
            began.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "{PEERS} peers, {} slots, {messages} unread messages: median {:.1} ms, longest {:.1} ms",
        (PEERS + 1) * SLOTS_PER_PEER,
        times[RUNS / 2].as_secs_f64() * 1e3,
        times[RUNS - 1].as_secs_f64() * 1e3
    );
}

/// Round trips of a host and a guest, while the hub is read and while it is not, in turns.
fn throughput(path: &Path) {
    let mut host = ShmHost::create(path, config(SLOTS_PER_PEER)).unwrap();
    let mut guest = ShmGuest::attach_path(path).unwrap();
    let is_read = AtomicBool::new(false);
    let is_over = AtomicBool::new(false);
    let mut ratios: Vec<f64> = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if is_read.load(Ordering::Relaxed) {
                    read(path);
                }
                thread::sleep(INTERVAL);
            }
        });
        let mut round = |read: bool| {
            is_read.store(read, Ordering::Relaxed);
            let began = Instant::now();
            let mut trips = 0_u32;
            while began.elapsed() < ROUND {
                for _ in 0..100 {
                    guest.send(frame(100)).unwrap();
                    assert_eq!(host.poll().messages.len(), 1);
                    host.send(guest.peer_id(), frame(100)).unwrap();
                    guest.recv().unwrap();
                    trips += 1;
                }
            }
            f64::from(trips) / began.elapsed().as_secs_f64()
        };
        let ratios = (0..PAIRS).map(|pair| match pair % 2 {
            0 => round(true) / round(false),
            _ => {
                let without = round(false);
                round(true) / without
            }
        });
        let ratios = ratios.collect();
        is_over.store(true, Ordering::Relaxed);
        ratios
    });
    ratios.sort_by(f64::total_cmp);
    println!(
        "throughput while the hub is read every {INTERVAL:?}: median {:.1}% of that without ({PAIRS} pairs, {:.1}% to {:.1}%)",
        ratios[PAIRS / 2] * 100.0,
        ratios[0] * 100.0,
        ratios[PAIRS - 1] * 100.0
    );
}
