//! The wait graph as text: a tree for every root blocker, what waits below what
//! it waits for.

use std::collections::HashSet;
use std::io;

use super::group::RowGroups;
use super::layout::Options;
use super::node::{Line, RootLine, Signature, Waiters};
use crate::model::{Deadlock, Node, NodeKind, Root, WaitGraph};

/// Characters of indentation from which on a tree is cut. Every step takes three, and a stack frame: how many steps there
/// are is the target's choice.
const MAX_INDENT: usize = 300;

/// Writes the graph; if it is empty, `nothing`.
///
/// # Errors
///
/// The error of the writer.
pub fn render(
    out: &mut impl io::Write,
    graph: &WaitGraph,
    nothing: &str,
    options: &Options,
) -> io::Result<()> {
    let heading = options.heading();
    writeln!(out, "{heading}WAIT GRAPH (root blocker first):{heading:#}")?;
    if graph.roots.is_empty() {
        return writeln!(out, "  {nothing}");
    }
    if graph.is_ranking_incomplete {
        writeln!(
            out,
            "  (ranking incomplete: too many steps lead to the root blockers; more calls may wait for each, and for longer)"
        )?;
    }
    let mut tree = Tree::new(graph, options);
    let mut groups = RowGroups::default();
    for root in &graph.roots {
        let is_shown = match (root.deadlock, root.nodes.as_slice()) {
            (None, &[node]) => groups.count(node, tree.node(node), root.oldest_us),
            _ => true,
        };
        if is_shown {
            tree.root(out, root)?;
        }
    }
    for line in groups.rest(graph) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

/// Returns a root in one line, without its age.
pub fn root_line(graph: &WaitGraph, root: &Root) -> String {
    let node = root
        .nodes
        .first()
        .and_then(|&node| graph.nodes.get(node as usize));
    match (cycle_heading(graph, root), node) {
        (Some(heading), _) => heading,
        (None, Some(node)) => match node.sentence() {
            Some(text) => format!("{}: {text}", Signature(node)),
            None => Signature(node).to_string(),
        },
        (None, None) => String::new(),
    }
}

/// What nodes that stand below each other have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// They wait for what stands above them.
    Tree,
    /// Each waits for the next, and the last for the first.
    Ring,
    /// They are of one deadlock.
    Members,
}

/// What waits for each node, oldest first.
struct Tree<'a> {
    graph: &'a WaitGraph,
    options: &'a Options,
    waiters: Vec<Vec<u32>>,
    shown: HashSet<u32>,
    /// The deadlock that is being shown: its members stand below its heading and nowhere else.
    cycle: HashSet<u32>,
}

impl<'a> Tree<'a> {
    fn new(graph: &'a WaitGraph, options: &'a Options) -> Self {
        let mut waiters = vec![Vec::new(); graph.nodes.len()];
        for edge in &graph.edges {
            waiters[edge.to as usize].push(edge.from);
        }
        for waiters in &mut waiters {
            waiters
                .sort_by_key(|&node| (std::cmp::Reverse(graph.nodes[node as usize].age_us), node));
        }
        Self {
            graph,
            options,
            waiters,
            shown: HashSet::new(),
            cycle: HashSet::new(),
        }
    }

