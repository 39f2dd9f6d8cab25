//! How much of a registry is read. A target may claim, and have, more than a reader has memory and time for.

use roam_trace_common::limits;
use roam_trace_common::registry::{FLAG_ARGUMENTS, HeaderRecord, Table};

/// Limits on what is read. The registries of a process share one budget.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Rows and names; of requests and channels, the oldest.
    pub rows: usize,
    /// Rows of connections among them.
    pub connections: usize,
    /// Rows of channels among them.
    pub channels: usize,
    /// Names among them.
    pub names: usize,
    /// Requests whose arguments are read.
    pub arguments: usize,
    /// Rows of statistics, of which each takes a page.
    pub statistics: usize,
    /// Methods and directions that these rows are added up to.
    pub methods: usize,
    /// Of these, how many keep how long each call took; none unless a reader asks for it.
    pub latencies: usize,
    /// Slots that are scanned.
    pub slots: usize,
    /// Rows that are read again because they changed meanwhile.
    pub retries: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            rows: limits::SHOWN_ROWS as usize,
            connections: limits::CONNECTIONS as usize,
            channels: limits::SHOWN_CHANNELS,
            names: (limits::METHODS + limits::TYPES) as usize,
            arguments: limits::SHOWN_ARGUMENTS,
            statistics: limits::READ_STATISTICS,
            methods: limits::SHOWN_METHODS,
            latencies: 0,
            slots: limits::READ_SLOTS,
            retries: limits::READ_RETRIES,
        }
    }
}

impl Budget {
    /// What the registries of a dump share.
    const PARTS: [fn(&mut Self) -> &mut usize; 10] = [
        |budget| &mut budget.rows,
        |budget| &mut budget.connections,
        |budget| &mut budget.channels,
        |budget| &mut budget.names,
        |budget| &mut budget.arguments,
        |budget| &mut budget.statistics,
        |budget| &mut budget.methods,
        |budget| &mut budget.latencies,
        |budget| &mut budget.slots,
        |budget| &mut budget.retries,
    ];

    /// Returns a budget of this many rows, with all other limits in proportion, but not below the default.
    pub fn of_rows(rows: u32) -> Self {
        let mut budget = Self::default();
        let times = rows.div_ceil(limits::SHOWN_ROWS).max(1) as usize;
        for part in Self::PARTS {
            *part(&mut budget) *= times;
        }
        Self {
            rows: rows as usize,
            ..budget
        }
    }

    /// Returns a budget of this many rows of statistics, with methods in proportion, but not below the default.
    pub fn of_statistics(rows: u32) -> Self {
        let budget = Self::default();
        let rows = rows as usize;
        Self {
            statistics: rows,
            methods: budget.methods * rows.div_ceil(budget.statistics).max(1),
            ..budget
        }
    }

    /// Returns what reading registries with these headers takes, and some more, since they are read later.
    pub fn need(headers: &[HeaderRecord]) -> Self {
        const MORE: usize = 64;
        let slots = |header: &HeaderRecord, table| {
            let used = header.tables[table as usize].high_water as usize;
            used + used / 8 + MORE
        };
        let used = |table| headers.iter().map(|header| slots(header, table)).sum();
        let [requests, connections, channels, methods, types, statistics]: [usize; 6] = [
            Table::Requests,
            Table::Connections,
            Table::Channels,
            Table::Methods,
            Table::Types,
            Table::Statistics,
        ]
        .map(used);
        let with_arguments = headers
            .iter()
            .filter(|header| header.flags & FLAG_ARGUMENTS != 0);
        Self {
            rows: requests + connections + channels + methods + types,
            connections,
            channels,
            names: methods + types,
            arguments: with_arguments
                .map(|header| slots(header, Table::Requests))
                .sum(),
            statistics,
            methods: statistics,
            latencies: statistics,
            // Connections are scanned twice.
            slots: requests + 2 * connections + channels,
            retries: requests + 2 * connections + channels,
        }
    }

    /// Divides the budget among several processes by their needs. A process that needs less than an equal share
    /// gets what it needs, and the others share the rest. What none needs is divided too, since needs may change.
    pub fn divide(mut self, needs: &[Self]) -> Vec<Self> {
        let methods = self.methods;
        let shares = needs.iter().map(|&need| Self { methods, ..need });
        let mut shares: Vec<_> = shares.collect();
        for part in Self::PARTS {
            let mut by_need: Vec<_> = shares.iter_mut().map(part).collect();
            by_need.sort_unstable();
            let mut left = *part(&mut self);
            for (done, share) in by_need.iter_mut().enumerate() {
                let equal = left / (needs.len() - done);
                **share = equal.min(**share);
                left -= **share;
            }
            for share in by_need {
                *share += left / needs.len();
            }
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_division(rows: usize, needs: &[usize], shares: &[usize]) {
        let [whole, needs] = [&[rows][..], needs].map(|rows| {
            let of = |&rows| Budget {
                rows,
                ..Budget::default()
            };
            rows.iter().map(of).collect::<Vec<_>>()
        });
        let divided = whole[0].divide(&needs);
        let rows: Vec<_> = divided.iter().map(|share| share.rows).collect();
        assert_eq!(rows, shares);
    }

    #[test]
    fn who_needs_little_gets_it_and_the_others_the_rest() {
        check_division(100, &[], &[]);
        check_division(100, &[1_000], &[100]);
        check_division(100, &[10], &[100]);
        check_division(100, &[60, 10], &[75, 25]);
        check_division(100, &[90, 10], &[90, 10]);
        check_division(100, &[1_000, 10, 1_000], &[45, 10, 45]);
        check_division(100, &[usize::MAX, usize::MAX], &[50, 50]);
        check_division(2, &[5, 5, 5], &[0, 1, 1]);
    }

    #[test]
    fn more_rows_have_more_of_all_else() {
        let whole = Budget::default();
        assert_eq!(Budget::of_rows(10).slots, whole.slots);
        assert_eq!(
            Budget::of_rows(3 * limits::SHOWN_ROWS).slots,
            3 * whole.slots
        );
    }
}
