//! Events as lines of text.

use std::fmt::Write as _;
use std::io::{self, Write};

use humansize::{DECIMAL, format_size};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use roam_dump::duration::Took;
use roam_dump::render::Counted;
use roam_trace_common::event::{
    ChannelDirection, Direction, EventKind, Outcome, Phase, RequestKind,
};

use super::event::{Event, Line, Lost};
use super::filter::unnamed;

/// Writes events as lines.
pub(crate) struct TextLines {
    time_zone: TimeZone,
    /// The second of the last event, and its time of day: to work that out takes longer than all the rest.
    second: Option<(i64, String)>,
}

impl TextLines {
    pub(crate) fn new(time_zone: TimeZone) -> Self {
        Self {
            time_zone,
            second: None,
        }
    }

    /// Writes the heading.
    pub(crate) fn heading(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "TIME              LATENCY      SENT  RECEIVED  EVENT              PROCESS               METHOD"
        )
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
        match line {
            Line::Event(event) => self.event(out, event),
            Line::Lost(lost) => self.lost(out, lost),
        }
    }

    fn event(&mut self, out: &mut impl Write, event: &Event) -> io::Result<()> {
        self.time(out, event.time)?;
        let latency = |latency_ns: u64| Took(latency_ns.div_ceil(1_000)).to_string();
        let size = |bytes: u64| format_size(bytes, DECIMAL.decimal_places(1));
        let (sent, received) = bytes(event);
        let numbers = [
            event.latency_ns.map(latency),
            sent.map(size),
            received.map(size),
        ];
        for number in numbers {
            write!(out, "  {:>8}", number.as_deref().unwrap_or("-"))?;
        }
        let process = event.process.to_string();
        write!(out, "  {:<17}  {process:<20}  ", what(event))?;
        subject(out, event)?;
        writeln!(out)
    }

    fn lost(&mut self, out: &mut impl Write, lost: &Lost) -> io::Result<()> {
        self.time(out, lost.time)?;
        let events = Counted(lost.count, "events");
        writeln!(out, "  … {events} lost on CPU {}", lost.cpu)
    }

    fn time(&mut self, out: &mut impl Write, time: Timestamp) -> io::Result<()> {
        let time_of_day = match &mut self.second {
            Some((second, time_of_day)) if *second == time.as_second() => time_of_day,
            second => {
                let zoned = time.to_zoned(self.time_zone.clone());
                let mut time_of_day = String::new();
                // Neither the formatting nor a string can fail.
                let _ = write!(time_of_day, "{}", zoned.strftime("%H:%M:%S"));
                &mut second.insert((time.as_second(), time_of_day)).1
            }
        };
        write!(out, "{time_of_day}.{:06}", time.subsec_nanosecond() / 1_000)
    }
}

/// Writes what it happened to.
fn subject(out: &mut impl Write, event: &Event) -> io::Result<()> {
    out.write_all(match event.direction {
        Some(Direction::Outgoing) => "→ ".as_bytes(),
        Some(Direction::Incoming) => "← ".as_bytes(),
        None => b"",
    })?;
    match (&event.method, event.method_id) {
        _ if event.kind == Some(RequestKind::Connect) => out.write_all(b"connect")?,
        (Some(method), _) => out.write_all(method.as_bytes())?,
        (None, Some(method_id)) => out.write_all(unnamed(method_id).as_bytes())?,
        (None, None) if event.channel.is_some() => out.write_all(b"(request not in flight)")?,
        (None, None) => out.write_all(b"(start not seen)")?,
    }
    if let Some(channel_id) = event.channel_id {
        write!(out, " channel {channel_id}")?;
    }
    match &event.connection_name {
        Some(name) => write!(out, " on {name}"),
        None => Ok(()),
    }
}

/// Payload bytes that the process sent and received.
fn bytes(event: &Event) -> (Option<u64>, Option<u64>) {
    if let Some(direction) = event.channel_direction {
        return match direction {
            ChannelDirection::Tx => (event.bytes, None),
            ChannelDirection::Rx => (None, event.bytes),
        };
    }
    match event.direction {
        Some(Direction::Outgoing) => (event.request_bytes, event.response_bytes),
        Some(Direction::Incoming) => (event.response_bytes, event.request_bytes),
        None => (None, None),
    }
}

