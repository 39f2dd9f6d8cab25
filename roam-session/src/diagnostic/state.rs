//! The states of the published `roam_session::diagnostic`, on top of the registry. What is recorded here is
//! a row like any other. A dump reads the registry and never waits for a lock.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, TryLockError, Weak};
use std::time::Instant;

use roam_diagnostic::callback;
use roam_diagnostic::registry::{
    Channel, ChannelOpen, Connection, ConnectionOpen, Request, RequestStart,
};
use roam_trace_common::event::{
    ChannelDirection as Way, ChannelSide, ConnectionState, Direction, Outcome, Phase, RequestKind,
    Role,
};

use super::summary;

/// Appends the text of a program to a dump.
pub type DiagnosticCallback = Box<dyn Fn(&mut String) + Send + Sync>;

static STATES: RwLock<Vec<Weak<DiagnosticState>>> = RwLock::new(Vec::new());

thread_local! {
    /// The incoming request that this thread recorded last and no dispatcher has taken yet.
    static UNADOPTED: Cell<Option<(u64, u64, Request)>> = const { Cell::new(None) };
}

/// Registers a state, so that [`dump_all_diagnostics`] lists it and dumps run its callbacks while it lives.
pub fn register_diagnostic_state(state: &Arc<DiagnosticState>) {
    let mut states = STATES.write().unwrap_or_else(PoisonError::into_inner);
    states.retain(|state| state.strong_count() > 0);
    states.push(Arc::downgrade(state));
    callback::register_diagnostic_of(state, state.name.clone(), DiagnosticState::run_callbacks);
}

/// Returns what is in flight in this process: a summary line for each connection name, one line per request,
/// and the text of the callbacks of registered states. Returns an empty text if there is nothing. Leaves out the
/// rows of states that are not registered. While another thread registers a state, the dump has all rows and no
/// callbacks.
pub fn dump_all_diagnostics() -> String {
    let Some(states) = registered_states() else {
        return summary::of_everything(&|_| true);
    };
    let is_registered = |group: u64| {
        let mut groups = states.iter().filter_map(|state| state.group.get());
        groups.any(|registered| registered.serial().0 == group)
    };
    let mut output = summary::of_everything(&is_registered);
    for state in &states {
        let mut text = String::new();
        state.run_callbacks(&mut text);
        if !text.is_empty() {
            let _ = writeln!(output, "[{}] {}", state.name, text.trim_start());
        }
    }
    output
}

/// The registered states that are still alive; `None` while one is being registered.
fn registered_states() -> Option<Vec<Arc<DiagnosticState>>> {
    let states = match STATES.try_read() {
        Ok(states) => states,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    Some(states.iter().filter_map(Weak::upgrade).collect())
}

/// Says which way a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestDirection {
    /// This process waits for the response.
    Outgoing,
    /// This process owes the response.
    Incoming,
}

/// Describes a request in the terms of the published crate.
#[derive(Debug, Clone)]
pub struct InFlightRequest {
    /// Id on the wire.
    pub request_id: u64,
    /// Method id on the wire.
    pub method_id: u64,
    /// When it started.
    pub started: Instant,
    /// Which way it goes.
    pub direction: RequestDirection,
    /// Its arguments by name, where they were recorded.
    pub args: Option<HashMap<String, String>>,
}

/// Says which way the data of a channel goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelDirection {
    /// This process sends.
    Tx,
    /// This process receives.
    Rx,
}

/// Describes a channel in the terms of the published crate.
#[derive(Debug, Clone)]
pub struct OpenChannel {
    /// Id on the wire.
    pub channel_id: u64,
    /// When it was opened.
    pub started: Instant,
    /// Which way data goes.
    pub direction: ChannelDirection,
    /// Id of the request that opened it, where that is known.
    pub request_id: Option<u64>,
}

/// Holds the name and the callbacks of one connection, and what was recorded through it.
///
/// Connections of this crate's driver record by themselves. Other drivers, such as that of roam-shm, call the
/// `record_` methods.
pub struct DiagnosticState {
    /// Name of the connection in dumps.
    pub name: String,
    group: OnceLock<Connection>,
    requests: Mutex<Vec<Recorded>>,
    channels: Mutex<Vec<(u64, Channel)>>,
    callbacks: RwLock<Vec<DiagnosticCallback>>,
}

