//! What was found about a hub, in words.

use std::sync::Arc;

use crate::count::{Count, Counted};
use crate::duration::Age;
use crate::model::{
    Hub, HubDirection, HubFinding, HubFindingKind, HubPeer, HubRole, HubState, HubUser, PoolOwner,
    ProcessState, Severity,
};

/// A fact about a hub as a sentence.
pub(crate) fn hub_finding(
    state: &HubState,
    kind: HubFindingKind,
    severity: Severity,
) -> HubFinding {
    let text = text(state, &kind).into();
    HubFinding {
        kind,
        severity,
        text,
    }
}

/// What a process does not read of hubs, if there is anything.
pub(super) fn not_read(hubs: &[Hub], pid: u32) -> Option<Arc<str>> {
    hubs.iter().find_map(|hub| {
        let is_host = |user: &HubUser| user.role == HubRole::Host && user.process.pid == pid;
        let is_host = hub.users.iter().any(is_host);
        let is_peer = |number: u8| {
            let mut peers = hub.state()?.peers.iter();
            let peer = peers.find(|peer| peer.peer == number)?;
            Some(peer.process.as_ref()?.pid == pid)
        };
        let is_reader = |finding: &&HubFinding| match finding.kind {
            HubFindingKind::MissedWakeUp {
                peer, direction, ..
            }
            | HubFindingKind::NotDrained {
                peer, direction, ..
            }
            | HubFindingKind::NotRead {
                peer, direction, ..
            } => match direction {
                HubDirection::ToHost => is_host,
                HubDirection::ToPeer => is_peer(peer) == Some(true),
            },
            _ => false,
        };
        let finding = hub.findings.iter().find(is_reader)?;
        Some(Arc::clone(&finding.text))
    })
}

fn text(state: &HubState, kind: &HubFindingKind) -> String {
    let peer_of = |number: u8| state.peers.iter().find(|peer| peer.peer == number);
    let name = |number: u8| match peer_of(number).and_then(|peer| peer.process.as_ref()) {
        Some(process) => format!("peer {number} ({process})"),
        None => format!("peer {number}"),
    };
    let to = |peer: u8, direction| match direction {
        HubDirection::ToHost => format!("from {} to the host", name(peer)),
        HubDirection::ToPeer => format!("to {}", name(peer)),
    };
    let unread = |peer, direction, messages: u32| {
        let verb = if messages == 1 { "lies" } else { "lie" };
        let messages = Counted(messages.into(), "messages");
        format!("{messages} {} {verb} unread", to(peer, direction))
    };
    match *kind {
        HubFindingKind::MissedWakeUp {
            peer,
            direction,
            messages,
        } => format!(
            "missed wake-up: {}, no signal is in the doorbell, and {} waits for one (or for room in a full channel)",
            unread(peer, direction, messages),
            reader(peer_of(peer), direction)
        ),
        HubFindingKind::NotDrained {
            peer,
            direction,
            messages,
        } => format!(
            "{}, and a signal waits in the doorbell: {}",
            unread(peer, direction, messages),
            match (direction, peer_of(peer).and_then(|peer| peer.process_state)) {
                (HubDirection::ToPeer, Some(ProcessState::Stopped)) =>
                    "the process is stopped by a signal or a debugger",
                _ => "the driver of its reader does not run",
            }
        ),
        HubFindingKind::NotRead {
            peer,
            direction,
            messages,
        } => format!(
            "{}: their reader has taken the signal and does not read, or its doorbell is not known",
            unread(peer, direction, messages)
        ),
        HubFindingKind::PeerDead {
            peer,
            host_slots,
            peer_slots,
        } => format!(
            "{} is attached, but its process is dead; nobody frees {} of the host in messages to it and {} of its own",
            name(peer),
            Counted(host_slots, "slots"),
            Count(peer_slots)
        ),
        HubFindingKind::SlotsLeaked { pool, slots } => format!(
            "{} of {} stay allocated, and no message names them: leaked",
            Counted(slots, "slots"),
            pool_name(pool)
        ),
        HubFindingKind::PoolNearFull { pool, used, total } => format!(
            "slots of {} {}: {} of {} in use",
            pool_name(pool),
            if used == total {
                "exhausted"
            } else {
                "nearly exhausted"
            },
            Count(used),
            Count(total)
        ),
        HubFindingKind::RingNearFull {
            peer,
            direction,
            used,
            capacity,
        } => format!(
            "ring {} {}: {} of {} messages",
            to(peer, direction),
            if used >= capacity {
                "full"
            } else {
                "nearly full"
            },
            Count(used.into()),
            Count(capacity.into())
        ),
        HubFindingKind::CounterOverflow { peer, direction } => format!(
            "the ring {} has carried 2^32 messages, and roam-shm 0.6.0 moves no further one",
            to(peer, direction)
        ),
        HubFindingKind::HeartbeatStale { peer, age_us } => {
            format!("{}: no heartbeat for {}", name(peer), Age(age_us))
        }
        HubFindingKind::HostGoodbye => {
            "the host has said goodbye: guests send and receive nothing more".to_owned()
        }
    }
}

/// Who waits for a signal.
fn reader(peer: Option<&HubPeer>, direction: HubDirection) -> String {
    let doorbell = peer.and_then(|peer| peer.doorbell.as_ref());
    let thread = doorbell.and_then(|doorbell| match direction {
        HubDirection::ToHost => doorbell.host_waits_in.as_ref(),
        HubDirection::ToPeer => doorbell.peer_waits_in.as_ref(),
    });
    match thread {
        Some(thread) => format!("thread {} ({}) of the reader", thread.tid, thread.name),
        None => "the reader".to_owned(),
    }
}

fn pool_name(pool: PoolOwner) -> String {
    match pool {
        PoolOwner::Host => "the host".to_owned(),
        PoolOwner::Peer { peer } => format!("peer {peer}"),
        PoolOwner::Class { class } => format!("size class {class}"),
    }
}
