//! Shared-memory hubs.

use std::fmt::{self, Write as _};
use std::io;

use super::cell::Bytes;
use super::layout::{Indent, Level, Options, paragraph, section};
use crate::count::{Count, Counted};
use crate::duration::{Age, Ago};
use crate::model::{
    Doorbell, Hub, HubContent, HubMessage, HubPeer, HubRing, HubState, PeerState, PoolOwner,
    ProcessState, Severity, SlotPool, SlotStatus, WaitingThread,
};

/// Messages of a ring that are listed, unless all are to be.
const SHOWN_MESSAGES: usize = 8;
/// Slots up to which every one has a character.
const FOLDED_SLOTS: usize = 4_096;
/// Slots in a line.
const LINE_SLOTS: usize = 64;

const HUB: Indent<'_> = Indent {
    first: "  ",
    next: "    ",
};
const PART: Indent<'_> = Indent {
    first: "    ",
    next: "      ",
};
const DETAIL: Indent<'_> = Indent {
    first: "      ",
    next: "        ",
};
const MESSAGE: Indent<'_> = Indent {
    first: "        ",
    next: "          ",
};

/// Writes the section of hubs, if there are any.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn hubs(out: &mut impl io::Write, options: &Options, hubs: &[Hub]) -> io::Result<()> {
    if hubs.is_empty() {
        return Ok(());
    }
    section(out, options, "SHARED-MEMORY HUBS")?;
    hubs.iter().try_for_each(|hub| render(out, options, hub))
}

/// Writes one hub.
///
/// # Errors
///
/// The error of the writer.
pub fn render(out: &mut impl io::Write, options: &Options, hub: &Hub) -> io::Result<()> {
    let mut text = hub.path.to_string();
    if hub.is_deleted {
        text.push_str(" (deleted)");
    }
    let state = match &hub.content {
        HubContent::Error(error) => {
            let text = format!("{text}: {error}");
            return paragraph(out, options, HUB, Level::Slow, &text);
        }
        HubContent::Content(state) => state,
    };
    text.push_str(&format!(
        ": version {}, {}",
        state.version,
        Bytes(state.file_bytes)
    ));
    if state.host_goodbye {
        text.push_str(", the host has said goodbye");
    }
    paragraph(out, options, HUB, Level::Plain, &text)?;
    for user in &hub.users {
        let text = format!("{}: {}", user.process, user.role);
        paragraph(out, options, PART, Level::Plain, &text)?;
    }
    for finding in &hub.findings {
        let (level, name) = match finding.severity {
            Severity::Warning => (Level::Slow, "warning"),
            Severity::Critical => (Level::Stuck, "critical"),
        };
        let text = format!("{name}: {}", finding.text);
        paragraph(out, options, PART, level, &text)?;
    }
    for gap in &state.gaps {
        let text = format!("incomplete: {gap}");
        paragraph(out, options, PART, Level::Slow, &text)?;
    }
    pools(out, options, state)?;
    state
        .peers
        .iter()
        .try_for_each(|peer| self::peer(out, options, peer))
}

fn pools(out: &mut impl io::Write, options: &Options, state: &HubState) -> io::Result<()> {
    let text = format!("slots: {}", Slots(state.slot_status()));
    paragraph(out, options, PART, Level::Plain, &text)?;
    for pool in &state.pools {
        // The pools of peers that are not there are free.
        let is_there = match pool.owner {
            PoolOwner::Host | PoolOwner::Class { .. } => true,
            PoolOwner::Peer { peer } => state.peers.iter().any(|there| there.peer == peer),
        };
        if !is_there && pool.allocated + pool.in_flight == 0 {
            continue;
        }
        let counts = Slots(pool.slot_status());
        let mut text = format!(
            "{} ({} each): {counts}",
            pool.owner,
            Bytes(pool.slot_bytes.into())
        );
        if let Some(listed) = pool.listed_free
            && listed != pool.free
        {
            let _ = write!(text, ", {} in its free lists", Count(listed));
        }
        if !pool.owners.is_empty() {
            let owners = pool.owners.iter().map(|owner| match owner.peer {
                0 => format!("host ({})", Count(owner.slots)),
                peer => format!("peer {peer} ({})", Count(owner.slots)),
            });
            let owners: Vec<_> = owners.collect();
            let _ = write!(text, "; held by {}", owners.join(", "));
        }
        paragraph(out, options, DETAIL, Level::Plain, &text)?;
        grid(out, pool)?;
    }
    Ok(())
}

/// Counts of slots.
struct Slots(SlotStatus);

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (total, free) = (Count(self.0.total), Count(self.0.free));
        let (allocated, in_flight) = (Count(self.0.allocated), Count(self.0.in_flight));
        write!(
            f,
            "{total} total, {free} free, {allocated} allocated, {in_flight} in flight"
        )?;
        match self.0.unread {
            0 => Ok(()),
            unread => write!(f, ", {} not read", Count(unread)),
        }
    }
}

