//! One function a rule. The first rule of a list that applies gives the verdict;
//! none applies to a row that is not stuck. A rule whose evidence is missing says
//! what would get it, and none guesses.

use std::rc::Rc;
use std::sync::Arc;

use roam_trace_common::event::{
    ChannelDirection, ConnectionState, Direction, Mark, Phase, RequestKind,
};

use super::call::{Match, OtherEnd};
use super::court::{Court, LinkCase, PeerOf, Shared, Trouble};
use super::scene::{Endpoint, RowId, unread};
use crate::duration::Age;
use crate::model::ProcessState;
use crate::model::{Basis, Confidence};
use crate::model::{Channel, Connection, Request};
use crate::model::{Code, Evidence, Relation, Verdict};

/// A verdict, and what the row waits for by it.
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    pub(super) waits_for: Vec<Wait>,
}

/// One step from what waits to what it waits for.
#[derive(Debug, Clone)]
pub(super) struct Wait {
    pub(super) on: On,
    pub(super) confidence: Confidence,
    pub(super) basis: Basis,
}

/// What something waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum On {
    /// A request, in the process that serves or makes it.
    Request(RowId),
    /// The driver of a link.
    Driver(Endpoint),
    /// A process of which nothing more is known.
    Process(u32),
}

impl Finding {
    fn new(
        code: Code,
        text: impl Into<Arc<str>>,
        evidence: impl Into<Arc<[Evidence]>>,
    ) -> Option<Self> {
        Some(Self {
            verdict: Verdict {
                code,
                text: text.into(),
                evidence: evidence.into(),
            },
            waits_for: Vec::new(),
        })
    }
}

trait Waiting {
    fn waiting_for(self, wait: Wait) -> Self;
}

impl Waiting for Option<Finding> {
    fn waiting_for(mut self, wait: Wait) -> Self {
        if let Some(finding) = &mut self {
            finding.waits_for.push(wait);
        }
        self
    }
}

/// A step that the process itself recorded.
fn known(on: On, ground: &'static str) -> Wait {
    Wait {
        on,
        confidence: Confidence::Known,
        basis: Basis::Fixed(ground),
    }
}

fn paired(on: On, pair: &Match) -> Wait {
    Wait {
        on,
        confidence: pair.confidence,
        basis: pair.basis.clone(),
    }
}

/// One request that is stuck, with everything that rules ask of it.
struct Case<'a> {
    court: &'a Court<'a>,
    row: RowId,
    request: &'a Request,
    link: Endpoint,
    link_case: Rc<LinkCase>,
    other: OtherEnd,
}

type Rule = fn(&Case<'_>) -> Option<Finding>;

/// For calls that the process makes, in this order.
const OUTGOING: [Rule; 15] = [
    process_stopped,
    response_not_read,
    peer_dead,
    peer_stopped,
    driver_blocked_before_sending,
    write_blocked,
    runtime_starved_before_sending,
    not_sent,
    no_answer_from_peer,
    handler_not_started_at_peer,
    handler_running_at_peer,
    response_not_sent_by_peer,
    driver_in_trouble_at_either_end,
    inconsistent,
    peer_silent,
];

/// For calls that the process serves, in this order.
const INCOMING: [Rule; 8] = [
    no_answer,
    connection_closed,
    process_stopped,
    caller_gone,
    handler_not_started,
    response_not_sent,
    inconsistent,
    handler_running,
];

/// Why a request is stuck, if it is.
pub(super) fn judge_request(court: &Court<'_>, row: RowId) -> Option<Finding> {
    let request = court.scene.request(row);
    if !court.scene.is_stuck(request) {
        return None;
    }
    let link = court.scene.link(court.scene.endpoint(row));
    let case = Case {
        court,
        row,
        request,
        link,
        link_case: court.link_case(link),
        other: court.calls.other_end(court.scene, row),
    };
    let rules = match request.direction {
        Direction::Outgoing => &OUTGOING[..],
        Direction::Incoming => &INCOMING[..],
    };
    rules.iter().find_map(|rule| rule(&case))
}

impl Case<'_> {
    /// Whether the request is known not to be on its way yet.
    fn is_unsent(&self) -> bool {
        match self.request.phase {
            Phase::Queued => true,
            Phase::HandedOver => {
                self.request.writes_observable && !matches!(self.other, OtherEnd::Row(_))
            }
            _ => false,
        }
    }

    /// The row of the callee, for a call that the process makes.
    fn callee(&self) -> Option<(&Match, &Request)> {
        match &self.other {
            OtherEnd::Row(pair) => Some((pair, self.court.scene.request(pair.row))),
            _ => None,
        }
    }

    fn callee_in(&self, phase: Phase) -> Option<(&Match, &Request)> {
        self.callee().filter(|(_, callee)| callee.phase == phase)
    }

    fn process_evidence(&self, pid: u32, held_by: Option<u32>) -> Vec<Evidence> {
        self.court
            .scene
            .process_facts(pid)
            .map(|facts| Evidence::Process {
                process: facts.process.clone(),
                state: facts.state,
                held_by,
            })
            .into_iter()
            .collect()
    }

    fn peer_with(&self, life: ProcessState) -> Option<(u32, Option<u32>)> {
        self.link_case
            .peer
            .filter(|_| self.link_case.peer_life == life)
    }
}

