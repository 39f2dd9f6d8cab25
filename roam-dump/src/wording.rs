//! What the analysis found, in English: only this file and its folder have words for it.

mod hub;
mod measure;
mod process;

use std::sync::Arc;

use foldhash::HashMap;
use roam_trace_common::event::Direction;

use crate::analysis::{
    CallReason, Cause, ChannelReader, ChannelReason, Contradiction, Cycle, DriverActivity,
    DriverStall, Facts, HandlerReason, Heard, HeldUp, MadeCalls, Measure, PairingBasis, PairingId,
    Peer, PeerIdentity, ProcessFacts, Queue, Reason, RingCause, RingStall, RowId, Via, WaitBasis,
};
use crate::count::Counted;
use crate::duration::{Age, Ago};
use crate::model::{
    Basis, Code, Evidence, FindingKind, Hub, HubDirection, Process, ProcessFinding, ProcessState,
    Request, Severity, Snapshot, Verdict,
};
pub(crate) use hub::hub_finding;
pub(crate) use process::pile;

/// English for findings, and the names that it takes.
pub(crate) struct Wording<'a> {
    snapshots: &'a [Snapshot],
    processes: HashMap<u32, &'a ProcessFacts>,
    pairings: Vec<Arc<str>>,
    hubs: &'a [Hub],
}

impl<'a> Wording<'a> {
    pub(crate) fn new(
        snapshots: &'a [Snapshot],
        facts: &'a Facts,
        pairings: &[PairingBasis],
    ) -> Self {
        let processes = facts.processes.iter();
        Self {
            snapshots,
            processes: processes.map(|facts| (facts.process.pid, facts)).collect(),
            pairings: pairings.iter().map(|basis| pairing(basis).into()).collect(),
            hubs: &facts.hubs,
        }
    }

    /// A cause as rows show it. Evidence in words stands first, and what the age was compared with stands last.
    pub(crate) fn verdict(&self, cause: &Cause, measure: Option<Measure>) -> Verdict {
        let mut text = self.text(&cause.reason);
        if let Some(measure) = measure {
            text = format!("{text}; {}", measure::text(&measure, self.snapshots));
        }
        let missing = self.missing(&cause.reason);
        let missing = missing.map(|text| Evidence::Missing { text: text.into() });
        let in_words = missing.or_else(|| self.pairing_of(&cause.reason));
        let evidence = match (in_words, measure) {
            (None, None) => cause.evidence.clone(),
            (in_words, measure) => in_words
                .into_iter()
                .chain(cause.evidence.iter().cloned())
                .chain(measure.map(|measure| measure::evidence(&measure, self.snapshots)))
                .collect(),
        };
        Verdict {
            index: 0,
            code: cause.code,
            text: text.into(),
            evidence,
        }
    }

    /// The verdict of a request that is in a cycle, or may be. The wait graph shows the cycle.
    pub(crate) fn in_cycle(&self, cycle: &Cycle, verdict: &Verdict) -> Verdict {
        let evidence = Evidence::Cycle {
            processes: cycle.processes.clone(),
            is_certain: cycle.is_certain,
        };
        let (code, text) = if cycle.is_certain {
            (Code::Deadlock, verdict.text.clone())
        } else {
            let text = format!("{}; in a possible cycle of the wait graph", verdict.text);
            (verdict.code, text.into())
        };
        Verdict {
            index: 0,
            code,
            text,
            evidence: verdict.evidence.iter().cloned().chain([evidence]).collect(),
        }
    }

    /// A fact about a whole process.
    pub(crate) fn finding(&self, kind: FindingKind, severity: Severity) -> ProcessFinding {
        let text = process::finding(&kind).into();
        ProcessFinding {
            kind,
            severity,
            text,
        }
    }