    fn node(&self, node: u32) -> &'a Node {
        &self.graph.nodes[node as usize]
    }

    fn root(&mut self, out: &mut impl io::Write, root: &Root) -> io::Result<()> {
        let warning = self.options.warning();
        let Some(heading) = cycle_heading(self.graph, root) else {
            for &node in &root.nodes {
                self.shown.insert(node);
                let line = RootLine {
                    root,
                    node: self.node(node),
                };
                writeln!(out, "  {warning}{line}{warning:#}")?;
                self.below(out, node, "  ")?;
            }
            return Ok(());
        };
        let line = format!("{heading}{}", Waiters(root));
        if root.deadlock == Some(Deadlock::PossibleCycle) {
            // Each of its nodes is a root of its own, with what waits for it.
            writeln!(out, "  {line}")?;
            return self.names(out, &root.nodes);
        }
        writeln!(out, "  {warning}{line}{warning:#}")?;
        self.shown.extend(&root.nodes);
        self.cycle.extend(&root.nodes);
        let (ring, others) = root.nodes.split_at(self.ring(&root.nodes));
        self.lines(out, ring, "  ", Lines::Ring)?;
        if !others.is_empty() {
            writeln!(out, "  in the same deadlock:")?;
            self.lines(out, others, "  ", Lines::Members)?;
        }
        self.cycle.clear();
        Ok(())
    }

    /// How many of the nodes of a deadlock, from the first on, wait for the next, the last of them for the first.
    fn ring(&self, nodes: &[u32]) -> usize {
        let waits_for = |pair: &&[u32]| self.waiters[pair[1] as usize].contains(&pair[0]);
        let path = 1 + nodes.windows(2).take_while(waits_for).count();
        let waits_for_first: HashSet<u32> =
            (self.waiters[nodes[0] as usize].iter().copied()).collect();
        let last = (nodes[..path].iter()).rposition(|node| waits_for_first.contains(node));
        last.map_or(path, |last| last + 1)
    }

    /// The nodes alone.
    fn names(&self, out: &mut impl io::Write, nodes: &[u32]) -> io::Result<()> {
        let mut groups = RowGroups::default();
        for &node in nodes {
            let line = self.node(node);
            if groups.count(node, line, line.age_us) {
                writeln!(out, "  - {}", Line(line))?;
            }
        }
        for line in groups.rest(self.graph) {
            writeln!(out, "  - {line}")?;
        }
        Ok(())
    }

    /// What waits for a node, and for that, and so on.
    fn below(&mut self, out: &mut impl io::Write, node: u32, indent: &str) -> io::Result<()> {
        let waiting = self.waiting_for(node);
        if !waiting.is_empty() && indent.chars().count() >= MAX_INDENT {
            return writeln!(out, "{indent}└─ (the rest of the chain is left out)");
        }
        self.lines(out, &waiting, indent, Lines::Tree)
    }

    fn lines(
        &mut self,
        out: &mut impl io::Write,
        nodes: &[u32],
        indent: &str,
        lines: Lines,
    ) -> io::Result<()> {
        let are_members = lines != Lines::Tree;
        let mut groups = RowGroups::default();
        let shown: Vec<u32> = nodes
            .iter()
            .copied()
            .filter(|&node| {
                let line = self.node(node);
                are_members || groups.count(node, line, line.age_us)
            })
            .collect();
        let rest = groups.rest(self.graph);
        let mut left = shown.len() + rest.len();
        let mut is_top_of_ring = lines == Lines::Ring;
        let mut branch = || {
            left -= 1;
            match (left, std::mem::take(&mut is_top_of_ring)) {
                (0, _) => ("└─", "   "),
                (_, true) => ("┌→", "│  "),
                (_, false) => ("├─", "│  "),
            }
        };
        for node in shown {
            let (mark, deeper) = branch();
            let line = Line(self.node(node));
            if !self.shown.insert(node) && !are_members {
                writeln!(out, "{indent}{mark} {line} (shown above)")?;
                continue;
            }
            writeln!(out, "{indent}{mark} {line}")?;
            self.below(out, node, &format!("{indent}{deeper}"))?;
        }
        for line in rest {
            let (mark, _) = branch();
            writeln!(out, "{indent}{mark} {line}")?;
        }
        Ok(())
    }

    /// What to show below a node. The line of a call names the handler that waits in it, and the line of many
    /// handlers stands for each of them: what waits for such a handler is shown in its place.
    fn waiting_for(&self, node: u32) -> Vec<u32> {
        let names_handlers = matches!(
            self.node(node).kind,
            NodeKind::Call { .. } | NodeKind::Handlers(_)
        );
        let mut waiting = Vec::new();
        for &waiter in &self.waiters[node as usize] {
            if self.cycle.contains(&waiter) {
                continue;
            }
            if names_handlers && matches!(self.node(waiter).kind, NodeKind::Handler { .. }) {
                waiting.extend(&self.waiters[waiter as usize]);
            } else {
                waiting.push(waiter);
            }
        }
        waiting
    }
}

fn cycle_heading(graph: &WaitGraph, root: &Root) -> Option<String> {
    let deadlock = root.deadlock?;
    let mut names: Vec<String> = Vec::new();
    for &node in &root.nodes {
        let name = graph.nodes[node as usize].process.to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let names = names.join(", ");
    Some(match deadlock {
        Deadlock::Certain => format!(
            "DEADLOCK ({names}): each of these waits for the next, and the last for the first"
        ),
        Deadlock::PossibleCycle => {
            format!(
                "possible cycle ({names}): only if each of these waits for another handler of its process"
            )
        }
    })
}