fn process_stopped(case: &Case<'_>) -> Option<Finding> {
    let pid = case.court.scene.pid(case.row.process);
    let what = match case.court.life(case.row.process) {
        ProcessState::Alive => return None,
        ProcessState::Stopped => "is stopped by a signal or a debugger",
        ProcessState::Dead => "is dead",
    };
    Finding::new(
        Code::ProcessStopped,
        format!("{} {what}", case.court.pid_name(pid)),
        case.process_evidence(pid, None),
    )
    .waiting_for(known(On::Process(pid), "its own process"))
}

fn response_not_read(case: &Case<'_>) -> Option<Finding> {
    (case.request.phase == Phase::Responded).then_some(())?;
    Finding::new(
        Code::ResponseNotRead,
        format!(
            "the response arrived {} ago and the caller has not read it",
            Age(case.request.phase_age_us)
        ),
        case.court
            .threads_evidence(case.row.process)
            .into_iter()
            .collect::<Vec<_>>(),
    )
}

fn peer_dead(case: &Case<'_>) -> Option<Finding> {
    let (pid, held_by) = case.peer_with(ProcessState::Dead)?;
    let (text, evidence) = case.court.shared(case.link, Shared::PeerGone, || {
        let mut text = format!("peer {} is dead", case.court.pid_name(pid));
        if let Some(holder) = held_by {
            text.push_str(&format!(
                "; {} holds its end of the connection open",
                case.court.pid_name(holder)
            ));
        }
        (text, case.process_evidence(pid, held_by))
    });
    Finding::new(Code::PeerDead, text, evidence)
        .waiting_for(known(On::Process(pid), "the state of its process"))
}

fn peer_stopped(case: &Case<'_>) -> Option<Finding> {
    let (pid, _) = case.peer_with(ProcessState::Stopped)?;
    let (text, evidence) = case.court.shared(case.link, Shared::PeerGone, || {
        let text = format!(
            "peer {} is stopped by a signal or a debugger",
            case.court.pid_name(pid)
        );
        (text, case.process_evidence(pid, None))
    });
    Finding::new(Code::PeerStopped, text, evidence)
        .waiting_for(known(On::Process(pid), "the state of its process"))
}

fn driver_blocked_before_sending(case: &Case<'_>) -> Option<Finding> {
    not_sent_because_of(case, Code::DriverBlocked)
}

fn write_blocked(case: &Case<'_>) -> Option<Finding> {
    not_sent_because_of(case, Code::WriteBlocked)
}

fn runtime_starved_before_sending(case: &Case<'_>) -> Option<Finding> {
    not_sent_because_of(case, Code::RuntimeStarved)
}

