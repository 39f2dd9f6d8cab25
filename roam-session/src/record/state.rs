//! How far an incoming request got: the part of it that driver and handler both
//! change.

use std::sync::atomic::{AtomicU8, Ordering};

use roam_diagnostic::registry::Outcome;

/// How far a request got, and with that how its row ends.
///
/// ```text
///   this crate's driver                      another crate's
///            │                                     │
///            ▼                                     ▼
///      ┌──────────┐          adopted          ┌─────────┐
///      │ Received ├──────────────────────────►│ Serving │
///      └─────┬────┘                           └────┬────┘
///            │ answered                            │ answered
///            │            ┌──────────┐             │
///            └───────────►│ Answered │◄────────────┘
///                         └────┬─────┘
///                              │ from each of these three
///            ┌─────────────────┼───────────────────┐
///            │ unanswered      │ cancelled         │ disconnected
///            ▼                 ▼                   ▼
///     ┌────────────┐     ┌───────────┐    ┌──────────────────┐
///     │ Unanswered │     │ Cancelled │    │ ConnectionClosed │
///     └────────────┘     └───────────┘    └──────────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// No dispatch helper of this crate serves it. A dispatcher of the program's own may.
    Received,
    /// A dispatch helper serves it, or its handler does.
    Serving,
    /// Its response is queued.
    Answered,
    /// Its handler is gone and nobody saw a response written: the row stays until the connection closes,
    /// or until a `DiagnosticState` reports its end.
    Unanswered,
    /// The peer cancelled it. The handler may run on.
    Cancelled,
    /// Its connection closed. The handler may run on.
    ConnectionClosed,
}

impl State {
    const ALL: [Self; 6] = [
        Self::Received,
        Self::Serving,
        Self::Answered,
        Self::Unanswered,
        Self::Cancelled,
        Self::ConnectionClosed,
    ];

    pub(super) fn adopted(self) -> Option<Self> {
        (self == Self::Received).then_some(Self::Serving)
    }

    pub(super) fn answered(self) -> Option<Self> {
        matches!(self, Self::Received | Self::Serving).then_some(Self::Answered)
    }

    pub(super) fn unanswered(self) -> Option<Self> {
        self.unless_final(Self::Unanswered)
    }

    pub(super) fn cancelled(self) -> Option<Self> {
        self.unless_final(Self::Cancelled)
    }

    pub(super) fn disconnected(self) -> Option<Self> {
        self.unless_final(Self::ConnectionClosed)
    }

    fn unless_final(self, next: Self) -> Option<Self> {
        matches!(self, Self::Received | Self::Serving | Self::Answered).then_some(next)
    }

    /// How the row ends with its owners where it has no response; `None` where it stays.
    pub(super) fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Received | Self::Serving | Self::Answered => Some(Outcome::Aborted),
            Self::Unanswered => None,
            Self::Cancelled => Some(Outcome::Cancelled),
            Self::ConnectionClosed => Some(Outcome::ConnectionClosed),
        }
    }
}

/// A [`State`] that driver and handler share. It orders no other memory: the row has words of its own.
pub(super) struct SharedState(AtomicU8);

impl SharedState {
    pub(super) fn new(state: State) -> Self {
        Self(AtomicU8::new(state as u8))
    }

    pub(super) fn get(&self) -> State {
        State::ALL[usize::from(self.0.load(Ordering::Relaxed))]
    }

    /// Makes a transition. Returns whether there is one from the present state.
    pub(super) fn change(&self, transition: fn(State) -> Option<State>) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |code| {
                transition(State::ALL[usize::from(code)]).map(|state| state as u8)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::State::*;
    use super::*;

    #[track_caller]
    fn check(transition: fn(State) -> Option<State>, expected: [Option<State>; 6]) {
        for (state, expected) in State::ALL.into_iter().zip(expected) {
            let shared = SharedState::new(state);
            assert_eq!(shared.change(transition), expected.is_some(), "{state:?}");
            assert_eq!(shared.get(), expected.unwrap_or(state));
        }
    }

    #[test]
    fn transitions_are_those_of_the_diagram() {
        let to = |state| [Some(state), Some(state), Some(state), None, None, None];
        check(
            State::adopted,
            [Some(Serving), None, None, None, None, None],
        );
        check(
            State::answered,
            [Some(Answered), Some(Answered), None, None, None, None],
        );
        check(State::unanswered, to(Unanswered));
        check(State::cancelled, to(Cancelled));
        check(State::disconnected, to(ConnectionClosed));
    }
}
