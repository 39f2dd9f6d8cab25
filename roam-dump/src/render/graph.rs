//! The wait graph as text: a tree for every root blocker, what waits below what
//! it waits for.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;

use roam_trace_common::event::Phase;

use super::text::Options;
use crate::duration::Age;
use crate::wait::{Deadlock, Node, NodeKind, Root, WaitGraph};

/// Lines that differ in nothing but their age are shown that often.
const ALIKE: usize = 3;

/// Writes the graph.
///
/// # Errors
///
/// What the writer returns.
pub fn render(out: &mut impl io::Write, graph: &WaitGraph, options: &Options) -> io::Result<()> {
    let heading = options.heading();
    writeln!(out, "{heading}WAIT GRAPH (root blocker first):{heading:#}")?;
    if graph.roots.is_empty() {
        return writeln!(out, "  (none)");
    }
    let mut tree = Tree::new(graph, options);
    let mut alike = Alike::default();
    for root in &graph.roots {
        let is_shown = match (root.deadlock, root.nodes.as_slice()) {
            (None, &[place]) => alike.count(place, tree.node(place), root.oldest_us),
            _ => true,
        };
        if is_shown {
            tree.root(out, root)?;
        }
    }
    for line in alike.rest(graph) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

/// The first root blocker in one line.
pub fn root_line(graph: &WaitGraph) -> Option<String> {
    let root = graph.roots.first()?;
    Some(match deadlock_heading(graph, root) {
        Some(heading) => heading,
        None => Line {
            node: &graph.nodes[*root.nodes.first()? as usize],
            is_bottom: true,
        }
        .to_string(),
    })
}

/// Counts lines that look the same, so that a thousand of them do not fill the screen.
#[derive(Default)]
struct Alike {
    order: Vec<Looks>,
    seen: HashMap<Looks, Group>,
}

/// How a node looks but for its age. Names are told apart by where they are kept, since the graph keeps each
/// name of a process once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Looks {
    Call(u32, *const u8, Option<*const u8>),
    Handler(u32, *const u8, Phase),
    Driver(u32, u64),
    Process(u32),
}

impl Looks {
    fn of(node: &Node) -> Self {
        let pid = node.process.pid;
        match &node.kind {
            NodeKind::Call {
                method, made_by, ..
            } => Self::Call(
                pid,
                method.as_ptr(),
                made_by.as_ref().map(|name| name.as_ptr()),
            ),
            NodeKind::Handler { method, phase, .. } => Self::Handler(pid, method.as_ptr(), *phase),
            NodeKind::Driver { connection, .. } => Self::Driver(pid, *connection),
            NodeKind::Process => Self::Process(pid),
        }
    }
}

#[derive(Default)]
struct Group {
    nodes: usize,
    /// Of those that are not shown.
    oldest_us: u64,
    example: u32,
}

impl Alike {
    /// Whether to show the node.
    fn count(&mut self, place: u32, node: &Node, age_us: u64) -> bool {
        let looks = Looks::of(node);
        let group = self.seen.entry(looks).or_insert_with(|| {
            self.order.push(looks);
            Group {
                example: place,
                ..Group::default()
            }
        });
        group.nodes += 1;
        if group.nodes > ALIKE {
            group.oldest_us = age_us.max(group.oldest_us);
        }
        group.nodes <= ALIKE
    }

    /// What was not shown: how it looks, how often, and the oldest.
    fn rest(self, graph: &WaitGraph) -> Vec<String> {
        self.order
            .iter()
            .map(|looks| &self.seen[looks])
            .filter(|group| group.nodes > ALIKE)
            .map(|group| {
                let node = &graph.nodes[group.example as usize];
                format!(
                    "… and {} more: {}, the longest {}",
                    group.nodes - ALIKE,
                    Signature(node),
                    Age(group.oldest_us)
                )
            })
            .collect()
    }
}

/// What waits for each node, oldest first.
struct Tree<'a> {
    graph: &'a WaitGraph,
    options: &'a Options,
    is_bottom: Vec<bool>,
    waiters: Vec<Vec<u32>>,
    shown: HashSet<u32>,
    /// The deadlock that is being shown: its members stand below its heading and nowhere else.
    circle: HashSet<u32>,
}

impl<'a> Tree<'a> {
    fn new(graph: &'a WaitGraph, options: &'a Options) -> Self {
        let mut waiters = vec![Vec::new(); graph.nodes.len()];
        let mut is_bottom = vec![true; graph.nodes.len()];
        for edge in &graph.edges {
            waiters[edge.to as usize].push(edge.from);
            is_bottom[edge.from as usize] = false;
        }
        for waiters in &mut waiters {
            waiters
                .sort_by_key(|&node| (std::cmp::Reverse(graph.nodes[node as usize].age_us), node));
        }
        Self {
            graph,
            options,
            is_bottom,
            waiters,
            shown: HashSet::new(),
            circle: HashSet::new(),
        }
    }

