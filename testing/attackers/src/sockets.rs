//! Attacks by sockets: how many there are, and who holds them.

use std::io::Result as IoResult;
use std::os::unix::net::UnixStream;

use anyhow::Result;

use crate::private;
use crate::registry::publish_empty;
use crate::siege::Siege;

/// Processes with sockets of their own, and nothing else.
pub(crate) fn many(siege: &mut Siege, processes: u32, pairs: u32) -> Result<()> {
    for _ in 0..processes {
        siege.start(|| connect(pairs))?;
    }
    Ok(())
}

/// The same sockets in every process.
pub(crate) fn inherited(siege: &mut Siege, processes: u32, pairs: u32) -> Result<()> {
    connect(pairs)?;
    for _ in 0..processes {
        siege.start(publish_empty)?;
    }
    Ok(())
}

/// Registries in network namespaces of their own: each has its own list of sockets.
pub(crate) fn namespaces(siege: &mut Siege, processes: u32, pairs: u32) -> Result<()> {
    for _ in 0..processes {
        siege.start(|| {
            private::enter(libc::CLONE_NEWNET)?;
            connect(pairs)?;
            publish_empty()
        })?;
    }
    Ok(())
}

/// Makes pairs of connected sockets, for as long as the process lives.
fn connect(pairs: u32) -> IoResult<()> {
    for _ in 0..pairs {
        std::mem::forget(UnixStream::pair()?);
    }
    Ok(())
}
