//! What a program adds to its own dumps: callbacks, each run on a thread of its own and within a time limit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a callback may take.
const LIMIT: Duration = Duration::from_secs(1);

static CALLBACKS: Mutex<Vec<Arc<Callback>>> = Mutex::new(Vec::new());

struct Callback {
    name: String,
    /// Appends to the dump. `false`: what it was registered for is gone.
    run: Box<dyn Fn(&mut String) -> bool + Send + Sync>,
    /// A call has not returned yet.
    is_running: AtomicBool,
}

/// Adds the text that `callback` appends to every dump. Where it panics or runs for over a second, the dump
/// has a line with `name` instead.
pub fn register_diagnostic(
    name: impl Into<String>,
    callback: impl Fn(&mut String) + Send + Sync + 'static,
) {
    register(name.into(), move |text| {
        callback(text);
        true
    });
}

/// As [`register_diagnostic`], for as long as `owner` lives.
pub fn register_diagnostic_of<T: Send + Sync + 'static>(
    owner: &Arc<T>,
    name: impl Into<String>,
    callback: impl Fn(&T, &mut String) + Send + Sync + 'static,
) {
    let owner = Arc::downgrade(owner);
    register(name.into(), move |text| match owner.upgrade() {
        Some(owner) => {
            callback(&owner, text);
            true
        }
        None => false,
    });
}

fn register(name: String, run: impl Fn(&mut String) -> bool + Send + Sync + 'static) {
    lock().push(Arc::new(Callback {
        name,
        run: Box::new(run),
        is_running: AtomicBool::new(false),
    }));
}

/// Runs every callback and hands its text, or why there is none, to `write`.
pub fn run_all(mut write: impl FnMut(&str)) {
    let callbacks = lock().clone();
    for callback in callbacks {
        match run(&callback) {
            Some(text) => write(&text),
            None => lock().retain(|known| !Arc::ptr_eq(known, &callback)),
        }
    }
}

/// The callback's text; `None` where what it was registered for is gone.
fn run(callback: &Arc<Callback>) -> Option<String> {
    let name = &callback.name;
    let skipped = |why: &str| Some(format!("[{name}] skipped: {why}\n"));
    if callback.is_running.swap(true, Ordering::AcqRel) {
        return skipped("still running since an earlier dump");
    }
    let (sender, receiver) = channel();
    let running = Arc::clone(callback);
    let started = thread::Builder::new()
        .name("roam-diagnostic".into())
        .spawn(move || {
            let mut text = String::new();
            let result = catch_unwind(AssertUnwindSafe(|| (running.run)(&mut text)));
            running.is_running.store(false, Ordering::Release);
            let _ = sender.send(result.map(|is_alive| is_alive.then_some(text)));
        });
    if let Err(error) = started {
        callback.is_running.store(false, Ordering::Release);
        return skipped(&format!("cannot start a thread: {error}"));
    }
    match receiver.recv_timeout(LIMIT) {
        Ok(Ok(None)) => None,
        Ok(Ok(Some(text))) if text.is_empty() => Some(text),
        Ok(Ok(Some(text))) => Some(format!("[{name}] {}\n", text.trim_end())),
        Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => skipped("panicked"),
        Err(RecvTimeoutError::Timeout) => skipped("takes over 1 s"),
    }
}

fn lock() -> MutexGuard<'static, Vec<Arc<Callback>>> {
    CALLBACKS.lock().unwrap_or_else(PoisonError::into_inner)
}
