//! The stream of events: what is read of the ring buffer, and when.

use std::time::Duration;

use anyhow::{Context, Result};
use roam_trace_common::event::{EventRecord, TargetEnd};
use tokio::io::unix::AsyncFd;
use tokio::time::{MissedTickBehavior, interval};

use super::stop::Stop;
use crate::attach::Tracer;
use crate::kernel::{Events, LiveCounts};
use crate::watch::log_ebpf;

/// The time after which events are read although they are few. Many wake the reader earlier.
const TICK: Duration = Duration::from_millis(50);

/// Events that are read before they are printed.
const BATCH: usize = 4_096;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    Event(EventRecord),
    /// Events of a CPU that were lost after those before, and before those after.
    Lost {
        cpu: u32,
        count: u64,
    },
}

/// Where a stream goes.
pub(crate) trait Sink {
    /// Takes what happened.
    ///
    /// # Errors
    ///
    /// A kernel map cannot be written.
    fn take(&mut self, item: Item, tracer: &mut Tracer) -> Result<()>;

    /// Passes on what it has taken.
    ///
    /// # Errors
    ///
    /// It cannot be passed on.
    fn flush(&mut self) -> Result<()>;

    /// Takes note that a process can report nothing any more.
    fn ended(&mut self, tgid: u32, end: TargetEnd);
}

/// The events of some processes.
pub(crate) struct Stream {
    tracer: Tracer,
    events: AsyncFd<Events>,
    lost: LossesByCpu,
    /// The processes whose end was noticed.
    ended: Vec<u32>,
    /// How many processes are watched.
    targets: usize,
}

/// What a stream amounted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Events that were lost.
    pub(crate) lost: u64,
    /// Requests that ended and that the filters left out, since nothing is known of their start.
    pub(crate) unknown: u64,
}

impl Stream {
    /// Opens the stream of a tracer that was asked for one. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// The ring buffer cannot be opened.
    pub(crate) fn open(mut tracer: Tracer, targets: usize) -> Result<Self> {
        let events = tracer.open_events()?.wait_by_tokio();
        let events = events.context("cannot wait for the ring buffer")?;
        Ok(Self {
            tracer,
            events,
            lost: LossesByCpu::default(),
            ended: Vec::new(),
            targets,
        })
    }

    /// Passes on what happens until the end has come, or no process is left. Then it detaches the probes, and passes on
    /// what is left.
    ///
    /// # Errors
    ///
    /// A kernel map cannot be read, or an error of the sink.
    pub(crate) async fn run(mut self, stop: &Stop, sink: &mut impl Sink) -> Result<Summary> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_due() && self.ended.len() < self.targets {
            tokio::select! {
                ready = self.events.readable_mut() => {
                    ready.context("cannot wait for the ring buffer")?.clear_ready();
                }
                _ = tick.tick() => {
                    // Noticed before the events are read, so that none of them is left.
                    self.notice_ends(sink)?;
                    log_ebpf(&mut self.tracer);
                }
            }
            while self.pass_on(sink)? && !stop.is_due() {}
            // A CPU that lost events may have no other for long.
            self.pass_on_losses(sink)?;
        }
        self.finish(sink)
    }

    fn finish(mut self, sink: &mut impl Sink) -> Result<Summary> {
        self.tracer.detach();
        while self.pass_on(sink)? {}
        let LiveCounts { lost, unknown } = self.pass_on_losses(sink)?;
        log_ebpf(&mut self.tracer);
        Ok(Summary {
            lost: lost.iter().sum(),
            unknown,
        })
    }

    /// Passes on what was lost since the last event of each CPU.
    fn pass_on_losses(&mut self, sink: &mut impl Sink) -> Result<LiveCounts> {
        let counts = self.tracer.live_counts()?;
        for (cpu, &lost) in (0..).zip(&counts.lost) {
            if let Some(count) = self.lost.since(cpu, lost) {
                sink.take(Item::Lost { cpu, count }, &mut self.tracer)?;
            }
        }
        sink.flush()?;
        Ok(counts)
    }

    /// Passes on a batch of what is queued. Returns whether there may be more.
    fn pass_on(&mut self, sink: &mut impl Sink) -> Result<bool> {
        let Self {
            tracer,
            events,
            lost,
            ..
        } = self;
        let mut count = 0;
        while count < BATCH
            && let Some(event) = events.get_mut().take()
        {
            count += 1;
            if let Some(count) = lost.since(event.cpu, event.lost) {
                let cpu = event.cpu;
                sink.take(Item::Lost { cpu, count }, tracer)?;
            }
            sink.take(Item::Event(event), tracer)?;
        }
        sink.flush()?;
        Ok(count == BATCH)
    }

    fn notice_ends(&mut self, sink: &mut impl Sink) -> Result<()> {
        for (tgid, end) in self.tracer.ended_targets()? {
            if !self.ended.contains(&tgid) {
                self.ended.push(tgid);
                sink.ended(tgid, end);
            }
        }
        Ok(())
    }
}

/// How many events each CPU had lost at its last event.
#[derive(Debug, Default)]
struct LossesByCpu(Vec<u64>);

impl LossesByCpu {
    /// Returns how many a CPU has lost since, if it has.
    fn since(&mut self, cpu: u32, lost: u64) -> Option<u64> {
        let cpu = cpu as usize;
        if lost == 0 {
            return None;
        }
        if self.0.len() <= cpu {
            self.0.resize(cpu + 1, 0);
        }
        // A program that another one interrupts may put its event behind that of the other.
        let before = self.0[cpu];
        self.0[cpu] = before.max(lost);
        lost.checked_sub(before).filter(|&count| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_reported_once_by_cpu() {
        let mut losses = LossesByCpu::default();
        assert_eq!(losses.since(1, 0), None);
        assert_eq!(losses.since(1, 7), Some(7));
        assert_eq!(losses.since(0, 2), Some(2));
        assert_eq!(losses.since(1, 7), None);
        assert_eq!(losses.since(1, 6), None);
        assert_eq!(losses.since(1, 9), Some(2));
    }
}
