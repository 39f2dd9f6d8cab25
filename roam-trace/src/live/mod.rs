//! Reports what processes do, as it happens.
//!
//! Owns the event stream from the kernel's ring buffer to a line, the filters, the names that go with the ids, and the
//! histograms. [`attach`](crate::attach) attaches the probes; the commands decide where the lines go.

mod clock;
mod event;
mod filter;
mod histogram;
mod names;
mod output;
mod stop;
mod stream;
mod text;

pub(crate) use clock::WallClock;
pub(crate) use event::{Event, Line, Lost, LostEvent};
pub(crate) use filter::{MethodFilter, unnamed};
#[cfg(test)]
pub(crate) use histogram::Bucket;
pub(crate) use histogram::{MethodHistogram, histograms};
pub(crate) use names::Names;
pub(crate) use output::Output;
pub(crate) use stop::Stop;
pub(crate) use stream::{Item, Sink, Stream, Summary};
pub(crate) use text::TextLines;