    /// What an edge rests on.
    pub(crate) fn basis(&self, basis: WaitBasis) -> Basis {
        Basis::Fixed(match basis {
            WaitBasis::OwnProcess => "its own process",
            WaitBasis::ProcessState => "the state of its process",
            WaitBasis::LikelyPeer => {
                "the state of a process that only one end of the connection shows to be the peer"
            }
            WaitBasis::OwnConnection => "its own connection",
            WaitBasis::ChannelOwner => "the channel belongs to this request",
            WaitBasis::RecordedParent => "recorded when the call was made",
            WaitBasis::InsideProcess => {
                "it runs in this process like the others of its method, and has no call out"
            }
            WaitBasis::LongestCallOut => {
                "it has run longest of the handlers of this method and has a call out; none has ended since it made that call"
            }
            WaitBasis::Ring => "the ring of shared memory that the message lies in",
            WaitBasis::OnlyCandidate => {
                "only one of the links that may be the other end has this request"
            }
            WaitBasis::Pairing(PairingId(id)) => {
                return Basis::Found(self.pairings[id as usize].clone());
            }
        })
    }

    /// What a process is in, unless it lives; what it does not read of shared memory, if it does.
    pub(crate) fn process_state(&self, pid: u32) -> Option<Arc<str>> {
        match self.processes.get(&pid)?.state {
            ProcessState::Alive => hub::not_read(self.hubs, pid),
            state => Some(process::state(state).into()),
        }
    }

    fn text(&self, reason: &Reason) -> String {
        match *reason {
            Reason::ProcessNotAlive { pid, state } => {
                format!("{} is {}", self.pid(pid), process::state(state))
            }
            Reason::PeerNotAlive {
                pid,
                state,
                held_by,
                is_likely,
            } => {
                let likely = if is_likely { "likely " } else { "" };
                let (peer, state) = (self.pid(pid), process::state(state));
                let peer = format!("{likely}peer {peer} is {state}");
                match held_by {
                    Some(holder) => format!(
                        "{peer}; {} keeps its end of the connection open",
                        self.pid(holder)
                    ),
                    None => peer,
                }
            }
            Reason::DriverStalled { ref stall, held_up } => {
                let stall = self.stall(stall);
                match held_up {
                    HeldUp::Link => format!("the driver {stall}"),
                    HeldUp::Request => format!("not sent: the driver {stall}"),
                    HeldUp::Response => format!("no response can arrive: the driver {stall}"),
                    HeldUp::Items { process } => format!(
                        "its caller does not read what it sends: the driver in {} {stall}",
                        self.process(process)
                    ),
                    HeldUp::Unread { process } => format!(
                        "sent, and not read by {}: its driver {stall}",
                        self.process(process)
                    ),
                }
            }
            Reason::Contradiction {
                processes: [process, other],
                why,
            } => format!(
                "the rows of {} and {} contradict each other: {}",
                self.process(process),
                self.process(other),
                match why {
                    Contradiction::OtherMethod => "the two ends name different methods",
                    Contradiction::CalleeFirst => "the callee started before the caller",
                    Contradiction::RespondedWhileRunning =>
                        "the caller has the response while the handler still runs",
                }
            ),
            Reason::RuntimeBlocked {
                process,
                ref blocked,
            } => {
                let whose = format!("the runtime of {}", self.process(process));
                process::runtime_blocked(&whose, blocked)
            }
            Reason::NotConnected {
                since_us,
                no_attempt_us,
                attempts,
                losses,
                ref last_error,
            } => {
                let last_error = last_error.as_deref();
                process::not_connected(since_us, no_attempt_us, attempts, losses, last_error)
            }
            Reason::Usual => "within ten times the p99 of its method".to_owned(),
            Reason::Call(ref reason) => self.call(reason),
            Reason::Handler(ref reason) => self.handler(reason),
            Reason::Channel(ref reason) => self.channel(reason),
        }
    }

