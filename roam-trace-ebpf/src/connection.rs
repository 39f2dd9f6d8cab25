//! Connections: a row from open to close.

use aya_ebpf::{bindings::BPF_ANY, macros::uprobe, programs::ProbeContext};
use roam_trace_common::event::{ConnectionValue, Loss};

use crate::{
    maps::{CONNECTIONS, lost, now_ns, removed},
    process::record_key,
};

#[uprobe]
fn connection_open(ctx: ProbeContext) -> Option<()> {
    let key = record_key(&ctx)?;
    let value = ConnectionValue {
        link: ctx.arg(1)?,
        conn_id: ctx.arg(2)?,
        opened_ns: now_ns(),
        role: ctx.arg::<u64>(3)? as u32,
        seen: 1,
    };
    if CONNECTIONS.insert(key, value, BPF_ANY.into()).is_err() {
        lost(Loss::ConnectionInsert);
    }
    Some(())
}

#[uprobe]
fn connection_close(ctx: ProbeContext) -> Option<()> {
    let key = record_key(&ctx)?;
    removed(
        CONNECTIONS.remove(key),
        Loss::ConnectionUnmatched,
        Loss::ConnectionDelete,
    );
    Some(())
}
