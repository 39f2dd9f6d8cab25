//! The wait graph as text: a tree for every root blocker, what waits below what
//! it waits for.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io;

use super::fold::Shapes;
use super::group::{GroupKey, grouped};
use super::layout::{Indent, Level, Options, paragraph};
use super::node::{Line, RootLine, Signature, request_id, waiters};
use crate::model::{Deadlock, Node, NodeKind, Root, WaitGraph};

/// Characters of indentation from which on a tree is cut. Every step takes three, and a stack frame: how many steps there
/// are is the target's choice.
const MAX_INDENT: usize = 300;

/// How a root is indented.
const ROOT: Indent<'_> = Indent {
    first: "  ",
    next: "    ",
};

/// Writes the graph.
///
/// # Errors
///
/// The error of the writer.
pub fn render(out: &mut impl io::Write, graph: &WaitGraph, options: &Options) -> io::Result<()> {
    render_groups(out, graph, root_groups(graph), options)
}

/// Writes the graph, of which the roots that are alike are known.
///
/// # Errors
///
/// The error of the writer.
pub(super) fn render_groups(
    out: &mut impl io::Write,
    graph: &WaitGraph,
    groups: Vec<RootGroup<'_>>,
    options: &Options,
) -> io::Result<()> {
    let heading = options.heading();
    writeln!(out, "{heading}WAIT GRAPH (root blocker first):{heading:#}")?;
    if graph.roots.is_empty() {
        return writeln!(out, "  (none)");
    }
    let mut tree = Tree::new(graph, options);
    if graph.is_ranking_incomplete {
        tree.line(
            out,
            ROOT,
            Level::Plain,
            "(ranking incomplete: too many steps lead to the root blockers; more calls may wait for each, and for longer)",
        )?;
    }
    if options.is_full {
        return (graph.roots.iter()).try_for_each(|root| tree.roots(out, &[root]));
    }
    (groups.iter()).try_for_each(|roots| tree.roots(out, roots))
}

/// Roots that are alike; at least one.
pub(super) type RootGroup<'a> = Vec<&'a Root>;

/// Returns the roots, those that are alike in one group.
pub(super) fn root_groups(graph: &WaitGraph) -> Vec<RootGroup<'_>> {
    let mut shapes = Shapes::default();
    grouped(&graph.roots, |root| {
        match (root.deadlock, root.nodes.as_slice()) {
            (None, &[node]) => {
                let node = &graph.nodes[node as usize];
                let sentence = node.sentence().map(|text| shapes.text(text));
                Ok((GroupKey::of(node), sentence))
            }
            // Each cycle stays alone.
            _ => Err(std::ptr::from_ref::<Root>(root)),
        }
    })
}

/// Returns a root in one line, without its age.
pub fn root_line(graph: &WaitGraph, root: &Root) -> String {
    let node = root
        .nodes
        .first()
        .and_then(|&node| graph.nodes.get(node as usize));
    match (cycle_heading(graph, root), node) {
        (Some(heading), _) => heading,
        (None, Some(node)) => {
            let id = request_id(node).map(|id| format!(" (req_id={id})"));
            let text = node.sentence().map(|text| format!(": {text}"));
            format!(
                "{}{}{}",
                Signature(node),
                id.unwrap_or_default(),
                text.unwrap_or_default()
            )
        }
        (None, None) => String::new(),
    }
}

/// Steps of a chain that are shown.
const MAX_STEPS: usize = 64;

