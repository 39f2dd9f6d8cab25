//! The strongly connected components among the units of each folder: a unit is a file or a folder in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::arrows::Arrows;
use super::modules::{File, Modules};

/// Units of one folder that depend on one another, and the arrows between them.
pub(super) struct Cycle {
    folder: Vec<String>,
    units: BTreeSet<String>,
    arrows: Vec<String>,
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units: Vec<_> = self.units.iter().map(String::as_str).collect();
        let folder = [&["crate".to_owned()], &self.folder[..]]
            .concat()
            .join("::");
        write!(f, "cycle of {} in {folder}", units.join(", "))?;
        self.arrows
            .iter()
            .try_for_each(|arrow| write!(f, "\n  {arrow}"))
    }
}

/// An arrow as its folder sees it.
struct Edge<'a> {
    from: &'a str,
    to: &'a str,
    files: (File, File),
}

/// Every cycle. A cycle of files is found in the deepest folder that they all lie in.
pub(super) fn cycles(modules: &Modules, arrows: &Arrows) -> Vec<Cycle> {
    let units: Vec<_> = (0..modules.files())
        .map(|file| modules.unit(file))
        .collect();
    let mut folders: BTreeMap<&[String], Vec<Edge>> = BTreeMap::new();
    for &files in arrows.keys() {
        let (from, to) = (&units[files.0], &units[files.1]);
        let common = from
            .iter()
            .zip(to)
            .take_while(|(from, to)| from == to)
            .count();
        folders.entry(&from[..common]).or_default().push(Edge {
            from: &from[common],
            to: &to[common],
            files,
        });
    }
    let mut cycles = Vec::new();
    for (folder, edges) in folders {
        for units in components(&edges) {
            let inside = edges
                .iter()
                .filter(|edge| units.contains(edge.from) && units.contains(edge.to));
            cycles.push(Cycle {
                folder: folder.to_vec(),
                arrows: inside
                    .map(|edge| describe(modules, arrows, edge.files))
                    .collect(),
                units: units.into_iter().map(str::to_owned).collect(),
            });
        }
    }
    cycles
}

/// The components of two or more units.
fn components<'a>(edges: &[Edge<'a>]) -> BTreeSet<BTreeSet<&'a str>> {
    let reach: BTreeMap<_, _> = edges
        .iter()
        .map(|edge| (edge.from, reachable(edges, edge.from)))
        .collect();
    reach
        .iter()
        .filter(|(unit, reached)| reached.contains(*unit))
        .map(|(unit, reached)| {
            let back = |other: &&&str| {
                reach
                    .get(**other)
                    .is_some_and(|reached| reached.contains(unit))
            };
            reached.iter().filter(back).copied().collect()
        })
        .collect()
}

fn reachable<'a>(edges: &[Edge<'a>], from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(from) = next.pop() {
        let new = edges
            .iter()
            .filter(|edge| edge.from == from)
            .map(|edge| edge.to);
        next.extend(new.filter(|to| reached.insert(*to)));
    }
    reached
}

fn describe(modules: &Modules, arrows: &Arrows, (from, to): (File, File)) -> String {
    let names = arrows[&(from, to)].iter();
    let names: Vec<_> = names
        .map(|(name, line)| format!("{name} (line {line})"))
        .collect();
    let (from, to) = (modules.file(from).display(), modules.file(to).display());
    format!("{from} -> {to}: {}", names.join(", "))
}
