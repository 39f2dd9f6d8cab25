//! The witness log: the start and the end of every call, recorded by the process itself. It is independent of
//! roam and of the dumps that tests compare with it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use roam::session::{CallError, RoamError};
use serde::{Deserialize, Serialize};

use crate::clock::{Moment, monotonic_ns};
use crate::expect::Direction;
use crate::service::{Behavior, Ticket};

/// Bits of a tag below the process id; a tag stays below 2^53, exact in any JSON reader.
const TAG_COUNTER_BITS: u32 = 28;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The process that wrote it.
    pub pid: u32,
    /// Seen from that process.
    pub direction: Direction,
    /// `Service.method`.
    pub method: String,
    /// The call's tag; both ends write the same.
    pub tag: u64,
    /// The connection's name and the call's id on the wire, which only the callee knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<(String, u64)>,
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// What happened.
    pub event: Event,
}

/// What a line records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The call is issued, or its handler starts.
    Start,
    /// Answered with a value.
    Ok,
    /// Answered with the method's own error.
    UserError,
    /// The call failed.
    Failed,
    /// The future was dropped before a response.
    Dropped,
}

/// The file that one process of a demo logs to.
pub fn path(log: &Path, process: u32) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{process}"));
    name.into()
}

pub(crate) fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot create {}", path.display()))
}

/// Hands out tags and writes the log, if one is wanted.
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) pid: u32,
    calls: AtomicU64,
    file: Option<Mutex<File>>,
}

impl Witness {
    pub(crate) fn new(log: Option<&Path>) -> Result<Self> {
        let pid = std::process::id();
        let file = log.map(|log| create(&path(log, pid))).transpose()?;
        Ok(Self {
            pid,
            calls: AtomicU64::new(0),
            file: file.map(Mutex::new),
        })
    }

    /// A ticket for a call of this process.
    pub(crate) fn ticket(&self, behavior: Behavior) -> Ticket {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        Ticket {
            tag: u64::from(self.pid) << TAG_COUNTER_BITS | call & ((1 << TAG_COUNTER_BITS) - 1),
            behavior,
        }
    }

    /// Logs the start of a call; the span logs its end.
    pub(crate) fn span(
        &self,
        direction: Direction,
        method: &'static str,
        tag: u64,
        wire: Option<(&str, u64)>,
    ) -> Span<'_> {
        let span = Span {
            witness: self,
            direction,
            method,
            tag,
            wire: wire.map(|(connection, request_id)| (connection.to_owned(), request_id)),
            started: Moment::now(),
            ended: false,
        };
        span.write(Event::Start, span.started.monotonic_ns);
        span
    }

    /// Makes a call of this process, between two lines of the log.
    pub(crate) async fn call<C, F, T, E>(
        &self,
        method: &'static str,
        ticket: Ticket,
        call: C,
    ) -> Result<T, CallError<E>>
    where
        C: FnOnce(Ticket) -> F,
        F: IntoFuture<Output = Result<T, CallError<E>>>,
    {
        let span = self.span(Direction::Outgoing, method, ticket.tag, None);
        let result = call(ticket).await;
        span.end(match &result {
            Ok(_) => Event::Ok,
            Err(CallError::Roam(RoamError::User(_))) => Event::UserError,
            Err(_) => Event::Failed,
        });
        result
    }
}

/// One call, from its start line to its end line.
#[derive(Debug)]
pub(crate) struct Span<'a> {
    witness: &'a Witness,
    direction: Direction,
    method: &'static str,
    tag: u64,
    wire: Option<(String, u64)>,
    pub(crate) started: Moment,
    ended: bool,
}

impl Span<'_> {
    pub(crate) fn end(mut self, event: Event) {
        self.ended = true;
        self.write(event, monotonic_ns());
    }

    fn write(&self, event: Event, monotonic_ns: u64) {
        let Some(file) = &self.witness.file else {
            return;
        };
        let line = Line {
            pid: self.witness.pid,
            direction: self.direction,
            method: self.method.to_owned(),
            tag: self.tag,
            wire: self.wire.clone(),
            monotonic_ns,
            event,
        };
        let mut bytes = serde_json::to_vec(&line).expect("a line has string keys only");
        bytes.push(b'\n');
        // One write per line, so that a reader never sees half of one. A log that cannot
        // be written makes a comparison fail, which is where it is noticed.
        let _ = file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(&bytes);
    }
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.write(Event::Dropped, monotonic_ns());
        }
    }
}
