//! What can be chosen about a link.

use std::time::Duration;

use roam_wire::Hello;

/// What one end offers in its Hello.
#[derive(Debug, Clone)]
pub struct HandshakeConfig {
    /// Bytes that the payload of a request or an item may have.
    pub max_payload_size: u32,
    /// Bytes that may be sent on a channel.
    pub initial_channel_credit: u32,
}

impl Default for HandshakeConfig {
    fn default() -> Self {
        Self {
            max_payload_size: 1024 * 1024,
            initial_channel_credit: 64 * 1024,
        }
    }
}

impl HandshakeConfig {
    /// The offer as a message.
    pub fn to_hello(&self) -> Hello {
        Hello::V2 {
            max_payload_size: self.max_payload_size,
            initial_channel_credit: self.initial_channel_credit,
        }
    }
}

/// What two ends agreed on: of everything the lower offer.
#[derive(Debug, Clone)]
pub struct Negotiated {
    /// Bytes that the payload of a request or an item may have.
    pub max_payload_size: u32,
    /// Bytes that may be sent on a channel.
    pub initial_credit: u32,
}

/// How often and after how long a client tries again.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Attempts before it gives up, the first one included.
    pub max_attempts: u32,
    /// How long it waits after the first attempt.
    pub initial_backoff: Duration,
    /// How long it waits at the most.
    pub max_backoff: Duration,
    /// How many times longer it waits after every further attempt.
    pub backoff_multiplier: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            backoff_multiplier: 2.0,
        }
    }
}

impl RetryPolicy {
    /// How long to wait after the `attempt`-th attempt, counted from 1.
    pub fn backoff_for_attempt(&self, attempt: u32) -> Duration {
        let steps = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let factor = self.backoff_multiplier.powi(steps);
        let seconds = self.initial_backoff.as_secs_f64() * factor;
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(self.max_backoff)
            .min(self.max_backoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let policy = RetryPolicy::default();
        for (attempt, milliseconds) in [
            (0, 100),
            (1, 100),
            (2, 200),
            (3, 400),
            (10, 5_000),
            (u32::MAX, 5_000),
        ] {
            assert_eq!(
                policy.backoff_for_attempt(attempt),
                Duration::from_millis(milliseconds)
            );
        }
    }
}
