//! Groups nodes of the wait graph that differ in nothing but numbers.

use std::hash::Hash;

use foldhash::{HashMap, HashMapExt};
use roam_trace_common::event::{Mark, Phase};

use crate::model::{Node, NodeKind};

/// What the nodes of a group have in common. Names are compared by their address, since the graph holds each
/// name of a process once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum GroupKey {
    Call(u32, *const u8, *const u8),
    Handler(u32, *const u8, Phase, Option<Mark>),
    Handlers(u32, *const u8),
    Driver(u32, u64),
    Process(u32),
}

impl GroupKey {
    pub(super) fn of(node: &Node) -> Self {
        let pid = node.process.pid;
        match &node.kind {
            NodeKind::Call {
                method, made_by, ..
            } => Self::Call(pid, method.as_ptr(), made_by.as_str().as_ptr()),
            NodeKind::Handler {
                method,
                phase,
                mark,
                ..
            } => Self::Handler(pid, method.as_ptr(), *phase, *mark),
            NodeKind::Handlers(pile) => Self::Handlers(pid, pile.method.as_ptr()),
            NodeKind::Driver { connection, .. } => Self::Driver(pid, *connection),
            NodeKind::Process => Self::Process(pid),
        }
    }
}

/// Puts things with the same key into one group, in the order of the first of each.
pub(super) fn grouped<T, K: Hash + Eq + Copy>(
    things: impl IntoIterator<Item = T>,
    mut key: impl FnMut(&T) -> K,
) -> Vec<Vec<T>> {
    let mut indexes: HashMap<K, usize> = HashMap::new();
    let mut groups: Vec<Vec<T>> = Vec::new();
    let mut before: Option<(K, usize)> = None;
    for thing in things {
        let key = key(&thing);
        let index = match before {
            // Things that are alike often stand beside each other.
            Some((before, index)) if before == key => index,
            _ => *indexes.entry(key).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            }),
        };
        before = Some((key, index));
        groups[index].push(thing);
    }
    groups
}
