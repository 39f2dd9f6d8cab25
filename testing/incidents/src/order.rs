//! What a process does at the supervisor's order.

use std::fs::{self, File};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::app::App;
use crate::control::{Order, Report};
use crate::witness::lock;
use crate::{churn, load};

/// Descriptors that a process may have once they are to be few.
const DESCRIPTORS: u64 = 256;

/// Follows an order. Called on a thread that is no worker of the runtime.
pub(crate) fn follow(app: &Arc<App>, runtime: &Handle, order: Order, workers: usize) -> Result<()> {
    match order {
        Order::Call {
            method,
            count,
            at_once,
            ticket,
        } => {
            let permits = Arc::new(Semaphore::new(at_once as usize));
            for _ in 0..count {
                let (app, ticket, permits) = (app.clone(), ticket.clone(), permits.clone());
                runtime.spawn(async move {
                    let _permit = permits.acquire().await;
                    let ok = app.call(method, &ticket).await.is_ok();
                    app.report(&Report::Ended { method, ok });
                });
            }
        }
        Order::Repeat {
            method,
            pause_ms,
            ticket,
        } => {
            let app = app.clone();
            runtime.spawn(async move {
                loop {
                    let _ = app.call(method, &ticket).await;
                    sleep(Duration::from_millis(pause_ms)).await;
                }
            });
        }
        Order::Load { rate, has_limit } => {
            drop(runtime.spawn(load::calls(app.clone(), rate, has_limit)))
        }
        Order::ComeAndGo => drop(runtime.spawn(churn::for_ever(app.clone()))),
        Order::Poll { count, length_ms } => {
            let length = Duration::from_millis(length_ms);
            runtime.spawn(load::polls(app.clone(), count, length));
        }
        Order::OpenGate => {
            app.gate.send_replace(true);
        }
        Order::BlockWorkers => {
            block(runtime, workers)?;
            app.report(&Report::Blocked);
        }
        Order::BlockDedicated => {
            let dedicated = lock(&app.dedicated).clone();
            block(&dedicated.context("no link has a thread of its own")?, 1)?;
            app.report(&Report::Blocked);
        }
        Order::Churn {
            count,
            method,
            ticket,
        } => {
            runtime.spawn(churn::at_once(app.clone(), count, method, ticket));
        }
        Order::FillDescriptors { leave } => {
            let report = fill_descriptors(leave)?;
            app.report(&report);
        }
        Order::Count => {
            let counts = app.node.witness.counts();
            let counts = counts.into_iter().map(|(incoming, method, count)| {
                serde_json::json!({ "incoming": incoming, "method": method, "count": count })
            });
            app.report(&Report::Counts(counts.collect()));
        }
    }
    Ok(())
}

/// Blocks every worker of a runtime for good; returns once all are blocked.
fn block(runtime: &Handle, workers: usize) -> Result<()> {
    let everybody = Arc::new(Barrier::new(workers));
    let (blocked, all_blocked) = mpsc::channel();
    for _ in 0..workers {
        let (everybody, blocked) = (everybody.clone(), blocked.clone());
        runtime.spawn(async move {
            // A thread that waits here takes no second task, so each task has a worker of its own.
            everybody.wait();
            let _ = blocked.send(());
            loop {
                thread::sleep(Duration::from_secs(3600));
            }
        });
    }
    for _ in 0..workers {
        all_blocked.recv().context("the runtime stopped")?;
    }
    Ok(())
}

fn fill_descriptors(leave: u64) -> Result<Report> {
    let open = || fs::read_dir("/proc/self/fd").map(Iterator::count);
    let limit = DESCRIPTORS.max(open()? as u64 + 64);
    let hard = getrlimit(Resource::Nofile).maximum;
    let lowered = Rlimit {
        current: Some(limit),
        maximum: hard,
    };
    setrlimit(Resource::Nofile, lowered).context("cannot lower the limit of descriptors")?;
    // Listing them takes one.
    while (open()? as u64) < limit - leave + 1 {
        std::mem::forget(File::open("/dev/null")?);
    }
    Ok(Report::Descriptors {
        open: limit - leave,
        limit,
    })
}
