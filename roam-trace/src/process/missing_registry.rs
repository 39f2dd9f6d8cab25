//! Why a process has no registry of its own.

use std::io;

use procfs::FromBufRead;
use procfs::process::{LimitValue, Limits};
use roam_trace_common::limits::{CHANNELS, CONNECTIONS, METHODS, REQUESTS, STATISTICS, TYPES};
use roam_trace_common::registry::Table;

use super::proc::Process;

/// Why a process that has probes has no registry that others can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingRegistry {
    /// The process has had no connection yet.
    NothingReported,
    /// It was started with `ROAM_DIAGNOSTIC=off`.
    SwitchedOff,
    /// The limit on the size of files is smaller than a registry.
    FileSizeLimit {
        /// The limit, in bytes.
        bytes: u64,
    },
}

impl MissingRegistry {
    /// Finds out why a process has none, by its environment and its limits.
    ///
    /// # Errors
    ///
    /// The error of the system call.
    pub fn of(process: &Process) -> io::Result<Self> {
        let environment = process.read_file("environ")?;
        if is_switched_off(&environment) {
            return Ok(Self::SwitchedOff);
        }
        let limits = process.read_file("limits")?;
        let limits = Limits::from_buf_read(&limits[..]).map_err(io::Error::other)?;
        Ok(match limits.max_file_size.soft_limit {
            LimitValue::Value(bytes) if bytes < region_bytes(requests(&environment)) => {
                Self::FileSizeLimit { bytes }
            }
            _ => Self::NothingReported,
        })
    }
}

fn is_switched_off(environment: &[u8]) -> bool {
    variable(environment, b"ROAM_DIAGNOSTIC=") == Some(b"off")
}

/// Request slots that a program with this environment makes; `None` if only its probes report requests.
fn requests(environment: &[u8]) -> Option<u32> {
    if variable(environment, b"ROAM_DIAGNOSTIC=") == Some(b"probes") {
        return None;
    }
    let requests = variable(environment, b"ROAM_DIAGNOSTIC_REQUESTS=")
        .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    requests.or(Some(REQUESTS))
}

fn variable<'a>(environment: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    environment
        .split(|&byte| byte == 0)
        .find_map(|entry| entry.strip_prefix(prefix))
}

/// Bytes of a registry with that many request slots; `None` if it has no statistics either.
fn region_bytes(requests: Option<u32>) -> u64 {
    Table::ALL
        .into_iter()
        .map(|table| {
            let slots = match table {
                Table::Connections => CONNECTIONS,
                Table::Requests | Table::Arguments => requests.unwrap_or(0),
                Table::Channels => CHANNELS,
                Table::Methods => METHODS,
                Table::Types => TYPES,
                Table::Statistics => requests.map_or(0, |_| STATISTICS),
            };
            u64::from(slots) * table.slot_bytes() as u64
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(environment: &[u8], off: bool, expected_requests: impl Into<Option<u32>>) {
        assert_eq!(is_switched_off(environment), off);
        assert_eq!(requests(environment), expected_requests.into());
    }

    #[test]
    fn environments() {
        check(b"", false, REQUESTS);
        check(b"A=1\0ROAM_DIAGNOSTIC=off\0", true, REQUESTS);
        check(b"ROAM_DIAGNOSTIC=on\0B=\0", false, REQUESTS);
        check(b"ROAM_DIAGNOSTIC=probes\0", false, None);
        check(b"XROAM_DIAGNOSTIC=off\0", false, REQUESTS);
        check(b"ROAM_DIAGNOSTIC_REQUESTS=512\0", false, 512);
        check(b"ROAM_DIAGNOSTIC_REQUESTS=\xff\0", false, REQUESTS);
    }
}
