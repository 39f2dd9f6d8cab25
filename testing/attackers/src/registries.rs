//! Attacks by what registries hold, by how many there are, and by what opening one does.

use std::ffi::CString;
use std::fs::File;
use std::io::Result as IoResult;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;

use anyhow::Result;
use registry_image::row;
use roam_trace_common::event::{Direction, Phase, Role};
use roam_trace_common::limits::{CHANNELS, CONNECTIONS, METHODS, REQUESTS, STATISTICS, TYPES};
use roam_trace_common::registry::{
    ConnectionRecord, HEADER_BYTES, PhaseWord, REGION_NAME, RequestRecord, Table,
};

use crate::private;
use crate::registry::{Registry, map, memory_file, named_memory_file, publish_empty};
use crate::siege::{Siege, check};

/// More registries than a process with the usual limit can open at once.
pub(crate) fn crowd(siege: &mut Siege, processes: u32, each: u32, lone: u32) -> Result<()> {
    for _ in 0..processes {
        siege.start(|| (0..each).try_for_each(|_| publish_empty()))?;
    }
    for _ in 0..lone {
        siege.start(publish_empty)?;
    }
    Ok(())
}

/// Registries that seem to be on their way.
pub(crate) fn zeros(siege: &mut Siege, processes: u32) -> Result<()> {
    for _ in 0..processes {
        siege.start(|| {
            let file = memory_file()?;
            file.set_len(HEADER_BYTES as u64)?;
            map(&file, HEADER_BYTES, libc::PROT_READ)?;
            std::mem::forget(file);
            Ok(())
        })?;
    }
    Ok(())
}

/// A handler that seems to have run for that long.
pub(crate) fn forged(siege: &mut Siege, age_seconds: u64) -> Result<()> {
    siege.start(|| {
        let started_ns = now_ns().saturating_sub(age_seconds * 1_000_000_000).max(1);
        let registry = Registry::new([1; Table::ALL.len()])?;
        registry.fill(Table::Connections, row::connection)?;
        registry.fill(Table::Requests, |slot| running(slot, started_ns))?;
        registry.fill(Table::Methods, |_| row::method(0, b"Forged.forever"))?;
        std::mem::forget(registry.publish()?);
        Ok(())
    })?;
    Ok(())
}

/// A call whose handler runs.
pub(crate) fn running(slot: u64, started_ns: u64) -> RequestRecord {
    RequestRecord {
        started_ns,
        direction: Direction::Incoming.code(),
        phase: PhaseWord::new(1, 0, Phase::Running.code(), 5).0,
        ..row::request(slot)
    }
}

/// As many rows as registries can have.
pub(crate) fn full(siege: &mut Siege, processes: u32) -> Result<()> {
    for _ in 0..processes {
        siege.start(|| {
            let slots = [
                CONNECTIONS,
                REQUESTS,
                REQUESTS,
                CHANNELS,
                METHODS,
                TYPES,
                STATISTICS,
            ];
            let registry = Registry::new(slots)?;
            registry.fill(Table::Connections, row::connection)?;
            registry.fill(Table::Requests, |slot| RequestRecord {
                connection: row::serial(slot % u64::from(CONNECTIONS)),
                ..row::request(slot)
            })?;
            registry.fill(Table::Channels, row::channel)?;
            registry.fill(Table::Methods, |slot| row::method(slot, b"Full.method"))?;
            std::mem::forget(registry.publish()?);
            Ok(())
        })?;
    }
    Ok(())
}

/// Links of processes that share memory, none of which differs from another.
pub(crate) fn alike(siege: &mut Siege, processes: u32, connections: u32) -> Result<()> {
    let shared = named_memory_file("shared", 0)?;
    shared.set_len(HEADER_BYTES as u64)?;
    map(&shared, HEADER_BYTES, libc::PROT_READ)?;
    for process in 0..processes {
        siege.start(|| {
            let role = if process % 2 == 0 {
                Role::Initiator
            } else {
                Role::Acceptor
            };
            let mut slots = [connections; Table::ALL.len()];
            slots[Table::Statistics as usize] = 1;
            let registry = Registry::new(slots)?;
            registry.fill(Table::Connections, |slot| ConnectionRecord {
                role: role.code(),
                messages_sent: 1,
                bytes_sent: 1,
                messages_received: 1,
                bytes_received: 1,
                ..row::connection(slot)
            })?;
            registry.fill(Table::Requests, |slot| RequestRecord {
                connection: row::serial(slot),
                request_id: 1,
                ..if role == Role::Initiator {
                    row::request(slot)
                } else {
                    running(slot, 1)
                }
            })?;
            std::mem::forget(registry.publish()?);
            Ok(())
        })?;
    }
    Ok(())
}

/// A write lease on a registry and on a file with code: the kernel has whoever opens one wait until the holder gives
/// the lease up, 45 s at the most (`fs.lease-break-time`).
pub(crate) fn leases(siege: &mut Siege, processes: u32) -> Result<()> {
    for _ in 0..processes {
        siege.start(|| {
            let registry = Registry::new([1; Table::ALL.len()])?.publish()?;
            lease(&registry)?;
            let code = named_memory_file("code", 0)?;
            code.set_len(HEADER_BYTES as u64)?;
            map(&code, HEADER_BYTES, libc::PROT_READ | libc::PROT_EXEC)?;
            lease(&code)?;
            std::mem::forget((registry, code));
            Ok(())
        })?;
    }
    Ok(())
}

fn lease(file: &File) -> IoResult<()> {
    // The kernel does not count the first description of a memory file as an open one.
    let reader = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    // SAFETY: both only take numbers.
    unsafe {
        // The kernel asks for the lease by this signal.
        libc::signal(libc::SIGIO, libc::SIG_IGN);
        check(libc::fcntl(reader.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK).into())?;
    }
    std::mem::forget(reader);
    Ok(())
}

/// Files that are called what a registry is called in the list of mappings, and are none: some of them pipes.
pub(crate) fn imitations(siege: &mut Siege, files: u32) -> Result<()> {
    siege.start(|| {
        // Below a root of its own, so that the path has nothing in front of that name.
        private::enter_empty_root()?;
        for index in 0..files {
            let name = format!("/memfd:{REGION_NAME} (deleted)");
            let file = File::options()
                .create_new(true)
                .read(true)
                .write(true)
                .open(&name)?;
            file.set_len(HEADER_BYTES as u64)?;
            map(&file, HEADER_BYTES, libc::PROT_READ)?;
            std::fs::remove_file(&name)?;
            let pipe = CString::new(name.as_str())?;
            // SAFETY: `pipe` is a string of C's.
            check(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }.into())?;
            let opened = File::options().read(true).write(true).open(&name)?;
            std::fs::rename(&name, format!("/{index}"))?;
            std::mem::forget((file, opened));
        }
        symlink("/0", format!("/memfd:{REGION_NAME}"))?;
        publish_empty()
    })?;
    Ok(())
}

/// This moment on `CLOCK_MONOTONIC`.
pub(crate) fn now_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is where the time is written to.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
