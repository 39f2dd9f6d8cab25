//! Connections: a row from open to close.

use aya_ebpf::{bindings::BPF_ANY, macros::uprobe, programs::ProbeContext};
use roam_trace_common::event::{ConnectionValue, Loss};

use crate::{
    maps::{CONNECTIONS, inserted, now_ns, removed},
    process::record_key,
};

#[uprobe]
fn connection_open(ctx: ProbeContext) -> Option<()> {
    let (key, target) = record_key(&ctx)?;
    let value = ConnectionValue {
        link: ctx.arg(1)?,
        conn_id: ctx.arg(2)?,
        opened_ns: now_ns(),
        role: ctx.arg::<u64>(3)? as u32,
        seen: 1,
    };
    inserted(
        CONNECTIONS.insert(key, value, BPF_ANY.into()),
        // SAFETY: No more than the address.
        unsafe { &raw mut (*target).connections },
        Loss::ConnectionInsert,
    );
    Some(())
}

#[uprobe]
fn connection_close(ctx: ProbeContext) -> Option<()> {
    let (key, target) = record_key(&ctx)?;
    removed(
        CONNECTIONS.remove(key),
        // SAFETY: No more than the address.
        unsafe { &raw mut (*target).connections },
        Loss::ConnectionUnmatched,
        Loss::ConnectionDelete,
    );
    Some(())
}
