//! The wait graph for Graphviz.

use std::collections::HashSet;
use std::io;

use super::node::Line;
use crate::model::{Confidence, Deadlock, NodeKind, WaitGraph};

/// Writes the graph in the DOT language. Edges lead from what waits to what it waits for; dashed edges are not
/// certain. Root blockers are red, and the nodes of possible cycles have dashed borders.
///
/// # Errors
///
/// The error of the writer.
pub fn render(out: &mut impl io::Write, graph: &WaitGraph) -> io::Result<()> {
    writeln!(out, "digraph waits {{")?;
    writeln!(out, "  rankdir=LR;")?;
    writeln!(out, "  node [shape=box, fontname=\"monospace\"];")?;
    let bottom: HashSet<u32> = graph
        .roots
        .iter()
        .flat_map(|root| root.nodes.iter().copied())
        .collect();
    for (index, node) in (0..).zip(&graph.nodes) {
        let is_row = matches!(node.kind, NodeKind::Call { .. } | NodeKind::Handler { .. });
        let label = match node.sentence() {
            Some(text) if is_row && bottom.contains(&index) => format!("{}: {text}", Line(node)),
            _ => Line(node).to_string(),
        };
        writeln!(out, "  n{index} [label=\"{}\"];", escaped(&label))?;
    }
    for root in &graph.roots {
        let style = match root.deadlock {
            None => "color=red",
            Some(Deadlock::Certain) => "color=red, penwidth=3",
            Some(Deadlock::PossibleCycle) => "style=dashed",
        };
        for node in &root.nodes {
            writeln!(out, "  n{node} [{style}];")?;
        }
    }
    for edge in &graph.edges {
        let style = match edge.confidence {
            Confidence::Known | Confidence::High => "solid",
            Confidence::Medium => "dashed",
        };
        writeln!(
            out,
            "  n{} -> n{} [style={style}, tooltip=\"{}\"];",
            edge.from,
            edge.to,
            escaped(edge.basis.as_str())
        )?;
    }
    writeln!(out, "}}")
}

/// Text between the quotes of a DOT string.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
