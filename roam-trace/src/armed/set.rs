//! A set of pins, to read.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use roam_trace_common::armed::{ExecutableValue, FileKey, RECORD_SIZES, SetValue, VERSION};
use roam_trace_common::event::TargetValue;

use super::directory::{Directory, Lock};
use super::error::ArmedError;
use super::executable::Executable;
use super::program_time::{self, ProgramTime};
use crate::bpf::Access;
use crate::kernel::{self, AyaPod, MapAccessError, MapSource, Maps, Table};
use crate::process::mapping::FileId;

/// The map that says what the set is.
pub(super) const SET: &str = "SET";
/// The map of the executables.
pub(super) const EXECUTABLES: &str = "EXECUTABLES";
/// The maps that are pinned besides [`SET`].
pub(super) const MAPS: [&str; 6] = [
    EXECUTABLES,
    "REQUESTS",
    "CHANNELS",
    "CONNECTIONS",
    "TARGETS",
    "LOSSES",
];

/// The maps of a set.
#[derive(Debug)]
pub(super) struct PinnedMaps(HashMap<&'static str, Map>);

impl PinnedMaps {
    pub(super) fn open(directory: &Directory) -> Result<Self, ArmedError> {
        let open = |name| Ok((name, open_map(directory, name, Access::Read)?));
        MAPS.into_iter()
            .map(open)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn executables(&self) -> Result<Vec<Executable>, MapAccessError> {
        let entries = Table::<FileKey, ExecutableValue>::open(self, EXECUTABLES)?.entries()?;
        let mut executables: Vec<_> = entries.into_iter().map(Executable::of).collect();
        executables.sort_by(|a, b| (&a.path, a.armed_ns).cmp(&(&b.path, b.armed_ns)));
        Ok(executables)
    }
}

impl MapSource for PinnedMaps {
    fn find(&self, name: &str) -> Option<&Map> {
        self.0.get(name)
    }
}

/// Opens a map of a set.
pub(super) fn open_map(
    directory: &Directory,
    name: &'static str,
    access: Access,
) -> Result<Map, ArmedError> {
    let opened: OwnedFd = directory.open(name, access)?;
    let map = MapData::from_fd(opened).and_then(Map::from_map_data);
    Ok(map.map_err(|source| MapAccessError { map: name, source })?)
}

/// What is armed. Its maps stay readable when it is disarmed meanwhile.
#[derive(Debug)]
pub struct ArmedSet {
    maps: PinnedMaps,
    executables: Vec<Executable>,
    made_boot_ns: u64,
    programs: Vec<OwnedFd>,
}

impl ArmedSet {
    /// Opens what is armed; `None` if nothing is.
    ///
    /// # Errors
    ///
    /// [`ArmedError`] if there are pins that cannot be read, or not be believed.
    pub fn open() -> Result<Option<Self>, ArmedError> {
        let Some(directory) = Directory::find(Lock::Shared)? else {
            return Ok(None);
        };
        let value = check(&directory)?;
        let maps = PinnedMaps::open(&directory)?;
        Ok(Some(Self {
            executables: maps.executables()?,
            maps,
            made_boot_ns: value.made_boot_ns,
            programs: program_time::open(&directory)?,
        }))
    }

    /// Returns the armed executables and libraries, by path.
    pub fn executables(&self) -> &[Executable] {
        &self.executables
    }

    /// Returns the entry of a file, if it is armed.
    pub fn executable(&self, file: FileId) -> Option<&Executable> {
        self.executables.iter().find(|armed| armed.file == file)
    }

    /// Returns when the set was made, `CLOCK_BOOTTIME` nanoseconds of the initial time namespace.
    pub fn made_boot_ns(&self) -> u64 {
        self.made_boot_ns
    }

    /// Reads what is in flight now.
    ///
    /// # Errors
    ///
    /// [`MapAccessError`] if a map cannot be read.
    pub fn snapshot(&self) -> Result<Maps, MapAccessError> {
        kernel::read(&self.maps, Vec::new())
    }

    /// Reads which processes have reported an event, with the numbers of their rows.
    ///
    /// # Errors
    ///
    /// As [`Self::snapshot`].
    pub fn processes(&self) -> Result<HashMap<u32, TargetValue>, MapAccessError> {
        kernel::read_targets(&self.maps)
    }

    /// Returns for how many rows a map has room.
    pub fn room(&self, map: &str) -> Option<u32> {
        match self.maps.find(map)? {
            Map::HashMap(map) => Some(map.info().ok()?.max_entries()),
            _ => None,
        }
    }

    /// Has the kernel measure the programs for a while. Returns what that gave, by program.
    ///
    /// # Errors
    ///
    /// [`ArmedError`] if it may not be asked.
    pub fn measure(&self, duration: Duration) -> Result<Vec<ProgramTime>, ArmedError> {
        program_time::measure(&self.programs, duration)
    }
}

/// Makes sure that a set is complete, and that this program knows what is in it.
pub(super) fn check(directory: &Directory) -> Result<SetValue, ArmedError> {
    let path = || directory.path.clone();
    let failed = |source| MapAccessError { map: SET, source };
    let opened = directory.open(SET, Access::Read)?;
    let data = MapData::from_fd(opened).map_err(failed)?;
    let size = data.info().map_err(failed)?.value_size();
    if size as usize != size_of::<SetValue>() {
        return Err(ArmedError::Version { path: path() });
    }
    let map = Map::from_map_data(data).map_err(failed)?;
    let array = Array::<_, AyaPod<SetValue>>::try_from(&map).map_err(failed)?;
    let AyaPod(value) = array.get(&0, 0).map_err(failed)?;
    if value.version == 0 {
        return Err(ArmedError::Incomplete {
            path: path(),
            missing: "version".to_owned(),
        });
    }
    if value.version != VERSION || value.record_sizes != RECORD_SIZES {
        return Err(ArmedError::Version { path: path() });
    }
    let own = own_pid_namespace().map_err(|error| ArmedError::io("read", &path(), error))?;
    if value.pid_namespace != own {
        return Err(ArmedError::Namespace { path: path() });
    }
    Ok(value)
}

/// The inode of the pid namespace of this process.
pub(super) fn own_pid_namespace() -> std::io::Result<u64> {
    Ok(std::fs::metadata("/proc/self/ns/pid")?.ino())
}
