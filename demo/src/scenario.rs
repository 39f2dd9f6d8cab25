//! `roam-demo host` from start to end: starts the cells, produces the hang, prints what a dump must show, and
//! waits for a signal.

use std::any::Any;

use anyhow::{Context, Result, ensure};
use tokio::sync::mpsc::unbounded_channel;

use crate::cli::{HangKind, HostOptions, Transport};
use crate::control;
use crate::diagnostics;
use crate::expect::Ready;
use crate::hang::{self, Stuck};
use crate::host::{Host, links_cells};
use crate::process::{self, Group, block_workers};
use crate::service::register_names;

/// Runs a host until a signal ends it.
pub fn run(options: &HostOptions) -> Result<()> {
    let two_cells = options.hang.is_some_and(links_cells);
    ensure!(
        options.cells >= 2 || !two_cells,
        "this hang needs --cells 2 or more"
    );
    check_transport(options)?;
    process::set_name("demo-host")?;
    diagnostics::install()?;
    register_names();
    let group = Group::new()?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = options.workers {
        runtime.worker_threads(workers as usize);
    }
    let runtime = runtime
        .thread_name("demo-worker")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(play(options, &group));
    group.end();
    result
}

fn check_transport(options: &HostOptions) -> Result<()> {
    let needed = options.hang.and_then(HangKind::transport);
    match options.transport {
        Transport::Socket => ensure!(
            needed != Some(Transport::Shm),
            "this hang needs --transport shm"
        ),
        Transport::Shm => {
            ensure!(
                needed != Some(Transport::Socket),
                "this hang needs --transport socket"
            );
            ensure!(options.links == 1, "a cell has one link over shared memory");
            ensure!(!options.restart, "--restart needs --transport socket");
        }
    }
    Ok(())
}

async fn play(options: &HostOptions, group: &Group) -> Result<()> {
    let (failed, mut failures) = unbounded_channel();
    let beginning = async {
        let host = Host::start(options, group, failed).await?;
        let settled = settle(&host, options).await?;
        print(&settled.ready)?;
        anyhow::Ok((host, settled))
    };
    // Links and channels stay open for as long as somebody owns them.
    let (mut host, _settled) = tokio::select! {
        Some(failure) = failures.recv() => return Err(failure.error),
        begun = beginning => begun?,
    };
    while let Some(failure) = failures.recv().await {
        if !options.restart || failure.cell.is_none() {
            return Err(failure.error);
        }
        // One cell's end makes everything fail that has to do with it.
        let mut cells = host.cells.iter();
        if let Some(ended) = cells.position(|cell| failure.cell == Some(cell.pid)) {
            print(&host.restart(options, group, ended).await?)?;
        }
    }
    Ok(())
}

/// A host whose requests are all in their final phase.
struct Settled {
    ready: Ready,
    _held: Vec<Box<dyn Any + Send>>,
}

/// Runs normally for as long as the options say, then produces the hang.
async fn settle(host: &Host, options: &HostOptions) -> Result<Settled> {
    for cell in &host.cells {
        cell.await_traffic().await?;
    }
    let flood = match options.flood {
        0 => None,
        calls => Some(host.flood(calls).await?),
    };
    let stuck = match options.hang {
        None => Stuck::default(),
        Some(kind) => {
            tokio::time::sleep(options.hang_after.unwrap_or_default()).await;
            hang::start(kind, host).await?
        }
    };
    if options.block_workers {
        // A background call would be stuck too, without anybody expecting it.
        for cell in &host.cells {
            cell.pause_traffic().await?;
        }
        block_workers().await?;
    }
    Ok(Settled {
        ready: Ready {
            ready: true,
            host: host.witness.pid,
            cells: host.cells.iter().map(|cell| cell.pid).collect(),
            expect: stuck.requests,
            expect_channels: stuck.channels,
            expect_delivering: stuck.delivering,
            flood,
        },
        _held: stuck.held,
    })
}

fn print(line: &impl serde::Serialize) -> Result<()> {
    control::write(std::io::stdout().lock(), line).context("cannot write to standard output")
}
