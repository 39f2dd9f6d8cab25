//! What can be chosen about a link.

use std::time::Duration;

use roam_wire::Hello;

/// Holds what one end offers in its Hello.
#[derive(Debug, Clone)]
pub struct HandshakeConfig {
    /// Maximum size of the payload of a request or an item, in bytes.
    pub max_payload_size: u32,
    /// Initial credit of a channel, in bytes.
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
    /// Returns the offer as a message.
    pub fn to_hello(&self) -> Hello {
        Hello::V2 {
            max_payload_size: self.max_payload_size,
            initial_channel_credit: self.initial_channel_credit,
        }
    }
}

/// Holds what two ends agreed on: the lower of each two offers.
#[derive(Debug, Clone)]
pub struct Negotiated {
    /// Maximum size of the payload of a request or an item, in bytes.
    pub max_payload_size: u32,
    /// Initial credit of a channel, in bytes.
    pub initial_credit: u32,
}

/// Says how often a client tries to connect, and how long it waits in between.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Maximum number of attempts, including the first one.
    pub max_attempts: u32,
    /// Wait after the first attempt.
    pub initial_backoff: Duration,
    /// Maximum wait.
    pub max_backoff: Duration,
    /// Factor by which the wait grows after each further attempt.
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
    /// Returns the wait after an attempt. Attempts are counted from 1.
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
