//! Finds the strongly connected components of a graph, by Tarjan's
//! algorithm without recursion, since a chain may be as long as there are rows.

/// Groups of nodes that lead to each other. A group stands after every group that it leads to.
pub(super) struct Components {
    members: Vec<u32>,
    /// Where each group's members begin, and the end of the last.
    starts: Vec<u32>,
    group_of: Vec<u32>,
}

impl Components {
    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(super) fn group(&self, group: usize) -> &[u32] {
        &self.members[self.starts[group] as usize..self.starts[group + 1] as usize]
    }

    pub(super) fn group_of(&self, node: u32) -> usize {
        self.group_of[node as usize] as usize
    }
}

const NONE: u32 = u32::MAX;

/// `steps` lead from one of `count` nodes to another.
pub(super) fn strongly_connected(count: usize, steps: &[(u32, u32)]) -> Components {
    let (starts, targets) = adjacency(count, steps);
    let mut found = Components {
        members: Vec::with_capacity(count),
        starts: vec![0],
        group_of: vec![NONE; count],
    };
    let mut order = vec![NONE; count];
    let mut lowest = vec![0; count];
    let mut open = Vec::new();
    let mut visits = 0;
    // A node, and which of its steps comes next.
    let mut path: Vec<(u32, u32)> = Vec::new();
    for start in 0..count as u32 {
        if order[start as usize] == NONE {
            path.push((start, starts[start as usize]));
        }
        while let Some((node, next)) = path.pop() {
            let at = node as usize;
            if order[at] == NONE {
                order[at] = visits;
                lowest[at] = visits;
                visits += 1;
                open.push(node);
            }
            if next < starts[at + 1] {
                path.push((node, next + 1));
                let target = targets[next as usize];
                let to = target as usize;
                if order[to] == NONE {
                    path.push((target, starts[to]));
                } else if found.group_of[to] == NONE {
                    lowest[at] = lowest[at].min(order[to]);
                }
                continue;
            }
            if lowest[at] == order[at] {
                let begin = open.iter().rposition(|&other| other == node).unwrap_or(0);
                for &member in &open[begin..] {
                    found.group_of[member as usize] = found.starts.len() as u32 - 1;
                }
                found.members.extend(open.drain(begin..));
                found.starts.push(found.members.len() as u32);
            }
            if let Some(&(before, _)) = path.last() {
                lowest[before as usize] = lowest[before as usize].min(lowest[at]);
            }
        }
    }
    found
}

/// For every node, where its targets begin in the list of all targets.
pub(super) fn adjacency(count: usize, steps: &[(u32, u32)]) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0; count + 1];
    for &(from, _) in steps {
        starts[from as usize + 1] += 1;
    }
    for index in 0..count {
        starts[index + 1] += starts[index];
    }
    let mut next = starts.clone();
    let mut targets = vec![0; steps.len()];
    for &(from, to) in steps {
        targets[next[from as usize] as usize] = to;
        next[from as usize] += 1;
    }
    (starts, targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(steps: &[(u32, u32)], expected: &[&[u32]]) {
        let found = strongly_connected(6, steps);
        let mut groups: Vec<Vec<u32>> = (0..found.len())
            .map(|group| found.group(group).to_vec())
            .collect();
        groups.iter_mut().for_each(|group| group.sort_unstable());
        groups.retain(|group| group.len() > 1);
        groups.sort_unstable();
        assert_eq!(groups, expected, "{steps:?}");
    }

    #[test]
    fn cycles_are_found() {
        check(&[(0, 1), (1, 2), (2, 3)], &[]);
        check(&[(0, 1), (1, 0)], &[&[0, 1]]);
        check(&[(0, 1), (1, 2), (2, 1), (2, 3), (3, 4)], &[&[1, 2]]);
        check(
            &[(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (2, 3)],
            &[&[0, 1, 2], &[3, 4, 5]],
        );
        check(&[(0, 1), (0, 2), (1, 3), (2, 3), (3, 0)], &[&[0, 1, 2, 3]]);
    }

    #[test]
    fn a_group_stands_after_those_it_leads_to() {
        let found = strongly_connected(4, &[(0, 1), (1, 2), (3, 2)]);
        for (from, to) in [(0, 1), (1, 2), (3, 2)] {
            assert!(found.group_of(from) > found.group_of(to));
        }
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let count = 200_000;
        let steps: Vec<_> = (1..count).map(|node| (node - 1, node)).collect();
        assert_eq!(
            strongly_connected(count as usize, &steps).len(),
            count as usize
        );
    }
}