    fn call(&self, reason: &CallReason) -> String {
        match *reason {
            CallReason::NotSent { queue, driver } => not_sent(queue, driver),
            CallReason::ResponseNotRead { age_us } => {
                let age = Age(age_us);
                format!("the response arrived {age} ago and the caller has not read it")
            }
            CallReason::NoAnswer { process } => format!(
                "no response will arrive: the handler in {} panicked, or its response did not serialize",
                self.process(process)
            ),
            CallReason::NotStarted { process, age_us } => format!(
                "{} received the request {} ago and has not started the handler",
                self.process(process),
                Age(age_us)
            ),
            CallReason::Running {
                process,
                age_us,
                calls,
            } => format!(
                "the handler in {} has run for {}{}",
                self.process(process),
                Age(age_us),
                calls.map_or_else(String::new, |calls| format!("; {}", self.made_calls(calls)))
            ),
            CallReason::NotResponded {
                process,
                age_us,
                ref stall,
            } => {
                let (process, age) = (self.process(process), Age(age_us));
                let text = format!("{process} has had the response for {age} and has not sent it");
                match stall {
                    Some(stall) => format!("{text}: its driver {}", self.stall(stall)),
                    None => text,
                }
            }
            CallReason::NoRow { process } => format!(
                "sent, but {} has neither received nor answered it",
                self.process(process)
            ),
            CallReason::RowsIncomplete { process } => format!(
                "sent; {} has no row for this request, but its rows are incomplete",
                self.process(process)
            ),
            CallReason::InRing(stall) => self.in_ring(stall),
            CallReason::NotInRing => {
                "not sent: no message of it is in shared memory, and no process there has received it"
                    .to_owned()
            }
            CallReason::NoSlot => {
                "not sent: all slots for messages of this process in shared memory are in use"
                    .to_owned()
            }
            CallReason::Unanswered { heard, ref peer } => self.unanswered(heard, peer),
        }
    }

    fn in_ring(&self, stall: RingStall) -> String {
        let reader = match stall.reader {
            Some(pid) => self.pid(pid),
            None => "the reader".to_owned(),
        };
        let ring = match stall.direction {
            HubDirection::ToHost => format!("from peer {} to the host", stall.peer),
            HubDirection::ToPeer => format!("to peer {}", stall.peer),
        };
        let what = match stall.is_response {
            true => "answered; the response",
            false => "sent; it",
        };
        let text = format!("{what} lies unread in the shared-memory ring {ring}");
        match stall.cause {
            RingCause::MissedWakeUp => format!(
                "{text}: missed wake-up: no signal is in the doorbell, and {reader} waits for one (or for room in a full channel)"
            ),
            RingCause::NotDrained => {
                format!(
                    "{text}: a signal waits in the doorbell, and the driver of {reader} does not run"
                )
            }
            RingCause::NotRead => format!("{text}: {reader} does not read it"),
            RingCause::ReaderStopped => {
                format!(
                    "{text}: {reader} is {}",
                    process::state(ProcessState::Stopped)
                )
            }
            RingCause::ReaderDead => format!("{text}: its process is dead"),
        }
    }

    fn unanswered(&self, heard: Heard, peer: &PeerIdentity) -> String {
        let peer = self.missing_peer(peer);
        match heard {
            Heard::FromOneOf => format!("sent; {peer}"),
            Heard::Unobserved => {
                format!("handed over; the driver does not report writes; {peer}")
            }
            Heard::Unread { bytes, is_likely } => {
                let bytes = Counted(bytes, "bytes");
                let origin = match is_likely {
                    true => "in what is likely the socket of this connection",
                    false => "from the peer",
                };
                format!("sent; not read yet: {bytes} {origin}, and the response may be among them")
            }
            Heard::DriverIdle { idle_us } => format!(
                "sent; the driver of this process last ran {}, and a response may be unread since; {peer}",
                Ago(idle_us)
            ),
            Heard::Never => format!("sent; nothing has ever arrived from the peer; {peer}"),
            Heard::Before { idle_us } => {
                let ago = Ago(idle_us);
                format!("sent; the last message from the peer arrived {ago}; {peer}")
            }
            Heard::Others { idle_us } => {
                let ago = Ago(idle_us);
                format!("sent; the peer has sent other messages since, the last one {ago}; {peer}")
            }
        }
    }

    fn handler(&self, reason: &HandlerReason) -> String {
        match *reason {
            HandlerReason::NoAnswer => {
                "no response will be sent: the handler panicked, or its response did not serialize"
                    .to_owned()
            }
            HandlerReason::ConnectionClosed { age_us } => format!(
                "the handler still runs, but its connection closed {} ago",
                Age(age_us)
            ),
            HandlerReason::Cancelled => {
                "the handler still runs, but the caller cancelled the call".to_owned()
            }
            HandlerReason::CallerGone { process, .. } => format!(
                "the handler still runs, but {} no longer waits for it",
                self.process(process)
            ),
            HandlerReason::NotStarted => "the runtime has not polled the handler yet".to_owned(),
            HandlerReason::NotResponded { age_us, ref stall } => {
                let text = format!("the response has waited {} to be sent", Age(age_us));
                match stall {
                    Some(stall) => format!("{text}: the driver {}", self.stall(stall)),
                    None => text,
                }
            }
            HandlerReason::InCalls(calls) => self.made_calls(calls),
            HandlerReason::Running { parentless_calls } => format!(
                "it has no call out; it computes, or waits inside its process or for I/O outside roam{}",
                process::parentless(parentless_calls)
            ),
        }
    }

