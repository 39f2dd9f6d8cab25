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
            Some(text) if is_row && bottom.contains(&index) => format!("{}: {text}", Line(&[node])),
            _ => Line(&[node]).to_string(),
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

/// Text between the quotes of a DOT string, in which Graphviz also reads HTML entities.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    text.replace('&', "&amp;")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decode::printable;
    use crate::model::{Basis, Edge, Node, Process};

    #[track_caller]
    fn check(name: &[u8], expected: &str) {
        let name: Arc<str> = printable(name).into();
        let node = Node {
            process: Arc::new(Process::new(7, &*name)),
            kind: NodeKind::Driver {
                connection: 1,
                name: name.clone(),
            },
            age_us: 0,
            code: None,
            verdict: None,
            text: Some(name.clone()),
        };
        let edge = Edge {
            from: 0,
            to: 0,
            confidence: Confidence::Known,
            basis: Basis::Found(name),
        };
        let graph = WaitGraph {
            nodes: vec![node],
            edges: vec![edge],
            ..WaitGraph::default()
        };
        let mut out = Vec::new();
        render(&mut out, &graph).unwrap();
        let out = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = out.lines().skip(3).collect();
        assert_eq!(
            lines,
            [
                format!("  n0 [label=\"{expected}[7] connection {expected}: {expected}\"];"),
                format!("  n0 -> n0 [style=solid, tooltip=\"{expected}\"];"),
                "}".to_owned(),
            ]
        );
    }

    #[test]
    fn names_stay_between_the_quotes() {
        check(b"a\"b", "a\\\"b");
        check(b"a\\b\\", "a\\\\\\\\b\\\\\\\\");
        check(b"a\nb\\nc", "a\\\\nb\\\\\\\\nc");
        check(b"<b>&lt;&", "<b>&amp;lt;&amp;");
        check(b"\xff", "\u{fffd}");
        check("a\u{202e}b\u{200b}".as_bytes(), "a\\\\u{202e}b\\\\u{200b}");
    }
}
