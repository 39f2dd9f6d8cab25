//! Which of the numbers that were found in transports are descriptors, and not by chance.
//!
//! Transports of one type have their sockets in one place, and a socket belongs to
//! one of them. What that does not decide is left to those who know the other ends.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use roam_dump::model::SocketUnknown;

/// Descriptors that may be left of one object, and of all of a process.
const OBJECT_DESCRIPTORS: usize = 16;
const PROCESS_DESCRIPTORS: usize = 8_192;

/// Where the transport of a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransportObject {
    /// Address in the memory of the process.
    pub address: u64,
    /// Its size.
    pub bytes: u32,
}

/// A descriptor of a connected socket, and where it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The descriptor.
    pub descriptor: i32,
    /// Where it was found.
    pub path: Path,
}

/// The offsets of the pointers that were followed from an object, and that of the number behind them.
pub type Path = [Option<u32>; 3];

/// What was found in the transport of each link, by its serial.
pub type Claims = HashMap<u64, Result<Vec<Claim>, SocketUnknown>>;

/// A descriptor that may be that of a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The descriptor.
    pub descriptor: i32,
    /// Whether most transports of that size have a socket in the same place, each another one.
    pub is_in_place: bool,
}

/// The descriptors that may be that of the transport of each link, by its serial, or why there is none.
pub type Decided = HashMap<u64, Result<Vec<Found>, SocketUnknown>>;

/// Keeps of each object what is in the place where others of its size have their sockets. Where there is no such
/// place, keeps what is in none of them.
pub fn decide(objects: &[(u64, TransportObject)], mut claims: Claims) -> Decided {
    let mut groups: BTreeMap<u32, Vec<&[Claim]>> = BTreeMap::new();
    for (serial, object) in objects {
        if let Some(Ok(claims)) = claims.get(serial) {
            groups.entry(object.bytes).or_default().push(claims);
        }
    }
    let mut paths: HashMap<u32, HashSet<Path>> = HashMap::new();
    let mut taken = HashSet::new();
    for (bytes, group) in groups {
        let common = common_paths(&group);
        let claims = group.into_iter().flatten();
        let in_place = claims.filter(|claim| common.contains(&claim.path));
        taken.extend(in_place.map(|claim| claim.descriptor));
        paths.insert(bytes, common);
    }
    let mut left = PROCESS_DESCRIPTORS;
    let mut decided = Decided::new();
    for (serial, object) in objects {
        let claims = claims.remove(serial).unwrap_or(Err(SocketUnknown::Timeout));
        let descriptors = claims.and_then(|claims| {
            let is_in_place = |claim: &&Claim| paths[&object.bytes].contains(&claim.path);
            let descriptor = |claim: &Claim| claim.descriptor;
            let mut kept: BTreeSet<i32> =
                (claims.iter().filter(is_in_place).map(descriptor)).collect();
            let is_in_place = !kept.is_empty();
            if !is_in_place {
                kept = claims.iter().map(descriptor).collect();
                kept.retain(|descriptor| !taken.contains(descriptor));
            }
            if kept.is_empty() {
                return Err(SocketUnknown::NotFound);
            }
            left = (left.checked_sub(kept.len()))
                .filter(|_| kept.len() <= OBJECT_DESCRIPTORS)
                .ok_or(SocketUnknown::LimitReached)?;
            let found = kept.into_iter().map(|descriptor| Found {
                descriptor,
                is_in_place,
            });
            Ok(found.collect())
        });
        decided.insert(*serial, descriptors);
    }
    decided
}

/// The places where most of several objects have a socket, each another one.
fn common_paths(group: &[&[Claim]]) -> HashSet<Path> {
    let mut at: HashMap<Path, Vec<i32>> = HashMap::new();
    for claim in group.iter().copied().flatten() {
        at.entry(claim.path).or_default().push(claim.descriptor);
    }
    let is_common = |descriptors: &[i32]| {
        let distinct: HashSet<_> = descriptors.iter().collect();
        group.len() > 1
            && descriptors.len() * 2 > group.len()
            && distinct.len() == descriptors.len()
    };
    let common = at.into_iter().filter(|(_, found)| is_common(found));
    common.map(|(path, _)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of an object, the numbers in it with their offsets, and what is kept of them: in place, or not.
    type Object<'a> = (u32, &'a [(u32, i32)], Kept<'a>);

    enum Kept<'a> {
        InPlace(&'a [i32]),
        Elsewhere(&'a [i32]),
        None,
    }
    use Kept::{Elsewhere, InPlace};

    fn check_decided(objects: &[Object<'_>]) {
        let serials = || (1..).zip(objects);
        let placed = serials().map(|(serial, &(bytes, ..))| {
            let address = 4_096;
            (serial, TransportObject { address, bytes })
        });
        let claims = serials().map(|(serial, (_, numbers, _))| {
            let claims = numbers.iter().map(|&(offset, descriptor)| Claim {
                descriptor,
                path: [Some(offset), None, None],
            });
            (serial, Ok(claims.collect()))
        });
        let expected = serials().map(|(serial, (.., kept))| {
            let found = |descriptors: &[i32], is_in_place| {
                let found = descriptors.iter().map(|&descriptor| Found {
                    descriptor,
                    is_in_place,
                });
                Ok(found.collect())
            };
            let expected = match kept {
                InPlace(descriptors) => found(descriptors, true),
                Elsewhere(descriptors) => found(descriptors, false),
                Kept::None => Err(SocketUnknown::NotFound),
            };
            (serial, expected)
        });
        let placed: Vec<_> = placed.collect();
        assert_eq!(decide(&placed, claims.collect()), expected.collect());
    }

    #[test]
    fn transports_of_one_type_have_their_sockets_in_one_place() {
        check_decided(&[(80, &[(24, 9), (40, 33)], Elsewhere(&[9, 33]))]);
        check_decided(&[
            (80, &[(24, 9), (40, 33)], InPlace(&[9])),
            (80, &[(24, 10), (40, 33)], InPlace(&[10])),
            (80, &[(24, 33)], InPlace(&[33])),
            // Of another type, with the socket of one of them in it.
            (64, &[(8, 10), (16, 12)], Elsewhere(&[12])),
            (64, &[(32, 33)], Kept::None),
        ]);
        // Two places that may be it.
        check_decided(&[
            (80, &[(24, 9), (40, 10)], InPlace(&[9, 10])),
            (80, &[(24, 11), (40, 12)], InPlace(&[11, 12])),
        ]);
        // None that most of them have.
        check_decided(&[
            (80, &[(24, 9), (32, 10)], Elsewhere(&[9, 10])),
            (80, &[(40, 11)], Elsewhere(&[11])),
        ]);
    }
}
