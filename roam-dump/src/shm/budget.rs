//! How much of hubs is read.

/// Limits on what is read. The hubs of a dump share one budget.
#[derive(Debug, Clone, Copy)]
pub struct HubBudget {
    /// Slots.
    pub slots: u32,
    /// Messages.
    pub messages: u32,
    /// Slots whose generations are read one by one.
    pub generations: u32,
}

impl Default for HubBudget {
    fn default() -> Self {
        Self {
            slots: 1 << 18,
            messages: 1 << 16,
            generations: 1 << 13,
        }
    }
}