/// A request that was recorded by hand.
struct Recorded {
    request_id: u64,
    direction: Direction,
    row: Request,
}

impl DiagnosticState {
    /// Creates a state without records.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            group: OnceLock::new(),
            requests: Mutex::default(),
            channels: Mutex::default(),
            callbacks: RwLock::default(),
        }
    }

    /// The row that groups the connections and records of this state.
    pub(crate) fn group(&self) -> Connection {
        *self.group.get_or_init(|| {
            Connection::open(&ConnectionOpen {
                link: Connection::NONE,
                conn_id: 0,
                group: Connection::NONE,
                role: Role::Initiator,
                state: ConnectionState::Grouping,
                observes_writes: false,
                name: &self.name,
            })
        })
    }

    /// Records a call to the peer.
    pub fn record_outgoing_request(
        &self,
        request_id: u64,
        method_id: u64,
        args: Option<HashMap<String, String>>,
    ) {
        self.record_request(
            request_id,
            method_id,
            Direction::Outgoing,
            Phase::HandedOver,
            args,
        );
    }

    /// Records a call from the peer.
    pub fn record_incoming_request(
        &self,
        request_id: u64,
        method_id: u64,
        args: Option<HashMap<String, String>>,
    ) {
        let request = self.record_request(
            request_id,
            method_id,
            Direction::Incoming,
            Phase::Received,
            args,
        );
        UNADOPTED.set(Some((request_id, method_id, request)));
    }

    fn record_request(
        &self,
        request_id: u64,
        method_id: u64,
        direction: Direction,
        phase: Phase,
        args: Option<HashMap<String, String>>,
    ) -> Request {
        let arguments = args.map(|args| arguments_text(&args));
        let row = Request::start(&RequestStart {
            connection: self.group(),
            request_id,
            method_id,
            direction,
            phase,
            kind: RequestKind::Call,
            payload_bytes: 0,
            arguments: arguments.as_deref(),
            parent: Request::NONE,
        });
        let mut requests = self.lock_requests();
        if requests.len() == requests.capacity() {
            requests.retain(|request| request.row.is_live());
        }
        requests.push(Recorded {
            request_id,
            direction,
            row,
        });
        row
    }

    /// Ends a recorded request. If several have that id, ends the first of these that exists:
    ///
    /// 1. the request whose response is on its way;
    /// 2. of the direction that was recorded last, a request without a running handler;
    /// 3. of that direction, the only request with a running handler. If there are several, it cannot be known
    ///    which one was cancelled: none is ended here, and the cancelled one ends with its handler.
    pub fn complete_request(&self, request_id: u64) {
        let mut requests = self.lock_requests();
        requests.retain(|request| request.row.is_live());
        let candidates = || {
            let requests = requests.iter().enumerate();
            requests
                .filter(|(_, request)| request.request_id == request_id)
                .filter_map(|(at, request)| Some((at, request.direction, request.row.phase()?)))
        };
        let Some((_, last_direction, _)) = candidates().next_back() else {
            return;
        };
        let responding = candidates().find(|&(_, _, phase)| phase == Phase::Responding);
        let same_way = || candidates().filter(|&(_, direction, _)| direction == last_direction);
        let unhandled = same_way().find(|&(_, _, phase)| phase != Phase::Running);
        let mut running = same_way();
        let completed = responding
            .or(unhandled)
            .or_else(|| running.next().filter(|_| running.next().is_none()));
        if let Some((at, _, _)) = completed {
            let request = requests.remove(at);
            request.row.end_as_responded(Outcome::Aborted);
        }
    }

    /// Records an open channel.
    pub fn record_channel_open(
        &self,
        channel_id: u64,
        direction: ChannelDirection,
        request_id: Option<u64>,
    ) {
        let request = request_id.map_or(Request::NONE, |request_id| self.find_request(request_id));
        let channel = Channel::open(&ChannelOpen {
            connection: self.group(),
            channel_id,
            request,
            direction: match direction {
                ChannelDirection::Tx => Way::Tx,
                ChannelDirection::Rx => Way::Rx,
            },
            side: ChannelSide::Client,
            type_index: 0,
            receive_budget_bytes: u64::MAX,
        });
        let replaced = {
            let mut channels = self.lock_channels();
            let replaced = take_channel(&mut channels, channel_id);
            channels.push((channel_id, channel));
            replaced
        };
        if let Some(channel) = replaced {
            channel.close();
        }
    }

    /// Ends a recorded channel.
    pub fn record_channel_close(&self, channel_id: u64) {
        let channel = take_channel(&mut self.lock_channels(), channel_id);
        if let Some(channel) = channel {
            channel.close();
        }
    }

    /// Sets the request that recorded channels belong to.
    pub fn associate_channels_with_request(&self, channel_ids: &[u64], request_id: u64) {
        let request = self.find_request(request_id);
        for (channel_id, channel) in self.lock_channels().iter() {
            if channel_ids.contains(channel_id) {
                channel.set_request(request);
            }
        }
    }

    /// Adds a callback that appends its text to every dump of this state.
    pub fn add_custom_diagnostic<F>(&self, callback: F)
    where
        F: Fn(&mut String) + Send + Sync + 'static,
    {
        self.callbacks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(callback));
    }

    /// Returns what is in flight on the connections of this state: a summary line, then one line per request.
    /// Returns `None` if nothing is in flight and no callback adds text.
    pub fn dump_if_nonempty(&self) -> Option<String> {
        let group = self.group.get();
        let mut text = group.map_or_else(String::new, |group| summary::of_group(group.serial().0));
        self.run_callbacks(&mut text);
        (!text.is_empty()).then_some(text)
    }

    /// Appends the text of the callbacks.
    fn run_callbacks(&self, text: &mut String) {
        let callbacks = match self.callbacks.try_read() {
            Ok(callbacks) => callbacks,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                text.push_str("\n(callbacks skipped: one is being added)");
                return;
            }
        };
        for callback in callbacks.iter() {
            callback(text);
        }
    }

    fn find_request(&self, request_id: u64) -> Request {
        self.lock_requests()
            .iter()
            .rev()
            .find(|request| request.request_id == request_id && request.row.is_live())
            .map_or(Request::NONE, |request| request.row)
    }

    fn lock_requests(&self) -> std::sync::MutexGuard<'_, Vec<Recorded>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_channels(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Channel)>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DiagnosticState {
    fn drop(&mut self) {
        for Recorded { row, .. } in self.lock_requests().drain(..) {
            // What got further belongs to a dispatcher, whose handler may still be running.
            if matches!(row.phase(), Some(Phase::Received | Phase::HandedOver)) {
                row.end(Outcome::Aborted);
            }
        }
        for (_, channel) in self.lock_channels().drain(..) {
            channel.close();
        }
        if let Some(group) = self.group.get() {
            group.release();
        }
    }
}

impl fmt::Debug for DiagnosticState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiagnosticState")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Takes the row that [`DiagnosticState::record_incoming_request`] made on this thread for the same
/// request, so that a driver's record and its dispatcher's are one.
pub(crate) fn adopt_incoming(request_id: u64, method_id: u64) -> Option<Request> {
    match UNADOPTED.take() {
        Some((id, method, request)) if (id, method) == (request_id, method_id) => {
            request.is_live().then_some(request)
        }
        _ => None,
    }
}

fn arguments_text(args: &HashMap<String, String>) -> String {
    let mut pairs: Vec<String> = Vec::new();
    for (name, value) in args {
        let pair = format!("{name}={value}");
        let index = pairs.partition_point(|before| *before < pair);
        pairs.insert(index, pair);
    }
    let mut text = String::new();
    for pair in pairs {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{pair}");
    }
    text
}

fn take_channel(channels: &mut Vec<(u64, Channel)>, channel_id: u64) -> Option<Channel> {
    let index = channels.iter().position(|&(id, _)| id == channel_id)?;
    Some(channels.swap_remove(index).1)
}