fn not_sent_because_of(case: &Case<'_>, code: Code) -> Option<Finding> {
    let trouble = case
        .link_case
        .trouble
        .filter(|&trouble| code_of(trouble) == code && case.is_unsent())?;
    let (text, evidence) = case.court.shared(case.link, Shared::NotSent, || {
        let (text, evidence) = case.court.describe(case.link, trouble);
        (format!("not sent: the driver {text}"), evidence.to_vec())
    });
    Finding::new(code, text, evidence)
        .waiting_for(known(On::Driver(case.link), "its own connection"))
}

/// The case that a driver in trouble is.
fn code_of(trouble: Trouble) -> Code {
    match trouble {
        Trouble::Delivering { .. } => Code::DriverBlocked,
        Trouble::Writing { .. } => Code::WriteBlocked,
        Trouble::NotPolled { .. } => Code::RuntimeStarved,
    }
}

fn not_sent(case: &Case<'_>) -> Option<Finding> {
    case.is_unsent().then_some(())?;
    let mut evidence = case.court.driver_evidence(case.link);
    let mut text = match case.request.phase {
        Phase::Queued => "not sent: waits for a place in the driver's queue",
        _ => "not sent: in the driver's queue",
    }
    .to_owned();
    let connection = case.court.scene.connection(case.link);
    match connection.and_then(|connection| connection.driver) {
        Some(driver) => text.push_str(&format!(
            ", which holds {}; the driver last ran {} ago",
            driver.enqueued.saturating_sub(driver.dequeued),
            Age(driver.polled_age_us)
        )),
        None => evidence.push(Evidence::Missing {
            text: "this connection's driver does not tell when it runs".into(),
        }),
    }
    Finding::new(Code::NotSent, text, evidence)
}

fn no_answer_from_peer(case: &Case<'_>) -> Option<Finding> {
    let (pair, callee) = case.callee()?;
    (callee.mark == Some(Mark::EndedWithoutAnswer)).then_some(())?;
    Finding::new(
        Code::NoAnswer,
        format!(
            "no answer will come: its handler in {} panicked, or its response did not serialize",
            case.court.scene.process_name(pair.row.process)
        ),
        vec![case.court.row_evidence(Relation::Callee, pair.row)],
    )
    .waiting_for(paired(On::Request(pair.row), pair))
}

fn handler_not_started_at_peer(case: &Case<'_>) -> Option<Finding> {
    let (pair, callee) = case.callee_in(Phase::Received)?;
    let mut evidence = vec![case.court.row_evidence(Relation::Callee, pair.row)];
    evidence.extend(case.court.threads_evidence(pair.row.process));
    Finding::new(
        Code::HandlerNotStarted,
        format!(
            "{} received it {} ago and has not started its handler",
            case.court.scene.process_name(pair.row.process),
            Age(callee.phase_age_us)
        ),
        evidence,
    )
    .waiting_for(paired(On::Request(pair.row), pair))
}

fn handler_running_at_peer(case: &Case<'_>) -> Option<Finding> {
    let (pair, callee) = case.callee_in(Phase::Running)?;
    let mut evidence = vec![case.court.row_evidence(Relation::Callee, pair.row)];
    let process = case.court.scene.process_name(pair.row.process);
    let mut text = format!(
        "its handler in {process} has run for {}",
        Age(callee.phase_age_us)
    );
    text.push_str(&made_calls(case.court, pair.row, &mut evidence));
    Finding::new(Code::HandlerRunning, text, evidence)
        .waiting_for(paired(On::Request(pair.row), pair))
}

fn response_not_sent_by_peer(case: &Case<'_>) -> Option<Finding> {
    let (pair, callee) = case.callee_in(Phase::Responding)?;
    let court = case.court;
    let mut evidence = vec![court.row_evidence(Relation::Callee, pair.row)];
    let there = court.scene.link(court.scene.endpoint(pair.row));
    let mut text = format!(
        "{} has had the response for {} and not sent it",
        court.scene.process_name(pair.row.process),
        Age(callee.phase_age_us)
    );
    if let Some(trouble) = court.link_case(there).trouble {
        let (why, more) = court.describe(there, trouble);
        text.push_str(&format!(": its driver {why}"));
        evidence.extend(more.iter().cloned());
    }
    Finding::new(Code::ResponseNotSent, text, evidence)
        .waiting_for(paired(On::Request(pair.row), pair))
}