/// What happened, in a word or two.
fn what(event: &Event) -> &'static str {
    match (event.event, event.phase, event.outcome) {
        (EventKind::RequestStart, _, _) => "start",
        (EventKind::RequestPhase, Some(phase), _) => phase_name(phase),
        (EventKind::RequestEnd, _, Some(outcome)) => outcome_name(outcome),
        (EventKind::RequestPhase | EventKind::RequestEnd, _, _) => "unknown",
        (EventKind::ChannelOpen, _, _) => "channel open",
        (EventKind::ChannelData, _, _) => "channel data",
        (EventKind::ChannelClose, _, _) => "channel close",
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Queued => "queued",
        Phase::HandedOver => "handed over",
        Phase::Sent => "sent",
        Phase::Responded => "responded",
        Phase::Received => "received",
        Phase::Running => "running",
        Phase::Responding => "responding",
    }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::UserError => "user error",
        Outcome::UnknownMethod => "unknown method",
        Outcome::InvalidPayload => "invalid payload",
        Outcome::Cancelled => "cancelled",
        Outcome::Dropped => "dropped",
        Outcome::ConnectionClosed => "connection closed",
        Outcome::Aborted => "aborted",
        Outcome::NoAnswer => "no answer",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use roam_dump::model::Process;

    use super::*;
    use crate::live::LostEvent;

    fn end() -> Event {
        Event {
            time: Timestamp::from_nanosecond(1_700_000_000_123_456_789).unwrap(),
            event: EventKind::RequestEnd,
            process: Arc::new(Process::new(4242, "demo-host")),
            direction: Some(Direction::Outgoing),
            kind: Some(RequestKind::Call),
            request: Some(1 << 24),
            request_id: Some(7),
            channel: None,
            channel_id: None,
            channel_direction: None,
            connection: Some(1 << 24),
            connection_name: Some("cell-http".into()),
            method_id: Some(0xbad),
            method: Some("Http.get".into()),
            phase: None,
            outcome: Some(Outcome::Ok),
            latency_ns: Some(331_000),
            request_bytes: Some(120),
            response_bytes: Some(48_000),
            bytes: None,
        }
    }

    #[test]
    fn lines() {
        let served = Event {
            direction: Some(Direction::Incoming),
            outcome: Some(Outcome::ConnectionClosed),
            latency_ns: Some(61_000_000_000),
            method: Some("数据.读取".into()),
            connection_name: None,
            ..end()
        };
        let unnamed = Event {
            time: end().time + jiff::SignedDuration::from_secs(1),
            method: None,
            outcome: Some(Outcome::UserError),
            ..end()
        };
        let unseen = Event {
            direction: None,
            kind: None,
            connection_name: None,
            method_id: None,
            method: None,
            latency_ns: None,
            request_bytes: None,
            ..end()
        };
        let connect = Event {
            kind: Some(RequestKind::Connect),
            method: None,
            ..end()
        };
        let start = Event {
            event: EventKind::RequestStart,
            phase: Some(Phase::Queued),
            outcome: None,
            latency_ns: None,
            response_bytes: None,
            ..end()
        };
        let phase = Event {
            event: EventKind::RequestPhase,
            phase: Some(Phase::HandedOver),
            ..start.clone()
        };
        let channel = Event {
            event: EventKind::ChannelData,
            channel: Some(3 << 24),
            channel_id: Some(5),
            channel_direction: Some(ChannelDirection::Tx),
            request_bytes: None,
            bytes: Some(1_000),
            phase: None,
            ..start.clone()
        };
        let alone = Event {
            event: EventKind::ChannelClose,
            direction: None,
            channel_direction: Some(ChannelDirection::Rx),
            method_id: None,
            method: None,
            bytes: None,
            ..channel.clone()
        };
        let lost = Lost {
            time: end().time,
            event: LostEvent::Lost,
            cpu: 3,
            count: 1_200,
        };
        let mut text = TextLines::new(TimeZone::UTC);
        let mut out = Vec::new();
        text.heading(&mut out).unwrap();
        for event in [
            end(),
            served,
            unnamed,
            unseen,
            connect,
            start,
            phase,
            channel,
            alone,
        ] {
            text.line(&mut out, &Line::Event(&event)).unwrap();
        }
        text.line(&mut out, &Line::Lost(lost)).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }

    #[test]
    fn json() {
        let lost = Lost {
            time: Timestamp::UNIX_EPOCH,
            event: LostEvent::Lost,
            cpu: 3,
            count: 1_200,
        };
        let lines = [Line::Event(&end()), Line::Lost(lost)];
        let lines = lines.map(|line| serde_json::to_string(&line).unwrap());
        insta::assert_snapshot!(lines.join("\n"));
    }
}