    fn channel(&self, reason: &ChannelReason) -> String {
        let missing = |process: Option<u32>| match process {
            Some(process) => format!("; {} has no such channel", self.process(process)),
            None => String::new(),
        };
        match *reason {
            ChannelReason::BufferFull { unread, waiting_us } => format!(
                "the buffer is full ({}), and the driver of the link has waited {} for room: nothing else moves on the link",
                Counted(unread, "unread items"),
                Age(waiting_us)
            ),
            ChannelReason::ReaderGone { missing_in } => {
                let missing = missing(missing_in);
                format!("the receiving end is gone: nothing reads the items that are sent{missing}")
            }
            ChannelReason::WriterGone { unread, missing_in } => {
                let rest = match unread {
                    0 => String::new(),
                    items => format!(" after the {items} unread ones"),
                };
                let missing = missing(missing_in);
                format!("the sending end is gone: no more items arrive{rest}{missing}")
            }
        }
    }

    /// What a driver is in.
    fn stall(&self, stall: &DriverStall) -> String {
        match *stall {
            DriverStall::Delivering {
                channel_id,
                waiting_us,
                reader,
                ..
            } => {
                let waiting = Age(waiting_us);
                let text =
                    format!("has waited {waiting} for room in the buffer of channel {channel_id}");
                let reader = match reader {
                    ChannelReader::Request(reader) => reader,
                    ChannelReader::RequestEnded => {
                        return format!("{text}, whose request has ended");
                    }
                    ChannelReader::Unknown => return format!("{text}, whose request is unknown"),
                };
                let request = self.request(reader);
                let (method, id) = (request.method_name(), request.request_id);
                match request.direction {
                    Direction::Incoming => {
                        format!("{text}, which {method} (req_id={id}) does not read")
                    }
                    Direction::Outgoing => format!(
                        "{text}, which the caller of {method} (req_id={id}) in {} does not read",
                        self.process(reader.process)
                    ),
                }
            }
            DriverStall::Writing { waiting_us } => format!(
                "has been in a write to the transport for {}: the peer does not read",
                Age(waiting_us)
            ),
            DriverStall::NotPolled { polled_age_us } => format!(
                "has work and last ran {} ago: its runtime is starved or blocked",
                Age(polled_age_us)
            ),
        }
    }

    fn made_calls(&self, MadeCalls { first, more }: MadeCalls) -> String {
        let first = self.request(first);
        let text = format!(
            "it waits for {} (req_id={}, {})",
            first.method_name(),
            first.request_id,
            Age(first.age_us)
        );
        match more {
            0 => text,
            more => format!("{text} and {more} more"),
        }
    }

    /// Evidence that could not be had, and how to get it.
    fn missing(&self, reason: &Reason) -> Option<String> {
        match reason {
            Reason::Call(CallReason::NotSent { driver: None, .. }) => {
                Some("the driver of this connection reports no heartbeat".to_owned())
            }
            Reason::Call(CallReason::RowsIncomplete { .. }) => Some(
                "the row of the callee may be missing: see the gaps of that process".to_owned(),
            ),
            Reason::Call(CallReason::Unanswered { peer, .. }) => Some(self.missing_peer(peer)),
            _ => None,
        }
    }

    /// What it rests on that a row at the other end belongs to the same link.
    fn pairing_of(&self, reason: &Reason) -> Option<Evidence> {
        match *reason {
            Reason::Handler(HandlerReason::CallerGone {
                pairing: Some(PairingId(id)),
                ..
            }) => Some(Evidence::Pairing {
                basis: self.pairings[id as usize].clone(),
            }),
            _ => None,
        }
    }