/// The callee has no row: the request or its response is between two drivers, one of which is stuck.
fn driver_in_trouble_at_either_end(case: &Case<'_>) -> Option<Finding> {
    let court = case.court;
    if let Some(trouble @ Trouble::Delivering { .. }) = case.link_case.trouble {
        let (text, evidence) = court.shared(case.link, Shared::NoResponse, || {
            let (text, evidence) = court.describe(case.link, trouble);
            let text = format!("no response can arrive: the driver {text}");
            (text, evidence.to_vec())
        });
        return Finding::new(Code::DriverBlocked, text, evidence)
            .waiting_for(known(On::Driver(case.link), "its own connection"));
    }
    let (OtherEnd::Missing(there), Some(partner)) =
        (&case.other, court.calls.pairs().partner(case.link))
    else {
        return None;
    };
    let trouble = court.link_case(*there).trouble?;
    let (text, evidence) = court.shared(case.link, Shared::NotTaken, || {
        let (text, evidence) = court.describe(*there, trouble);
        let process = court.scene.process_name(there.process);
        let text = format!("sent, not taken by {process}: its driver {text}");
        (text, evidence.to_vec())
    });
    Finding::new(code_of(trouble), text, evidence).waiting_for(Wait {
        on: On::Driver(*there),
        confidence: partner.confidence,
        basis: partner.basis.clone(),
    })
}

fn inconsistent(case: &Case<'_>) -> Option<Finding> {
    let court = case.court;
    match &case.other {
        OtherEnd::Contradiction { row, why } => Finding::new(
            Code::Inconsistent,
            format!(
                "the rows of {} and {} contradict each other: {why}",
                court.scene.process_name(case.row.process),
                court.scene.process_name(row.process)
            ),
            vec![court.row_evidence(
                match case.request.direction {
                    Direction::Outgoing => Relation::Callee,
                    Direction::Incoming => Relation::Caller,
                },
                *row,
            )],
        ),
        OtherEnd::Missing(there)
            if case.request.direction == Direction::Outgoing
                && case.request.kind == RequestKind::Call =>
        {
            if !court.scene.has_all_requests(there.process) {
                return Finding::new(
                    Code::NoResponse,
                    format!(
                        "sent; {} has no row for it, but its rows are not complete",
                        court.scene.process_name(there.process)
                    ),
                    vec![Evidence::Missing {
                        text: "the callee's row may be lost: see what is missing there".into(),
                    }],
                );
            }
            Finding::new(
                Code::Inconsistent,
                format!(
                    "sent, but {} has neither received nor answered it",
                    court.scene.process_name(there.process)
                ),
                court.driver_evidence(*there),
            )
        }
        _ => None,
    }
}

fn peer_silent(case: &Case<'_>) -> Option<Finding> {
    let court = case.court;
    let received = court
        .scene
        .connection(case.link)
        .and_then(|connection| connection.received)
        .filter(|received| received.messages > 0);
    let idle_us = received.and_then(|received| received.idle_us);
    let (code, what) = if let OtherEnd::Ambiguous = case.other {
        (Code::PeerAmbiguous, Shared::Ambiguous)
    } else if case.request.phase == Phase::HandedOver {
        (Code::NoResponse, Shared::Unobserved)
    } else {
        match idle_us {
            None => (Code::PeerSilent, Shared::NeverHeard),
            Some(idle_us) if idle_us >= case.request.phase_age_us.min(court.scene.stuck_us) => {
                (Code::PeerSilent, Shared::Silent)
            }
            Some(_) => (Code::NoResponse, Shared::Talking),
        }
    };
    let (text, evidence) = court.shared(case.link, what, || {
        let missing = court.missing_peer(case.link);
        let idle = Age(idle_us.unwrap_or(0));
        let text = match what {
            Shared::Ambiguous => format!("sent; {missing}"),
            Shared::Unobserved => format!(
                "handed over; this transport does not tell whether it was written; {missing}"
            ),
            Shared::NeverHeard => {
                format!("sent, and nothing was ever heard from the peer; {missing}")
            }
            Shared::Silent => format!("sent; the peer last sent anything {idle} ago; {missing}"),
            _ => format!(
                "sent; the peer has sent other things since, the last {idle} ago; {missing}"
            ),
        };
        let mut evidence = vec![Evidence::Missing {
            text: missing.into(),
        }];
        if matches!(what, Shared::NeverHeard | Shared::Silent | Shared::Talking) {
            evidence.push(Evidence::PeerLastSent { age_us: idle_us });
        }
        (text, evidence)
    });
    Finding::new(code, text, evidence)
}

