//! A hash map of the kernel's with typed keys and values.
#![allow(unsafe_code)]

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{HashMap, Map, MapData, MapError};
use aya::{Ebpf, Pod};

use super::batch;
use super::error::MapAccessError;
use super::plain::Plain;

/// Shows aya that a type is plain data.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct AyaPod<T>(pub(crate) T);

// SAFETY: `IntoBytes` rules out padding and `FromBytes` allows every byte pattern.
unsafe impl<T: Plain> Pod for AyaPod<T> {}

/// Where maps are found by their names.
pub(crate) trait MapSource {
    fn find(&self, name: &str) -> Option<&Map>;
}

impl MapSource for Ebpf {
    fn find(&self, name: &str) -> Option<&Map> {
        self.map(name)
    }
}

pub(super) fn find<'a>(
    maps: &'a impl MapSource,
    name: &'static str,
) -> Result<&'a Map, MapAccessError> {
    maps.find(name).ok_or_else(|| missing(name))
}

fn missing(name: &'static str) -> MapAccessError {
    MapAccessError {
        map: name,
        source: std::io::Error::from(ErrorKind::NotFound).into(),
    }
}

/// A map to read.
pub(crate) struct Table<'a, K, V> {
    name: &'static str,
    map: HashMap<&'a MapData, AyaPod<K>, AyaPod<V>>,
    fd: BorrowedFd<'a>,
}

impl<'a, K: Plain, V: Plain> Table<'a, K, V> {
    pub(crate) fn open(
        maps: &'a impl MapSource,
        name: &'static str,
    ) -> Result<Self, MapAccessError> {
        let map = find(maps, name)?;
        let Map::HashMap(data) = map else {
            return Err(missing(name));
        };
        let fd = data.fd().as_fd();
        let map = HashMap::try_from(map).map_err(|source| MapAccessError { map: name, source })?;
        Ok(Self { name, map, fd })
    }

    /// Every entry. Entries that come or go meanwhile may be in it or not; none is in it twice.
    pub(crate) fn entries(&self) -> Result<Vec<(K, V)>, MapAccessError> {
        match batch::entries(self.fd) {
            Ok(entries) => Ok(entries),
            Err(_) => self.entries_one_by_one(),
        }
        .map_err(|source| MapAccessError {
            map: self.name,
            source,
        })
    }

    /// What [`batch::entries`] does, slowly and on every kernel. An entry that goes while the
    /// kernel stands on it makes it start over, hence the set.
    fn entries_one_by_one(&self) -> Result<Vec<(K, V)>, MapError> {
        let mut seen = std::collections::HashSet::new();
        let mut entries = Vec::new();
        for entry in self.map.iter() {
            let (AyaPod(key), AyaPod(value)) = entry?;
            if seen.insert(key.as_bytes().to_vec()) {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }
}

/// The result of an insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// The entry is in the map.
    Yes,
    /// The map had one of that key, which stays.
    Present,
    /// The map is full.
    Full,
}

/// A map to write.
pub(crate) struct TableMut<'a, K, V> {
    name: &'static str,
    map: HashMap<&'a mut MapData, AyaPod<K>, AyaPod<V>>,
}

impl<'a, K: Plain, V: Plain> TableMut<'a, K, V> {
    pub(crate) fn open(bpf: &'a mut Ebpf, name: &'static str) -> Result<Self, MapAccessError> {
        let map = bpf.map_mut(name).ok_or_else(|| missing(name))?;
        Self::of(map, name)
    }

    /// A map that was opened.
    pub(crate) fn of(map: &'a mut Map, name: &'static str) -> Result<Self, MapAccessError> {
        let map = HashMap::try_from(map).map_err(|source| MapAccessError { map: name, source })?;
        Ok(Self { name, map })
    }

    /// Inserts an entry where there is none of its key.
    pub(crate) fn insert_new(&mut self, key: K, value: V) -> Result<Inserted, MapAccessError> {
        const BPF_NOEXIST: u64 = 1;
        match self.map.insert(AyaPod(key), AyaPod(value), BPF_NOEXIST) {
            Ok(()) => Ok(Inserted::Yes),
            Err(error) => match os_error(&error) {
                Some(libc::EEXIST) => Ok(Inserted::Present),
                Some(libc::E2BIG | libc::ENOMEM) => Ok(Inserted::Full),
                _ => Err(self.failed(error)),
            },
        }
    }

    /// Removes an entry, which may be gone already.
    pub(crate) fn remove(&mut self, key: K) -> Result<(), MapAccessError> {
        match self.map.remove(&AyaPod(key)) {
            Ok(()) => Ok(()),
            Err(error) if os_error(&error) == Some(libc::ENOENT) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, source: MapError) -> MapAccessError {
        MapAccessError {
            map: self.name,
            source,
        }
    }
}

/// The error number of a failed system call.
fn os_error(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error(),
        MapError::IoError(error) => error.raw_os_error(),
        MapError::KeyNotFound | MapError::ElementNotFound => Some(libc::ENOENT),
        _ => None,
    }
}
