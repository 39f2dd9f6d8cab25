//! Arms again what is replaced.
//!
//! Whatever happens to a file or a directory on the way to it, all armed paths are looked at afresh. What is armed is in
//! the set; only what was armed before is remembered, to notice what somebody disarms.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roam_trace_common::event::TargetValue;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::directory;
use super::error::ArmedError;
use super::executable::{Executable, ToArm, Version, shown};
use super::make::{Outcome, arm};
use super::remove::disarm_files;
use super::set::ArmedSet;
use crate::attach::ArmedOptions;
use crate::error::TargetError;
use crate::process::Target;
use crate::process::mapping::FileId;
use crate::process::maps::renew_allowance;
use crate::process::proc::{self, Process};

/// Room for the events of one reading.
const EVENT_BYTES: usize = 1 << 14;

/// Time of a processor that the mappings of all processes may take whenever a file is replaced.
const LOOKING: Duration = Duration::from_secs(1);

/// Arms the executables at all armed paths, and at `paths`, again when they are replaced, until nothing is armed any
/// more. What somebody disarms stays so. `to_arm` reads the file at a path; `report` tells the user what is done.
///
/// # Errors
///
/// [`ArmedError`].
pub fn watch(
    mut paths: BTreeSet<PathBuf>,
    options: &ArmedOptions,
    to_arm: fn(&Path) -> Result<ToArm, String>,
    report: impl Fn(String),
) -> Result<(), ArmedError> {
    let set = directory::path();
    let events = Events::open(&set)?;
    // What cannot be armed is reported once.
    let mut refused = BTreeSet::new();
    let mut before: Vec<Version> = Vec::new();
    loop {
        let Some(armed) = ArmedSet::open()? else {
            report("nothing is armed any more".to_owned());
            return Ok(());
        };
        let now: Vec<_> = armed
            .executables()
            .iter()
            .map(Executable::version)
            .collect();
        // Their files are as they were, so that nothing but a user has disarmed them.
        let is_disarmed = |version| before.contains(&version) && !now.contains(&version);
        paths.retain(|path| !Version::at(path).is_ok_and(is_disarmed));
        before = now;
        paths.extend(armed.executables().iter().map(|armed| armed.path.clone()));
        let of_set = events.watch(&set, &paths)?;
        for path in &paths {
            match renew(path, &armed, &mut before, options, to_arm) {
                Ok(Some(what)) => report(what),
                Ok(None) => {}
                Err(why) => {
                    if refused.insert(why.clone()) {
                        report(why);
                    }
                }
            }
        }
        events.wait(&set, of_set, &paths)?;
    }
}

/// Arms the executable that is at a path now, if it is another than what was armed there. Returns what was done. Removes
/// from `known` what it disarms.
fn renew(
    path: &Path,
    set: &ArmedSet,
    known: &mut Vec<Version>,
    options: &ArmedOptions,
    to_arm: fn(&Path) -> Result<ToArm, String>,
) -> Result<Option<String>, String> {
    let Ok(version) = Version::at(path) else {
        return Ok(None);
    };
    let armed = set.executables();
    if armed.iter().any(|armed| armed.version() == version) {
        return Ok(None);
    }
    let failed = |why: &dyn ToString| format!("cannot arm {}: {}", shown(path), why.to_string());
    // Modified in place: its sites may be anywhere now, and breakpoints where there is none would end it.
    if armed.iter().any(|armed| armed.file == version.file) {
        disarm_files(&[version.file]).map_err(|error| failed(&error))?;
    }
    let file = to_arm(path).map_err(|why| failed(&why))?;
    match arm(&[file], options).map_err(|error| failed(&error))?[..] {
        [Outcome::Armed] => {}
        _ => return Ok(None),
    }
    let reported = set.processes().map_err(|error| failed(&error))?;
    let replaced: Vec<FileId> = armed
        .iter()
        .filter(|armed| armed.path == path && armed.file != version.file)
        .map(|armed| armed.file)
        .filter(|&file| !may_run(file, &reported))
        .collect();
    if !replaced.is_empty() {
        known.retain(|version| !replaced.contains(&version.file));
        disarm_files(&replaced).map_err(|error| failed(&error))?;
    }
    Ok(Some(format!("armed {} again", shown(path))))
}

/// Whether a process may run a file. One that cannot be looked at, or only in part, may if it has reported something.
fn may_run(file: FileId, reported: &HashMap<u32, TargetValue>) -> bool {
    let looked = |pid| {
        let target = Process::open(pid).and_then(Target::of)?;
        let runs = target.binaries()?.iter().any(|binary| binary.file == file);
        Ok::<_, TargetError>((runs, target.mappings()?.is_memory_cut))
    };
    let runs = |pid| match looked(pid) {
        Ok((runs, is_cut)) => runs || is_cut && reported.contains_key(&pid),
        Err(error) => !error.is_no_process() && reported.contains_key(&pid),
    };
    renew_allowance(LOOKING);
    proc::pids().map_or(true, |pids| pids.into_iter().any(runs))
}

/// What happens to files, and to the directories on the way to them.
struct Events(OwnedFd);

impl Events {
    fn open(path: &Path) -> Result<Self, ArmedError> {
        inotify::init(CreateFlags::CLOEXEC)
            .map(Self)
            .map_err(|error| ArmedError::io("watch", path, error))
    }

    /// Watches every directory on the way to a path, and the set, whose watch it returns. A directory that is not there
    /// will be made in one that is.
    fn watch(&self, set: &Path, paths: &BTreeSet<PathBuf>) -> Result<Option<i32>, ArmedError> {
        let changes = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF;
        let add =
            |directory| match inotify::add_watch(&self.0, directory, changes | WatchFlags::ONLYDIR)
            {
                Ok(watch) => Ok(Some(watch)),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
                Err(error) => Err(ArmedError::io("watch", directory, error)),
            };
        let directories = paths.iter().flat_map(|path| path.ancestors().skip(1));
        for directory in directories.collect::<BTreeSet<_>>() {
            add(directory)?;
        }
        add(set)
    }

    /// Waits until something happens that may concern a path or the set.
    fn wait(
        &self,
        set: &Path,
        of_set: Option<i32>,
        paths: &BTreeSet<PathBuf>,
    ) -> Result<(), ArmedError> {
        let names: BTreeSet<&OsStr> = paths.iter().flat_map(|path| path.iter()).collect();
        let mut is_due = false;
        let mut buffer = [MaybeUninit::uninit(); EVENT_BYTES];
        let mut events = Reader::new(&self.0, &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(ArmedError::io("watch", set, error)),
            };
            // Without a name, it is about a directory itself, or events were lost.
            let name = event
                .file_name()
                .map(|name| OsStr::from_bytes(name.to_bytes()));
            is_due |= Some(event.wd()) == of_set || name.is_none_or(|name| names.contains(name));
            if is_due && events.is_buffer_empty() {
                return Ok(());
            }
        }
    }
}