fn no_answer(case: &Case<'_>) -> Option<Finding> {
    (case.request.mark == Some(Mark::EndedWithoutAnswer)).then_some(())?;
    Finding::new(
        Code::NoAnswer,
        "no answer will come: the handler panicked, or its response did not serialize",
        Vec::new(),
    )
}

fn connection_closed(case: &Case<'_>) -> Option<Finding> {
    let court = case.court;
    let connection = court.scene.connection(court.scene.endpoint(case.row))?;
    (connection.state == ConnectionState::Closed).then_some(())?;
    Finding::new(
        Code::ConnectionClosed,
        format!(
            "the handler runs on, but its connection closed {} ago",
            Age(connection.state_age_us)
        ),
        Vec::new(),
    )
}

fn caller_gone(case: &Case<'_>) -> Option<Finding> {
    let court = case.court;
    if case.request.mark == Some(Mark::Orphaned) {
        return Finding::new(
            Code::CallerGone,
            "the handler runs on, but its caller has cancelled the call",
            Vec::new(),
        );
    }
    let OtherEnd::Missing(there) = case.other else {
        return None;
    };
    let is_started = case.request.phase == Phase::Running;
    (is_started && court.scene.has_all_requests(there.process)).then_some(())?;
    Finding::new(
        Code::CallerGone,
        format!(
            "the handler runs on, but {} no longer waits for it",
            court.scene.process_name(there.process)
        ),
        court
            .calls
            .pairs()
            .partner(case.link)
            .map(|partner| Evidence::Missing {
                text: format!(
                    "no row of the caller, on the connection that is the other end ({})",
                    partner.basis.as_str()
                )
                .into(),
            })
            .into_iter()
            .collect::<Vec<_>>(),
    )
}

fn handler_not_started(case: &Case<'_>) -> Option<Finding> {
    (case.request.phase == Phase::Received).then_some(())?;
    let mut evidence = case.court.driver_evidence(case.link);
    evidence.extend(case.court.threads_evidence(case.row.process));
    Finding::new(
        Code::HandlerNotStarted,
        format!(
            "received {} ago, and its handler was not run yet",
            Age(case.request.phase_age_us)
        ),
        evidence,
    )
}

fn response_not_sent(case: &Case<'_>) -> Option<Finding> {
    (case.request.phase == Phase::Responding).then_some(())?;
    let mut text = format!(
        "the response has waited {} to be sent",
        Age(case.request.phase_age_us)
    );
    let Some(trouble) = case.link_case.trouble else {
        return Finding::new(
            Code::ResponseNotSent,
            text,
            case.court.driver_evidence(case.link),
        );
    };
    let (why, evidence) = case.court.describe(case.link, trouble);
    text.push_str(&format!(": the driver {why}"));
    Finding::new(Code::ResponseNotSent, text, evidence)
        .waiting_for(known(On::Driver(case.link), "its own connection"))
}