    /// Why nothing is known of the other end.
    fn missing_peer(&self, peer: &PeerIdentity) -> String {
        match peer {
            PeerIdentity::Link(link) => format!(
                "no row of {} is known to belong to this request",
                self.process(link.process)
            ),
            PeerIdentity::OneOfLinks(count) => {
                format!("peer ambiguous: {count} connections may be the other end")
            }
            &PeerIdentity::LinkOf {
                pid,
                candidates,
                is_likely,
            } => {
                let likely = if is_likely { "likely " } else { "" };
                let peer = format!("the peer is {likely}{}", self.pid(pid));
                match candidates {
                    0 => format!("{peer}, which has no row of this connection"),
                    count => format!("{peer}: {count} of its connections may be the other end"),
                }
            }
            &PeerIdentity::Process { pid, .. } => {
                let facts = self.processes.get(&pid);
                let reason = facts.and_then(|facts| facts.untraced.as_deref());
                let reason = reason.unwrap_or("name it with -p");
                format!("likely peer {} not traced: {reason}", self.pid(pid))
            }
            PeerIdentity::Unseen(text) => format!("peer not traced: it is likely {text}"),
            PeerIdentity::OneOf { peers, more } => {
                let names = self.names(peers, *more);
                format!("peer not traced: it is one of {names}; name it with -p")
            }
            PeerIdentity::NoneFits { peers, more } => format!(
                "peer not found: no connection of {} fits",
                self.names(peers, *more)
            ),
            PeerIdentity::NotFound => {
                "peer not found: this process shares no socket or memory with a process that roam-trace can read"
                    .to_owned()
            }
            PeerIdentity::ConnectivityUnknown => {
                "peer not traced: the sockets of this process cannot be read; name the peer with -p"
                    .to_owned()
            }
            PeerIdentity::NotSought => "peer unknown".to_owned(),
        }
    }

    fn names(&self, peers: &[Peer], more: usize) -> String {
        let names = peers.iter().map(|peer| match peer {
            Peer::Process { pid, .. } => self.pid(*pid),
            Peer::Unseen(text) => text.clone(),
        });
        let names = names.collect::<Vec<_>>().join(", ");
        match more {
            0 => names,
            more => format!("{names} and {more} more"),
        }
    }

    /// The process of a snapshot.
    fn process(&self, index: u32) -> &Process {
        &self.snapshots[index as usize].process
    }

    /// `name[pid]` of any process that is known of.
    fn pid(&self, pid: u32) -> String {
        let facts = self.processes.get(&pid);
        facts.map_or_else(|| format!("[{pid}]"), |facts| facts.process.to_string())
    }

    fn request(&self, row: RowId) -> &Request {
        &self.snapshots[row.process as usize].requests[row.index as usize]
    }
}

fn not_sent(queue: Queue, driver: Option<DriverActivity>) -> String {
    let text = match queue {
        Queue::Full => "not sent: the request waits for room in the driver's queue",
        Queue::Entered => "not sent: the request is in the driver's queue",
    };
    match driver {
        Some(driver) => format!(
            "{text} (length {}); the driver last ran {} ago",
            driver.queue_length,
            Age(driver.polled_age_us)
        ),
        None => text.to_owned(),
    }
}

/// What speaks for two links being the ends of one.
fn pairing(basis: &PairingBasis) -> String {
    let via_text = |via| match via {
        Via::Unix => "unix socket",
        Via::Tcp => "TCP",
        Via::SharedMemory => "shared memory",
    };
    match *basis {
        PairingBasis::Sockets(via) => format!("the two ends of one {} connection", via_text(via)),
        PairingBasis::Observed {
            via,
            requests,
            do_counters_match,
            opened_apart_us,
            is_by_elimination,
        } => {
            let mut facts = vec![via.map_or("sockets unknown", via_text).to_owned()];
            match requests {
                0 => {}
                1 => facts.push("1 request matches".to_owned()),
                count => facts.push(format!("{count} requests match")),
            }
            if do_counters_match {
                facts.push("messages and bytes match".to_owned());
            }
            if let Some(apart) = opened_apart_us {
                let (ms, tenths) = (apart / 1_000, apart % 1_000 / 100);
                facts.push(format!("opened {ms}.{tenths} ms apart"));
            }
            if is_by_elimination {
                facts.push("no other candidate left".to_owned());
            }
            facts.join(", ")
        }
    }
}

#[cfg(test)]
mod tests;
