//! Which processes hold a socket, and which of several uses it.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::iter;

use nix::sys::socket::{getsockopt, sockopt};
use roam_dump::analysis::{Peer, Via};
use rustix::fs::fstat;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::{proc, untraced};

/// A socket that a target holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) pid: u32,
    pub(super) descriptor: i32,
    pub(super) inode: u64,
    pub(super) via: Via,
}

/// The processes that hold sockets.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Targets by the sockets they hold.
    targets: HashMap<u64, Vec<u32>>,
    /// Other processes by the sockets that they hold and no target does.
    others: HashMap<u64, Vec<u32>>,
    /// The dead processes that made the other ends of targets' sockets.
    dead_makers: HashMap<u64, u32>,
    /// The parent of every process, once it was asked for.
    parents: OnceCell<HashMap<u32, u32>>,
}

impl Holders {
    pub(super) fn add_target(&mut self, inode: u64, pid: u32) {
        self.targets.entry(inode).or_default().push(pid);
    }

    pub(super) fn add_other(&mut self, inode: u64, pid: u32) {
        self.others.entry(inode).or_default().push(pid);
    }

    /// The targets that hold a socket.
    pub(super) fn targets(&self, inode: u64) -> Option<&[u32]> {
        self.targets.get(&inode).map(Vec::as_slice)
    }

    /// The dead process that made the other end of a socket, which `holder` keeps open.
    pub(super) fn find_dead_maker(&mut self, held: Held, holder: u32) -> Option<u32> {
        let dead = maker(held).filter(|&maker| maker != holder && untraced::is_dead(maker))?;
        self.dead_makers.insert(held.inode, dead);
        Some(dead)
    }

    /// Who is at the other end of a socket, `peer`: of several that hold it, the one that made it, or the one that
    /// the others were forked from.
    pub(super) fn peers(&self, held: Held, peer: u64) -> Vec<Peer> {
        let process = |pid, held_by| vec![Peer::Process { pid, held_by }];
        let holders = self.targets.get(&peer).or_else(|| self.others.get(&peer));
        match holders.map_or(&[][..], Vec::as_slice) {
            [] => Vec::new(),
            &[holder] => match self.dead_makers.get(&held.inode) {
                Some(&dead) => process(dead, Some(holder)),
                None => process(holder, None),
            },
            holders => match maker(held)
                .filter(|maker| holders.contains(maker))
                .or_else(|| self.common_ancestor(holders))
            {
                Some(pid) => process(pid, None),
                None => (holders.iter())
                    .map(|&pid| Peer::Process { pid, held_by: None })
                    .collect(),
            },
        }
    }

    /// The one of several processes that all others descend from.
    fn common_ancestor(&self, pids: &[u32]) -> Option<u32> {
        let parents = self
            .parents
            .get_or_init(|| proc::parents().unwrap_or_default());
        let is_below = |pid: u32, ancestor: u32| {
            let parent = |pid: &u32| parents.get(pid).copied();
            // Pids that were given away meanwhile may make a cycle.
            let mut line = iter::successors(Some(pid), parent).take(parents.len() + 1);
            line.any(|pid| pid == ancestor)
        };
        let mut ancestors = pids.iter().copied();
        ancestors.find(|&ancestor| pids.iter().all(|&pid| is_below(pid, ancestor)))
    }
}

/// Returns the process that made the other end of a unix socket.
///
/// The kernel remembers its pid and reports it to a holder of the socket: the descriptor is duplicated for the
/// moment of that question.
fn maker(held: Held) -> Option<u32> {
    if held.via != Via::Unix {
        return None;
    }
    let pid = Pid::from_raw(i32::try_from(held.pid).ok()?)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let socket = pidfd_getfd(&process, held.descriptor, PidfdGetfdFlags::empty()).ok()?;
    if fstat(&socket).ok()?.st_ino != held.inode {
        return None;
    }
    // 0 where it was in a pid namespace that this process does not see.
    let peer = getsockopt(&socket, sockopt::PeerCredentials).ok()?.pid();
    u32::try_from(peer).ok().filter(|&peer| peer != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ancestor_of_all() {
        let parents = [(2, 1), (5, 2), (6, 5), (7, 2), (8, 9), (9, 8)];
        let holders = Holders {
            parents: OnceCell::from(HashMap::from(parents)),
            ..Holders::default()
        };
        for (pids, expected) in [
            (&[5, 6][..], Some(5)),
            (&[6, 5], Some(5)),
            (&[5, 6, 7], None),
            (&[2, 6, 7], Some(2)),
            (&[7, 8], None),
        ] {
            assert_eq!(holders.common_ancestor(pids), expected, "{pids:?}");
        }
    }
}
