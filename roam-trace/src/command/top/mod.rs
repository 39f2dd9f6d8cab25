//! `roam-trace top`: shows on the terminal, again and again, what processes do.
//!
//! One thread does everything: reads the processes, draws, and takes keys and signals in between. A process that keeps
//! its readers waiting holds all of that up for a second at the most, and once.

mod collect;
mod screen;

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use anyhow::{Context, Result};
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::collect::Collector;
use self::screen::Screen;
use super::errors::Errors;
use crate::cli::TopArgs;
use crate::error::Exit;
use crate::signals::SignalsBlocked;
use crate::top::{State, Step, Theme};

/// Longer than anybody watches, and not so long that adding it to now overflows.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

/// Shows the processes until the user quits.
///
/// # Errors
///
/// Where processes cannot be listed, or the terminal cannot be drawn on.
pub(super) fn run(args: &TopArgs, color: bool, verbose: bool) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(show(args, Theme { color }, verbose))
}

async fn show(args: &TopArgs, theme: Theme, verbose: bool) -> Result<Exit> {
    // Before the first probe is attached, and before the terminal is changed: from then on a signal must end the loop below,
    // not the program.
    let mut signals = Signals::catch().context("cannot install the handlers of signals")?;
    let mut errors = Errors::default();
    let Some(mut collector) = Collector::open(args, verbose, &mut errors)? else {
        return Ok(errors.exit());
    };
    // The log would be written over what is drawn; in a file it is kept.
    if stderr().is_terminal() {
        log::set_max_level(log::LevelFilter::Off);
    }
    let mut state = State::default();
    state.apply(collector.read());
    let mut screen = Screen::enter(theme).context("cannot draw on the terminal")?;
    // Its thread takes no signals, as no other but this one does.
    let blocked = SignalsBlocked::begin();
    let mut events = EventStream::new();
    drop(blocked);
    let duration = args.duration.unwrap_or(FOR_EVER);
    let end = sleep_until(Instant::now() + duration.min(FOR_EVER));
    tokio::pin!(end);
    let mut ticks = interval(args.interval.min(FOR_EVER));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    loop {
        screen
            .draw(&mut state)
            .context("cannot draw on the terminal")?;
        let step = tokio::select! {
            () = &mut end => Step::Quit,
            step = signals.next() => step,
            event = events.next() => match event {
                Some(event) => take(event.context("cannot read keys")?, &mut state),
                None => Step::Quit,
            },
            _ = ticks.tick() => {
                if !state.is_paused() {
                    state.apply(collector.read());
                }
                Step::Continue
            }
        };
        match step {
            Step::Continue => {}
            Step::Quit => break,
            Step::Suspend => screen.suspend().context("cannot draw on the terminal")?,
        }
    }
    // Probes are detached while the terminal still shows the last reading: that takes a moment.
    drop(collector);
    drop(screen);
    Ok(errors.exit())
}

fn take(event: Event, state: &mut State) -> Step {
    match event {
        Event::Key(key) if key.is_press() => state.press(key),
        // The loop draws anew, and the screen asks for its size.
        _ => Step::Continue,
    }
}

/// The signals that end or stop a program.
struct Signals {
    ending: [Signal; 3],
    stopping: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            ending: [
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            ],
            stopping: signal(SignalKind::from_raw(signal_hook::consts::SIGTSTP))?,
        })
    }

    async fn next(&mut self) -> Step {
        let [interrupt, terminate, hangup] = &mut self.ending;
        tokio::select! {
            _ = interrupt.recv() => Step::Quit,
            _ = terminate.recv() => Step::Quit,
            _ = hangup.recv() => Step::Quit,
            _ = self.stopping.recv() => Step::Suspend,
        }
    }
}
