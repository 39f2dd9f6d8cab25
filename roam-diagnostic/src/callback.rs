//! Callbacks by which a program adds text to its own dumps. Each runs on a thread of its own with a time limit.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// How long the callbacks of a dump may take, which run at the same time.
const LIMIT: Duration = Duration::from_secs(1);

static CALLBACKS: Mutex<Vec<Arc<Callback>>> = Mutex::new(Vec::new());

struct Callback {
    name: String,
    /// What the callback is forgotten with.
    owner: Option<Weak<dyn Any + Send + Sync>>,
    /// Appends to the dump.
    run: Box<dyn Fn(&mut String) + Send + Sync>,
    /// A call has not returned yet.
    is_running: AtomicBool,
}

impl Callback {
    fn is_wanted(&self) -> bool {
        let owner = self.owner.as_ref();
        owner.is_none_or(|owner| owner.strong_count() > 0)
    }
}

/// What a callback's thread hands over when the callback has returned.
#[derive(Default)]
struct Returned {
    /// The text, or what the callback panicked with.
    result: Mutex<Option<thread::Result<String>>>,
    is_there: Condvar,
}

impl Returned {
    /// The callback's text, or why there is none by then.
    fn text(&self, deadline: Instant) -> Result<String, String> {
        let left = deadline.saturating_duration_since(Instant::now());
        let (mut result, _) = self
            .is_there
            .wait_timeout_while(lock(&self.result), left, |result| result.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        match result.take() {
            Some(Ok(text)) => Ok(text),
            Some(Err(_)) => Err("its callback panicked".to_owned()),
            None => Err("its callback takes longer than 1 s".to_owned()),
        }
    }
}

/// Registers a callback whose text is added to every dump. If the callback panics or takes longer than one
/// second, the dump has a line that says so, with `name`, instead.
pub fn register_diagnostic(
    name: impl Into<String>,
    callback: impl Fn(&mut String) + Send + Sync + 'static,
) {
    register(name.into(), None, Box::new(callback));
}

/// Registers a callback as [`register_diagnostic`] does, until `owner` is dropped.
pub fn register_diagnostic_of<T: Send + Sync + 'static>(
    owner: &Arc<T>,
    name: impl Into<String>,
    callback: impl Fn(&T, &mut String) + Send + Sync + 'static,
) {
    let weak = Arc::downgrade(owner);
    let run = move |text: &mut String| {
        if let Some(owner) = weak.upgrade() {
            callback(&owner, text);
        }
    };
    let owner: Weak<T> = Arc::downgrade(owner);
    register(name.into(), Some(owner), Box::new(run));
}

fn register(
    name: String,
    owner: Option<Weak<dyn Any + Send + Sync>>,
    run: Box<dyn Fn(&mut String) + Send + Sync>,
) {
    let mut callbacks = lock(&CALLBACKS);
    // A program may register one for each of its connections and never dump.
    callbacks.retain(|callback| callback.is_wanted());
    callbacks.push(Arc::new(Callback {
        name,
        owner,
        run,
        is_running: AtomicBool::new(false),
    }));
}

/// Runs every callback, each on a thread of its own, and passes their texts, or why there is none, to `write`.
pub fn run_all(mut write: impl FnMut(&str)) {
    let callbacks = lock(&CALLBACKS).clone();
    let wanted = callbacks.iter().filter(|callback| callback.is_wanted());
    let started: Vec<_> = wanted
        .map(|callback| (&callback.name, start(callback)))
        .collect();
    let deadline = Instant::now() + LIMIT;
    for (name, started) in started {
        match started.and_then(|returned| returned.text(deadline)) {
            Ok(text) if text.is_empty() => {}
            Ok(text) => write(&format!("[{name}] {}\n", text.trim_end())),
            Err(why) => write(&format!("[{name}] skipped: {why}\n")),
        }
    }
}

/// Starts a thread that runs a callback, unless there is a reason not to.
fn start(callback: &Arc<Callback>) -> Result<Arc<Returned>, String> {
    if callback.is_running.swap(true, Ordering::AcqRel) {
        return Err("its callback is still running from an earlier dump".to_owned());
    }
    let returned = Arc::new(Returned::default());
    let (running, returning) = (Arc::clone(callback), Arc::clone(&returned));
    let started = thread::Builder::new()
        .name("roam-diagnostic".into())
        .spawn(move || {
            let mut text = String::new();
            let result = catch_unwind(AssertUnwindSafe(|| (running.run)(&mut text)));
            running.is_running.store(false, Ordering::Release);
            *lock(&returning.result) = Some(result.map(|()| text));
            returning.is_there.notify_one();
        });
    if let Err(error) = started {
        callback.is_running.store(false, Ordering::Release);
        return Err(format!("cannot start a thread: {error}"));
    }
    Ok(returned)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_is_forgotten_with_its_owner() {
        let dump = || {
            let mut text = String::new();
            run_all(|part| text.push_str(part));
            text
        };
        let owner = Arc::new(93);
        register_diagnostic_of(&owner, "owned", |owner, text| {
            text.push_str(&owner.to_string())
        });
        assert_eq!(dump(), "[owned] 93\n");
        drop(owner);
        assert_eq!(dump(), "");
        for _ in 0..3 {
            register_diagnostic_of(&Arc::new(()), "gone", |(), _| {});
        }
        assert_eq!(lock(&CALLBACKS).len(), 1);
    }
}
