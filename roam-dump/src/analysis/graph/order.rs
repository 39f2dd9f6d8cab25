//! The order in which a cycle is shown.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

/// The members of a cycle in the order of the steps between them, from the first on; then those that are not on that
/// path.
pub(super) fn in_order(members: &[u32], steps: &[(u32, u32)]) -> Vec<u32> {
    let mut next: HashMap<u32, u32> = HashMap::new();
    for &(from, to) in steps {
        next.entry(from).or_insert(to);
    }
    let mut at = members.iter().copied().min().unwrap_or(0);
    // Wherever it begins, a walk that always takes the same step ends in a cycle.
    let mut seen = Vec::new();
    let mut shown = HashSet::new();
    while shown.insert(at) {
        seen.push(at);
        match next.get(&at) {
            Some(&to) => at = to,
            None => break,
        }
    }
    let start = seen.iter().position(|&node| node == at).unwrap_or(0);
    let mut order = seen.split_off(start);
    order.extend(seen);
    order.extend(members.iter().filter(|member| !shown.contains(*member)));
    order
}
