//! Arms files: makes the set of pins if there is none, and adds the links of each file.
//!
//! Each link is pinned before its descriptor is closed: closed last while a fatal signal is pending, it would leave its
//! breakpoints in the processes for good, whereas the kernel takes its own time with one whose last pin goes.

use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::Duration;

use aya::maps::{Array, Map};
use roam_trace_common::armed::{ExecutableValue, FileKey, RECORD_SIZES, SetValue, VERSION};

use super::directory::Directory;
use super::error::ArmedError;
use super::executable::{Executable, ToArm, Version, directory_name, key_of};
use super::program_time::PROGRAMS;
use super::set::{self, EXECUTABLES, MAPS, PinnedMaps, SET, open_map};
use crate::attach::{ArmedFile, ArmedOptions, ArmedPrograms, PROBE_PROGRAMS};
use crate::bpf::Access;
use crate::kernel::{AyaPod, Inserted, MapAccessError, TableMut};
use crate::process::clock::Clock;
use crate::signals::SignalsBlocked;

/// The directory of the links that notice the end of processes.
const PROCESSES: &str = "processes";

/// The start time of a process is known to a clock tick. One that starts when this has passed is known to have started
/// later.
const TICK: Duration = Duration::from_millis(10);

/// What came of arming a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its probes are attached.
    Armed,
    /// They were already.
    WasArmed,
}

/// A set to which files are added. Nobody else changes it meanwhile.
struct Arming {
    directory: Directory,
    executables: Map,
    known: Vec<Executable>,
    programs: Vec<(&'static str, OwnedFd)>,
    clock: Clock,
}

/// Arms files, one after the other; makes the set if there is none.
///
/// # Errors
///
/// [`ArmedError`]. What was armed before stays.
pub fn arm(files: &[ToArm], options: &ArmedOptions) -> Result<Vec<Outcome>, ArmedError> {
    let mut arming = Arming::begin(options)?;
    let outcomes = files.iter().map(|file| arming.add(file)).collect();
    sleep(TICK);
    outcomes
}

impl Arming {
    /// Opens the set; makes it if there is none.
    fn begin(options: &ArmedOptions) -> Result<Self, ArmedError> {
        let directory = Directory::find_or_make()?;
        let clock = Clock::own()
            .map_err(|error| ArmedError::io("read the clocks for", &directory.path, error))?;
        if directory.is_empty()? {
            let _signals = SignalsBlocked::begin();
            if let Err(error) = make(&directory, options, &clock) {
                if let Err(error) = directory.remove_all(SET) {
                    log::info!("{error}");
                }
                return Err(error);
            }
        }
        set::check(&directory)?;
        let open_program = |name| {
            let pin = format!("{PROGRAMS}/{name}");
            Ok((name, directory.open(&pin, Access::ReadAndWrite)?))
        };
        let programs = PROBE_PROGRAMS.into_iter().map(open_program);
        Ok(Self {
            programs: programs.collect::<Result<_, ArmedError>>()?,
            known: PinnedMaps::open(&directory)?.executables()?,
            executables: open_map(&directory, EXECUTABLES, Access::ReadAndWrite)?,
            directory,
            clock,
        })
    }

    /// Arms a file. If that fails, nothing of it remains attached.
    fn add(&mut self, to_arm: &ToArm) -> Result<Outcome, ArmedError> {
        let file = ArmedFile::open(&to_arm.file)?;
        let version = Version::of(file.file())
            .map_err(|error| ArmedError::io("read", &to_arm.path, error))?;
        let id = version.file;
        let known = self.known.iter().position(|known| known.file == id);
        if known.is_some_and(|known| self.known[known].version() == version) {
            return Ok(Outcome::WasArmed);
        }
        let _signals = SignalsBlocked::begin();
        if let Some(modified) = known {
            self.known.remove(modified);
            self.table()?.remove(key_of(id))?;
        }
        let name = directory_name(id);
        // Without an entry, its links are those of an arming that was killed.
        self.directory.remove(&name)?;
        let armed = self.attach(&file, &name).and_then(|()| {
            let armed = Executable {
                file: id,
                path: to_arm.path.clone(),
                armed_ns: self.clock.initial_now_ns(),
                armed_boot_ns: self.clock.initial_boot_now_ns(),
                modified_ns: version.modified_ns,
            };
            match self.table()?.insert_new(key_of(id), armed.value())? {
                Inserted::Yes | Inserted::Present => Ok(armed),
                Inserted::Full => Err(ArmedError::Full),
            }
        });
        match armed {
            Ok(armed) => {
                self.known.push(armed);
                Ok(Outcome::Armed)
            }
            Err(error) => {
                self.directory.remove(&name)?;
                Err(error)
            }
        }
    }

    fn table(&mut self) -> Result<TableMut<'_, FileKey, ExecutableValue>, MapAccessError> {
        TableMut::of(&mut self.executables, EXECUTABLES)
    }

    fn attach(&self, file: &ArmedFile<'_>, name: &str) -> Result<(), ArmedError> {
        self.directory.make(name)?;
        for (probe, program) in &self.programs {
            if let Some(link) = file.attach(probe, program)? {
                self.directory.pin(&link, &format!("{name}/{probe}"))?;
            }
        }
        Ok(())
    }
}

/// Pins everything but the links of files, and last what says that the set is complete.
fn make(directory: &Directory, options: &ArmedOptions, clock: &Clock) -> Result<(), ArmedError> {
    let loaded = ArmedPrograms::load(options)?;
    for name in MAPS.into_iter().chain([SET]) {
        let missing = || ArmedError::Incomplete {
            path: directory.path.clone(),
            missing: name.to_owned(),
        };
        directory.pin(&loaded.map(name).ok_or_else(missing)?, name)?;
    }
    directory.make(PROGRAMS)?;
    for (name, program) in &loaded.programs {
        directory.pin(program, &format!("{PROGRAMS}/{name}"))?;
    }
    directory.make(PROCESSES)?;
    for (name, link) in &loaded.links {
        directory.pin(link, &format!("{PROCESSES}/{name}"))?;
    }
    let pid_namespace = set::own_pid_namespace()
        .map_err(|error| ArmedError::io("read the pid namespace for", &directory.path, error))?;
    let value = SetValue {
        version: VERSION,
        record_sizes: RECORD_SIZES,
        pid_namespace,
        made_boot_ns: clock.initial_boot_now_ns(),
    };
    let failed = |source| MapAccessError { map: SET, source };
    let mut map = open_map(directory, SET, Access::ReadAndWrite)?;
    let mut array = Array::<_, AyaPod<SetValue>>::try_from(&mut map).map_err(failed)?;
    Ok(array.set(0, AyaPod(value), 0).map_err(failed)?)
}