fn handler_running(case: &Case<'_>) -> Option<Finding> {
    let children = case.court.scene.children(case.row);
    let words = || {
        let mut evidence = Vec::new();
        let calls = made_calls(case.court, case.row, &mut evidence);
        (format!("handler has not returned{calls}"), evidence)
    };
    if children.is_empty() {
        let (text, evidence) = case.court.shared(case.link, Shared::HandlerRunning, words);
        return Finding::new(Code::HandlerRunning, text, evidence);
    }
    let (text, evidence) = words();
    let mut finding = Finding::new(Code::HandlerRunning, text, evidence);
    for &child in children {
        finding = finding.waiting_for(known(On::Request(child), "recorded when the call was made"));
    }
    finding
}

/// The stuck calls that a handler made, as an addition to the text of a verdict.
fn made_calls(court: &Court<'_>, handler: RowId, evidence: &mut Vec<Evidence>) -> String {
    let children = court.scene.children(handler);
    let Some((&first, more)) = children.split_first() else {
        let calls = court.scene.parentless(handler.process);
        if calls > 0 {
            evidence.push(Evidence::ParentUnknown {
                pid: court.scene.pid(handler.process),
                calls,
            });
        }
        return String::new();
    };
    evidence.push(court.row_evidence(Relation::MadeCall, first));
    let first = court.scene.request(first);
    let more = match more.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "; it waits for {} (req_id={}, {}){more}",
        first.method_name(),
        first.request_id,
        Age(first.age_us)
    )
}

/// Why the driver of a link is stuck, if it is, and what it waits for.
pub(super) fn judge_driver(court: &Court<'_>, link: Endpoint) -> Option<Finding> {
    let trouble = court.link_case(link).trouble?;
    let (text, evidence) = court.describe(link, trouble);
    let finding = Finding::new(code_of(trouble), format!("the driver {text}"), evidence);
    match trouble {
        Trouble::Delivering { at, channel_id, .. } => {
            let owner = court.channel_owner(at, channel_id).filter(|&owner| {
                // A call that this process makes does not tell who is to read its channel.
                court.scene.request(owner).direction == Direction::Incoming
            });
            match owner {
                Some(owner) => {
                    finding.waiting_for(known(On::Request(owner), "the channel is of this request"))
                }
                None => finding,
            }
        }
        Trouble::Writing { .. } => match (court.peer_of(link), court.calls.pairs().partner(link)) {
            (PeerOf::Link(there), Some(partner)) => {
                let on = if court.life(there.process) != ProcessState::Alive {
                    Some(On::Process(court.scene.pid(there.process)))
                } else {
                    court.trouble(there).map(|_| On::Driver(there))
                };
                match on {
                    Some(on) => finding.waiting_for(Wait {
                        on,
                        confidence: partner.confidence,
                        basis: partner.basis.clone(),
                    }),
                    None => finding,
                }
            }
            (PeerOf::Process { pid, .. }, _) if court.scene.life(pid) != ProcessState::Alive => {
                finding.waiting_for(known(On::Process(pid), "the state of its process"))
            }
            _ => finding,
        },
        Trouble::NotPolled { .. } => {
            if court.life(link.process) == ProcessState::Alive {
                finding
            } else {
                finding.waiting_for(known(
                    On::Process(court.scene.pid(link.process)),
                    "its own process",
                ))
            }
        }
    }
}

/// Why a connection is stuck, if it is.
pub(super) fn judge_connection(
    court: &Court<'_>,
    endpoint: Endpoint,
    row: &Connection,
) -> Option<Verdict> {
    let link = court.scene.link(endpoint);
    let is_root = link == endpoint;
    match row.state {
        ConnectionState::Connecting | ConnectionState::BackingOff => not_connected(court, row),
        ConnectionState::Open if is_root => judge_driver(court, link)
            .map(|finding| finding.verdict)
            .or_else(|| peer_not_alive(court, link, row)),
        _ => None,
    }
}

fn not_connected(court: &Court<'_>, row: &Connection) -> Option<Verdict> {
    (row.age_us >= court.scene.stuck_us).then_some(())?;
    let failed = row.attempts;
    let plural = if failed == 1 { "" } else { "s" };
    let finding = Finding::new(
        Code::NotConnected,
        format!("no connection yet: {failed} attempt{plural} failed"),
        vec![Evidence::Attempts { failed }],
    );
    finding.map(|finding| finding.verdict)
}

