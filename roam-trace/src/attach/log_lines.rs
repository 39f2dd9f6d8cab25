//! The lines that the programs log with aya-log.

use std::sync::{Arc, Mutex, PoisonError};

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

/// Reads the programs' log.
pub(super) struct LogLines {
    reader: EbpfLogger<Arc<Collector>>,
    lines: Arc<Collector>,
}

impl LogLines {
    pub(super) fn open(bpf: &mut Ebpf) -> Result<Self, aya_log::Error> {
        let lines = Arc::new(Collector::default());
        Ok(Self {
            reader: EbpfLogger::init_with_logger(bpf, Arc::clone(&lines))?,
            lines,
        })
    }

    /// The lines since the last call.
    pub(super) fn take(&mut self) -> Vec<String> {
        self.reader.flush();
        std::mem::take(&mut *self.lines.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps what aya-log decodes, instead of handing it to the process's logger.
#[derive(Default)]
struct Collector(Mutex<Vec<String>>);

impl Log for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(record.args().to_string());
    }

    fn flush(&self) {}
}