    fn node(&self, node: u32) -> &'a Node {
        &self.graph.nodes[node as usize]
    }

    fn root(&mut self, out: &mut impl io::Write, root: &Root) -> io::Result<()> {
        let warning = self.options.warning();
        let Some(heading) = deadlock_heading(self.graph, root) else {
            for &node in &root.nodes {
                self.shown.insert(node);
                let line = Line {
                    node: self.node(node),
                    is_bottom: true,
                };
                writeln!(out, "  {warning}{line}{warning:#}")?;
                self.below(out, node, "  ")?;
            }
            return Ok(());
        };
        writeln!(out, "  {warning}{heading}{warning:#}")?;
        self.shown.extend(&root.nodes);
        self.circle.extend(&root.nodes);
        self.lines(out, &root.nodes, "  ", true)?;
        self.circle.clear();
        Ok(())
    }

    /// What waits for a node, to any depth.
    fn below(&mut self, out: &mut impl io::Write, node: u32, indent: &str) -> io::Result<()> {
        let waiting = self.waiting_for(node);
        self.lines(out, &waiting, indent, false)
    }

    fn lines(
        &mut self,
        out: &mut impl io::Write,
        nodes: &[u32],
        indent: &str,
        are_members: bool,
    ) -> io::Result<()> {
        let mut alike = Alike::default();
        let kept: Vec<u32> = nodes
            .iter()
            .copied()
            .filter(|&node| {
                let line = self.node(node);
                are_members || alike.count(node, line, line.age_us)
            })
            .collect();
        let rest = alike.rest(self.graph);
        let mut left = kept.len() + rest.len();
        let mut branch = || {
            left -= 1;
            if left == 0 {
                ("└─", "   ")
            } else {
                ("├─", "│  ")
            }
        };
        for node in kept {
            let (mark, deeper) = branch();
            let line = Line {
                node: self.node(node),
                is_bottom: self.is_bottom[node as usize],
            };
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

    /// What to show below a node. A handler that waits in a call stands in the call's line, so what waits
    /// for the handler comes in its place.
    fn waiting_for(&self, node: u32) -> Vec<u32> {
        let is_call = matches!(self.node(node).kind, NodeKind::Call { .. });
        let mut waiting = Vec::new();
        for &waiter in &self.waiters[node as usize] {
            if self.circle.contains(&waiter) {
                continue;
            }
            if is_call && matches!(self.node(waiter).kind, NodeKind::Handler { .. }) {
                waiting.extend(&self.waiters[waiter as usize]);
            } else {
                waiting.push(waiter);
            }
        }
        waiting
    }
}

fn deadlock_heading(graph: &WaitGraph, root: &Root) -> Option<String> {
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
        Deadlock::Certain => format!("DEADLOCK ({names}): each of these waits for the next"),
        Deadlock::Likely => format!(
            "DEADLOCK, likely ({names}): in each of these processes a handler waits in a call to another of them"
        ),
    })
}

/// A node in one line.
pub(super) struct Line<'a> {
    pub(super) node: &'a Node,
    /// Whether it waits for nothing: what others wait for stands above them.
    pub(super) is_bottom: bool,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node;
        write!(f, "{}", Signature(node))?;
        match &node.kind {
            NodeKind::Call { .. } | NodeKind::Handler { .. } => write!(f, " {}", Age(node.age_us))?,
            NodeKind::Driver { .. } | NodeKind::Process => {}
        }
        let is_driver = matches!(node.kind, NodeKind::Driver { .. });
        match &node.text {
            Some(text) if self.is_bottom || is_driver => write!(f, ": {text}"),
            _ => Ok(()),
        }
    }
}

/// A node without what grows with time.
struct Signature<'a>(&'a Node);

impl fmt::Display for Signature<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.0;
        write!(f, "{} ", node.process)?;
        match &node.kind {
            NodeKind::Call {
                method, made_by, ..
            } => {
                let made_by = made_by.as_deref().unwrap_or("(parent unknown)");
                write!(f, "{made_by} → {method}")
            }
            NodeKind::Handler { method, phase, .. } => {
                let phase = match phase {
                    Phase::Received => "received",
                    Phase::Responding => "responding",
                    _ => "running",
                };
                write!(f, "{method} {phase}")
            }
            NodeKind::Driver { name, .. } => write!(f, "connection {name}"),
            NodeKind::Process => f.write_str("process"),
        }
    }
}