fn peer_not_alive(court: &Court<'_>, link: Endpoint, row: &Connection) -> Option<Verdict> {
    (row.age_us >= court.scene.stuck_us).then_some(())?;
    let (pid, held_by) = court.peer_pid(link)?;
    let facts = court.scene.process_facts(pid)?;
    let (code, what) = match facts.state {
        ProcessState::Alive => return None,
        ProcessState::Stopped => (Code::PeerStopped, "stopped by a signal or a debugger"),
        ProcessState::Dead => (Code::PeerDead, "dead"),
    };
    let finding = Finding::new(
        code,
        format!("peer {} is {what}", facts.process),
        vec![Evidence::Process {
            process: facts.process.clone(),
            state: facts.state,
            held_by,
        }],
    );
    finding.map(|finding| finding.verdict)
}

/// Why a channel is stuck, if it is known to be.
pub(super) fn judge_channel(court: &Court<'_>, process: u32, row: &Channel) -> Option<Verdict> {
    (row.age_us >= court.scene.stuck_us).then_some(())?;
    let at = Endpoint {
        process,
        serial: row.connection,
    };
    channel_blocks_driver(court, at, row)
        .or_else(|| channel_end_gone(court, at, row))
        .map(|finding| finding.verdict)
}

fn channel_blocks_driver(court: &Court<'_>, at: Endpoint, row: &Channel) -> Option<Finding> {
    let link = court.scene.link(at);
    let trouble = court.trouble(link)?;
    let Trouble::Delivering {
        at: blocked_at,
        channel_id,
        waiting_us,
    } = trouble
    else {
        return None;
    };
    (blocked_at == at && channel_id == row.channel_id).then_some(())?;
    let (_, evidence) = court.describe(link, trouble);
    Finding::new(
        Code::DriverBlocked,
        format!(
            "its buffer is full ({} items unread), and the link's driver has waited {} for room: nothing else moves on the link",
            unread(row),
            Age(waiting_us)
        ),
        evidence,
    )
}

fn channel_end_gone(court: &Court<'_>, at: Endpoint, row: &Channel) -> Option<Finding> {
    let is_other_end_missing = || {
        let link = court.scene.link(at);
        let conn_id = court.scene.connection(at)?.conn_id;
        let partner = court.calls.pairs().partner(link)?;
        let there = court.calls.pairs().connection_of(partner.link, conn_id)?;
        let is_missing = court.scene.channel(there, row.channel_id).is_none()
            && court.scene.has_all_channels(there.process)
            && court.trouble(partner.link).is_none()
            && court.trouble(link).is_none();
        is_missing.then_some(there.process)
    };
    let known_gone = row.reader_gone || row.writer_gone;
    let gone_in = if known_gone {
        None
    } else {
        Some(is_other_end_missing()?)
    };
    let is_tx = row.direction == ChannelDirection::Tx;
    let reader_gone = row.reader_gone || gone_in.is_some() && is_tx;
    let writer_gone = row.writer_gone || gone_in.is_some() && !is_tx;
    let by_whom = gone_in.map_or_else(String::new, |process| {
        format!(
            ": {} has no such channel",
            court.scene.process_name(process)
        )
    });
    let (code, text) = if reader_gone {
        (
            Code::ReaderGone,
            format!("the receiving end is gone, nobody reads what is sent{by_whom}"),
        )
    } else {
        let rest = match unread(row) {
            0 => String::new(),
            items => format!(" but the {items} items unread"),
        };
        (
            Code::WriterGone,
            format!("the sending end is gone, nothing more arrives{rest}{by_whom}"),
        )
    };
    Finding::new(
        code,
        text,
        vec![Evidence::ChannelEnds {
            reader_gone,
            writer_gone,
            by_other_process: gone_in.is_some(),
        }],
    )
}
