//! The share of one budget that each of several targets gets.

use roam_dump::read::Budget;

use super::target::Target;

/// A target with its share of the budget.
#[derive(Debug)]
pub struct Share<'a> {
    /// The target.
    pub target: &'a Target,
    /// How much of its registries may be read.
    pub budget: Budget,
}

impl<'a> Share<'a> {
    /// Divides a budget by what the targets need by now. Several targets get two thirds of the rows: what their rows have
    /// to do with one another takes memory as well.
    pub fn divide(whole: Budget, targets: impl IntoIterator<Item = &'a Target>) -> Vec<Self> {
        let targets: Vec<_> = targets.into_iter().collect();
        let rows = match targets.len() {
            0 | 1 => whole.rows,
            _ => whole.rows / 3 * 2,
        };
        let whole = Budget { rows, ..whole };
        let needs: Vec<_> = targets.iter().map(|target| target.need()).collect();
        let budgets = whole.divide(&needs);
        let shares = targets.into_iter().zip(budgets);
        shares
            .map(|(target, budget)| Self { target, budget })
            .collect()
    }
}
