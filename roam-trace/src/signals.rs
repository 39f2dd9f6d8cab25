//! Blocks signals while probes are attached or detached, and in every thread beside the main one.

use nix::sys::signal::{SigSet, SigmaskHow};

/// Blocks every signal to this thread, and to threads that it starts, until it is dropped.
///
/// The kernel does not touch the memory of a target for a process that is about to end: a fatal signal while
/// probes are attached or detached leaves breakpoints in the target. A signal that is handled makes loading
/// a program fail (EAGAIN). A single thread that takes signals is enough for a fatal one to be delivered.
pub(crate) struct SignalsBlocked(nix::Result<SigSet>);

impl SignalsBlocked {
    pub(crate) fn begin() -> Self {
        Self(SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK))
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        if let Ok(before) = &self.0 {
            // It worked a moment ago, with the same kind of mask.
            let _ = before.thread_set_mask();
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    fn is_blocked(signal: Signal) -> bool {
        SigSet::thread_get_mask().unwrap().contains(signal)
    }

    #[test]
    fn signals_are_blocked_and_unblocked() {
        assert!(!is_blocked(Signal::SIGTERM));
        let outer = SignalsBlocked::begin();
        drop(SignalsBlocked::begin());
        assert!(is_blocked(Signal::SIGTERM));
        drop(outer);
        assert!(!is_blocked(Signal::SIGTERM));
    }
}