/// The state of every slot, and who has it. Where there are many, a character stands for several.
fn grid(out: &mut impl io::Write, pool: &SlotPool) -> io::Result<()> {
    let Some(states) = &pool.states else {
        return Ok(());
    };
    let fold = states.len().div_ceil(FOLDED_SLOTS).max(1);
    if fold > 1 {
        writeln!(out, "        (each character: {fold} slots)")?;
    }
    let owners = pool.owner_digits.as_deref().unwrap_or_default();
    let states: Vec<_> = states.as_bytes().chunks(fold).map(worst).collect();
    let owners: Vec<_> = owners.as_bytes().chunks(fold).map(first_owner).collect();
    let mut owners = owners.chunks(LINE_SLOTS);
    for line in states.chunks(LINE_SLOTS) {
        writeln!(out, "        {}", line.escape_ascii())?;
        if let Some(owners) = owners.next() {
            writeln!(out, "        {}", owners.escape_ascii())?;
        }
    }
    Ok(())
}

/// The state of several slots: allocated if any is, else in flight if any is.
fn worst(states: &[u8]) -> u8 {
    let worst = b"AI".iter().find(|state| states.contains(state));
    worst.copied().unwrap_or(b'F')
}

/// The owner of the first of several slots that has one.
fn first_owner(owners: &[u8]) -> u8 {
    let first = owners.iter().find(|&&owner| owner != b'.');
    first.copied().unwrap_or(b'.')
}

fn peer(out: &mut impl io::Write, options: &Options, peer: &HubPeer) -> io::Result<()> {
    let mut text = format!("peer {}", peer.peer);
    if let Some(process) = &peer.process {
        let _ = write!(text, " {process}");
    }
    let _ = write!(text, ": {}, epoch {}", peer.state.name(), peer.epoch);
    match peer.process_state {
        Some(ProcessState::Stopped) => text.push_str(", process stopped"),
        Some(ProcessState::Dead) => text.push_str(", process dead"),
        Some(ProcessState::Alive) | None => {}
    }
    if let Some(age_us) = peer.heartbeat_age_us {
        let _ = write!(text, ", last heartbeat {}", Ago(age_us));
    }
    if peer.is_torn {
        text.push_str(", changed while it was read");
    }
    let level = match peer.state {
        PeerState::Unknown => Level::Slow,
        _ => Level::Plain,
    };
    paragraph(out, options, PART, level, &text)?;
    ring(out, options, "to host", &peer.to_host)?;
    ring(out, options, "to peer", &peer.to_peer)?;
    match &peer.doorbell {
        Some(doorbell) => {
            let text = self::doorbell(doorbell);
            paragraph(out, options, DETAIL, Level::Plain, &text)
        }
        None => Ok(()),
    }
}

fn ring(out: &mut impl io::Write, options: &Options, name: &str, ring: &HubRing) -> io::Result<()> {
    let HubRing {
        head,
        tail,
        len,
        capacity,
        ..
    } = ring;
    let mut text = format!("{name}: head={head} tail={tail} len={len}/{capacity}");
    let mut level = Level::Plain;
    if ring.is_invalid {
        text.push_str(", invalid: more messages than there is room for");
        level = Level::Slow;
    }
    paragraph(out, options, DETAIL, level, &text)?;
    let shown = |messages: usize| match options.is_full {
        true => messages,
        false => messages.min(SHOWN_MESSAGES),
    };
    let history = ring.history.iter().map(|message| ("read", message));
    let unread = &ring.unread[..shown(ring.unread.len())];
    let unread = unread.iter().map(|message| ("unread", message));
    for (name, message) in history.chain(unread) {
        let text = format!("{name} {}", self::message(message));
        paragraph(out, options, MESSAGE, Level::Plain, &text)?;
    }
    match (*len as usize).saturating_sub(shown(ring.unread.len())) {
        more if more > 0 && !ring.is_invalid => {
            let text = format!("{} unread", Counted(more as u64, "more messages"));
            paragraph(out, options, MESSAGE, Level::Plain, &text)
        }
        _ => Ok(()),
    }
}

fn message(message: &HubMessage) -> String {
    let mut text = format!("{}: {} id={}", message.position, message.kind, message.id);
    match (&message.method, message.method_id) {
        (Some(method), _) => drop(write!(text, " {method}")),
        (None, Some(id)) => drop(write!(text, " method_id={id:#018x}")),
        (None, None) => {}
    }
    let _ = write!(text, ", {}", Bytes(message.payload_bytes.into()));
    if let Some(slot) = message.slot {
        let _ = write!(
            text,
            " in slot {}, generation {}",
            slot.slot, slot.generation
        );
        if slot.is_stale {
            text.push_str(" (reused or freed)");
        }
    }
    if let Some(age_us) = message.age_us {
        let _ = write!(text, ", request started {} ago", Age(age_us));
    }
    text
}

fn doorbell(doorbell: &Doorbell) -> String {
    let signal = |is_signalled| match is_signalled {
        true => "signal pending",
        false => "no signal",
    };
    let host = match doorbell.host_is_signalled {
        Some(is_signalled) => signal(is_signalled),
        None => "closed",
    };
    let peer = signal(doorbell.peer_is_signalled);
    let mut text = format!("doorbell: for the host: {host}; for the peer: {peer}");
    for (who, thread) in [
        ("host", &doorbell.host_waits_in),
        ("peer", &doorbell.peer_waits_in),
    ] {
        if let Some(WaitingThread { tid, name }) = thread {
            let _ = write!(text, "; thread {tid} ({name}) of the {who} waits for it");
        }
    }
    text
}
