//! `roam-trace watch`: what happens, as it happens.

use std::io::Write;

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use roam_dump::render::Counted;
use roam_trace_common::event::{LiveMode, TargetEnd};
use tokio::runtime::Builder;

use super::errors::Errors;
use super::live::{begin, divide, probed, report_end, report_failure, select_live};
use super::report::report;
use crate::attach::{LiveOptions, Tracer};
use crate::cli::{WatchArgs, WatchedEvents};
use crate::error::Exit;
use crate::live::{
    Event, Item, Line, Lost, LostEvent, MethodFilter, Names, Output, Sink, Stop, Stream, Summary,
    TextLines, WallClock,
};

/// Prints events until the end has come.
///
/// # Errors
///
/// `/proc` cannot be listed, a kernel map cannot be read, or the output cannot be written.
pub(super) fn run(args: &WatchArgs, verbose: bool, out: &mut impl Write) -> Result<Exit> {
    let mut errors = Errors::default();
    let selected = select_live(&args.targets, &mut errors)?;
    let shares = divide(&selected);
    let shares = probed(&shares, &selected, &mut errors);
    if shares.is_empty() {
        return Ok(errors.exit());
    }
    let mut stop = match Stop::on_signals(args.duration) {
        Ok(stop) => stop,
        Err(error) => {
            report_failure(error, &mut errors);
            return Ok(errors.exit());
        }
    };
    let mut filter = MethodFilter::new(&args.filter.methods);
    let Some(mut tracer) = begin(&shares, options(args, &filter), verbose, &mut errors) else {
        return Ok(errors.exit());
    };
    let names = Names::read(&shares);
    filter.decide_known(&mut tracer, &names)?;
    stop.start();
    let mut printer = Printer {
        output: Output::new(out, stop.clone()),
        format: match args.json {
            true => Format::Json,
            false => Format::Text(TextLines::new(TimeZone::system())),
        },
        names,
        filter,
        clock: WallClock::new(),
        events: 0,
    };
    printer.heading()?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for events")?;
    log::info!("watching {} processes", shares.len());
    let summary = runtime.block_on(async {
        let stream = Stream::open(tracer, shares.len())?;
        stream.run(&stop, &mut printer).await
    })?;
    printer.report(summary);
    Ok(errors.exit())
}

fn options(args: &WatchArgs, filter: &MethodFilter) -> LiveOptions {
    let min_latency = args.min_latency.unwrap_or_default();
    LiveOptions {
        mode: match args.events {
            WatchedEvents::Ends => LiveMode::Ends,
            WatchedEvents::All => LiveMode::All,
        },
        min_latency_ns: u64::try_from(min_latency.as_nanos()).unwrap_or(u64::MAX),
        outcomes: args.outcomes.iter().copied().collect(),
        direction: args.filter.direction.map(Into::into),
        filters_methods: !filter.is_empty(),
    }
}

/// What lines look like.
enum Format {
    Text(TextLines),
    Json,
}

/// Prints what happens.
struct Printer<'a, W> {
    output: Output<'a, W>,
    format: Format,
    names: Names<'a>,
    filter: MethodFilter,
    clock: WallClock,
    /// How many were printed.
    events: u64,
}

impl<W: Write> Printer<'_, W> {
    /// Prints the heading, where there is one: it shows that from now on nothing is missed.
    fn heading(&mut self) -> Result<()> {
        if let Format::Text(text) = &self.format {
            text.heading(self.output.lines())?;
        }
        Ok(self.output.flush()?)
    }

    fn print(&mut self, line: &Line<'_>) -> Result<()> {
        let lines = self.output.lines();
        match &mut self.format {
            Format::Text(text) => text.line(lines, line)?,
            Format::Json => {
                serde_json::to_writer(&mut *lines, line)?;
                lines.push(b'\n');
            }
        }
        Ok(())
    }

    /// Reports what it amounted to, on stderr.
    fn report(&self, summary: Summary) {
        let Summary { lost, unknown } = summary;
        report(&format_args!(
            "{}, {lost} lost",
            Counted(self.events, "events")
        ));
        if unknown > 0 {
            report(&format_args!(
                "{} ended whose start was not seen; the filters left them out",
                Counted(unknown, "requests")
            ));
        }
        if self.output.is_cut() {
            report(&"the last events are not printed: nothing read the output");
        }
    }
}

impl<W: Write> Sink for Printer<'_, W> {
    fn take(&mut self, item: Item, tracer: &mut Tracer) -> Result<()> {
        let record = match item {
            Item::Event(record) => record,
            Item::Lost { cpu, count } => {
                return self.print(&Line::Lost(Lost {
                    time: Timestamp::now(),
                    event: LostEvent::Lost,
                    cpu,
                    count,
                }));
            }
        };
        // The others have no method, and pass only if none is asked for.
        if record.direction != 0 {
            let method = (record.tgid, record.method_id);
            let names = &mut self.names;
            if !self.filter.decide_reported(tracer, names, method)? {
                return Ok(());
            }
        }
        let Some(event) = Event::decode(&record, &mut self.names, &self.clock) else {
            return Ok(());
        };
        self.events += 1;
        self.print(&Line::Event(&event))
    }

    fn flush(&mut self) -> Result<()> {
        self.output.flush()?;
        self.clock.update();
        Ok(self.output.check()?)
    }

    fn ended(&mut self, tgid: u32, end: TargetEnd) {
        if let Some(process) = self.names.process(tgid) {
            report_end(process, end);
        }
    }
}