/// Returns what a request waits for, what that waits for in turn, and so on, a line for each: the request first, the root
/// blocker last. Empty if the request is not in the graph.
pub fn chain(graph: &WaitGraph, pid: u32, serial: u64) -> Vec<String> {
    let is_request = |node: &Node| match node.kind {
        NodeKind::Call { serial: own, .. } | NodeKind::Handler { serial: own, .. } => {
            own == serial && node.process.pid == pid
        }
        NodeKind::Handlers(_) | NodeKind::Driver { .. } | NodeKind::Process => false,
    };
    let mut next = graph.nodes.iter().position(is_request);
    let mut steps: Vec<usize> = Vec::new();
    let mut lines = Vec::new();
    while let Some(index) = next {
        let node = &graph.nodes[index];
        let line = Line(&[node]).to_string();
        if steps.contains(&index) {
            lines.push(format!("{line} (in this chain already)"));
            return lines;
        }
        if steps.len() == MAX_STEPS {
            lines.push("(the rest of the chain is left out)".to_owned());
            return lines;
        }
        steps.push(index);
        // Of several, the one that has lasted longest.
        let awaited = graph
            .edges
            .iter()
            .filter(|edge| edge.from as usize == index);
        next = awaited
            .map(|edge| edge.to as usize)
            .max_by_key(|&to| graph.nodes[to].age_us);
        let sentence = node.sentence().filter(|_| request_id(node).is_some());
        match (next, sentence) {
            (None, Some(sentence)) => lines.push(format!("{line}: {sentence}")),
            _ => lines.push(line),
        }
    }
    lines
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
    is_shown: Vec<bool>,
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
            waiters.sort_by_key(|&node| (Reverse(graph.nodes[node as usize].age_us), node));
        }
        Self {
            graph,
            options,
            waiters,
            is_shown: vec![false; graph.nodes.len()],
            cycle: HashSet::new(),
        }
    }

    fn node(&self, node: u32) -> &'a Node {
        &self.graph.nodes[node as usize]
    }

    fn show(&mut self, nodes: &[u32]) {
        for &node in nodes {
            self.is_shown[node as usize] = true;
        }
    }

    /// Roots that are alike, and what waits for them.
    fn roots(&mut self, out: &mut impl io::Write, roots: &[&Root]) -> io::Result<()> {
        let first = roots[0];
        let Some(heading) = cycle_heading(self.graph, first) else {
            let members: Vec<u32> = (roots.iter())
                .flat_map(|root| root.nodes.iter().copied())
                .collect();
            let nodes: Vec<_> = members.iter().map(|&node| self.node(node)).collect();
            let line = RootLine {
                roots,
                nodes: &nodes,
            };
            self.show(&members);
            self.line(out, ROOT, Level::Stuck, &line.to_string())?;
            return self.below(out, &members, "  ");
        };
        let waiters = waiters(roots).map(|text| format!(" ({text})"));
        let line = format!("{heading}{}", waiters.unwrap_or_default());
        if first.deadlock == Some(Deadlock::PossibleCycle) {
            // Each of its nodes is a root of its own, with what waits for it.
            self.line(out, ROOT, Level::Plain, &line)?;
            return self.names(out, &first.nodes);
        }
        self.line(out, ROOT, Level::Stuck, &line)?;
        self.show(&first.nodes);
        self.cycle.extend(&first.nodes);
        let (ring, others) = first.nodes.split_at(self.ring(&first.nodes));
        let alone = |nodes: &[u32]| nodes.iter().map(|&node| vec![node]).collect();
        self.lines(out, alone(ring), "  ", Lines::Ring)?;
        if !others.is_empty() {
            writeln!(out, "  in the same deadlock:")?;
            self.lines(out, alone(others), "  ", Lines::Members)?;
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
        const MEMBER: Indent<'_> = Indent {
            first: "  - ",
            next: "    ",
        };
        for group in self.groups(nodes) {
            self.line(out, MEMBER, Level::Plain, &self.text(&group))?;
        }
        Ok(())
    }

    /// What waits for nodes, and for that, and so on.
    fn below(&mut self, out: &mut impl io::Write, nodes: &[u32], indent: &str) -> io::Result<()> {
        let waiting = nodes.iter().flat_map(|&node| self.waiting_for(node));
        let mut waiting: Vec<u32> = waiting.collect();
        waiting.sort_by_key(|&node| (Reverse(self.node(node).age_us), node));
        waiting.dedup();
        if !waiting.is_empty() && indent.chars().count() >= MAX_INDENT {
            return writeln!(out, "{indent}└─ (the rest of the chain is left out)");
        }
        let groups = self.groups(&waiting);
        self.lines(out, groups, indent, Lines::Tree)
    }

    fn lines(
        &mut self,
        out: &mut impl io::Write,
        groups: Vec<Vec<u32>>,
        indent: &str,
        lines: Lines,
    ) -> io::Result<()> {
        let are_members = lines != Lines::Tree;
        let last = groups.len().saturating_sub(1);
        for (index, group) in groups.into_iter().enumerate() {
            let (mark, deeper) = match index {
                _ if index == last => ("└─ ", "   "),
                0 if lines == Lines::Ring => ("┌→ ", "│  "),
                _ => ("├─ ", "│  "),
            };
            let mut text = self.text(&group);
            let is_new = |node: &u32| {
                let is_shown = &mut self.is_shown[*node as usize];
                !std::mem::replace(is_shown, true) || are_members
            };
            let new: Vec<u32> = group.into_iter().filter(is_new).collect();
            if new.is_empty() {
                text.push_str(" (shown above)");
            }
            let deeper = format!("{indent}{deeper}");
            let indent = Indent {
                first: &format!("{indent}{mark}"),
                next: &format!("{deeper}   "),
            };
            self.line(out, indent, Level::Plain, &text)?;
            self.below(out, &new, &deeper)?;
        }
        Ok(())
    }

    /// Nodes that are alike in one group, each on its own where every row is listed.
    fn groups(&self, nodes: &[u32]) -> Vec<Vec<u32>> {
        match self.options.is_full {
            true => nodes.iter().map(|&node| vec![node]).collect(),
            false => grouped(nodes.iter().copied(), |&node| GroupKey::of(self.node(node))),
        }
    }

    fn text(&self, nodes: &[u32]) -> String {
        let nodes: Vec<_> = nodes.iter().map(|&node| self.node(node)).collect();
        Line(&nodes).to_string()
    }

    fn line(
        &self,
        out: &mut impl io::Write,
        indent: Indent<'_>,
        level: Level,
        text: &str,
    ) -> io::Result<()> {
        paragraph(out, self.options, indent, level, text)
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

/// Returns the heading of a cycle.
pub(super) fn cycle_heading(graph: &WaitGraph, root: &Root) -> Option<String> {
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
