//! The ids of channels and requests. Channel ids have the parity of the end that
//! allots them; request ids count from 1 for each handle. No id is used twice.

use std::sync::atomic::{AtomicU64, Ordering};

/// Identifies a channel on the wire, uniquely within its connection. 0 means "not bound yet".
pub type ChannelId = u64;

/// Says which end of a link this is, which decides the parity of the channel ids that it allots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The end that opened the link. Its channel ids are odd.
    Initiator,
    /// The end that accepted the link. Its channel ids are even.
    Acceptor,
}

/// Allots the channel ids of one end of a connection.
pub struct ChannelIdAllocator {
    next: AtomicU64,
}

impl ChannelIdAllocator {
    /// Creates an allocator that starts at 1 for an initiator and at 2 for an acceptor.
    pub fn new(role: Role) -> Self {
        let first = match role {
            Role::Initiator => 1,
            Role::Acceptor => 2,
        };
        Self {
            next: AtomicU64::new(first),
        }
    }

    /// Returns an id that this allocator has not returned before.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&self) -> ChannelId {
        self.next.fetch_add(2, Ordering::Relaxed)
    }
}

/// Allots the request ids of one handle: 1, 2, 3 and so on.
pub struct RequestIdGenerator {
    next: AtomicU64,
}

impl RequestIdGenerator {
    /// Creates a generator that starts at 1.
    pub fn new() -> Self {
        Self {
            next: AtomicU64::new(1),
        }
    }

    /// Returns an id that this generator has not returned before.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Default for RequestIdGenerator {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parity_follows_the_role() {
        let initiator = ChannelIdAllocator::new(Role::Initiator);
        let acceptor = ChannelIdAllocator::new(Role::Acceptor);
        assert_eq!(
            [initiator.next(), initiator.next(), initiator.next()],
            [1, 3, 5]
        );
        assert_eq!(
            [acceptor.next(), acceptor.next(), acceptor.next()],
            [2, 4, 6]
        );
    }

    #[test]
    fn request_ids_count_from_one() {
        let ids = RequestIdGenerator::default();
        assert_eq!([ids.next(), ids.next()], [1, 2]);
    }
}
