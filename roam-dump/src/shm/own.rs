//! The hubs that this process maps itself, found in its own maps: no registration, and no lock of roam-shm's.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{SystemTime, UNIX_EPOCH};

use foldhash::{HashMap, HashMapExt};
use rustix::fs::{major, minor};

use super::budget::HubBudget;
use super::layout::MAGIC;
use super::read::{HubDetail, read_hub};
use crate::decode::printable;
use crate::model::{Hub, HubContent, HubFile, HubRole, HubUser, Process};

/// Hubs that are read.
const HUBS: usize = 64;

/// Reads the hubs that this process maps. What it cannot find by a descriptor is left out: roam-shm keeps one open.
///
/// Which process is which peer, and what lies in doorbells, only the tracer sees.
pub fn own_hubs() -> Vec<Hub> {
    let mapped = mapped_files(&fs::read_to_string("/proc/self/maps").unwrap_or_default());
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    let process = own_process();
    let mut budget = HubBudget::default();
    let mut found: HashMap<HubFile, Hub> = HashMap::new();
    for entry in descriptors.flatten() {
        let path = entry.path();
        // Only regular files are opened: others may act, or wait, when that happens.
        let Ok(metadata) = fs::metadata(&path).and_then(regular) else {
            continue;
        };
        let file = HubFile {
            device_major: major(metadata.dev()),
            device_minor: minor(metadata.dev()),
            inode: metadata.ino(),
        };
        if found.len() >= HUBS || found.contains_key(&file) {
            continue;
        }
        if let Some(name) = mapped.get(&file.inode)
            && let Ok(Some(open)) = File::open(&path).and_then(only_hub)
        {
            found.insert(file, hub(&open, file, name, &process, &mut budget));
        }
    }
    let mut hubs: Vec<_> = found.into_values().collect();
    hubs.sort_by_key(|hub| hub.file);
    hubs
}

/// The names of files that are mapped to share changes, by inode: a line of `maps` is addresses, permissions, offset,
/// device, inode, name.
fn mapped_files(maps: &str) -> HashMap<u64, String> {
    let lines = maps.lines().filter_map(|line| {
        let mut fields = line.splitn(6, ' ');
        let permissions = fields.nth(1)?;
        let inode = fields.nth(2)?.parse().ok()?;
        let name = fields.next()?.trim_start();
        let is_shared = permissions.starts_with("rw") && permissions.ends_with('s');
        (is_shared && name.starts_with('/')).then(|| (inode, name.to_owned()))
    });
    lines.collect()
}

fn regular(metadata: fs::Metadata) -> io::Result<fs::Metadata> {
    match metadata.is_file() {
        true => Ok(metadata),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn only_hub(file: File) -> io::Result<Option<File>> {
    let mut magic = [0; MAGIC.len()];
    let got = file.read_at(&mut magic, 0)?;
    Ok((got == magic.len() && magic == MAGIC).then_some(file))
}

fn hub(open: &File, file: HubFile, name: &str, process: &Process, budget: &mut HubBudget) -> Hub {
    let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH);
    let unix_ns = unix_ns.map_or(0, |since| since.as_nanos() as u64);
    let content = match read_hub(open, HubDetail::default(), budget, unix_ns) {
        Ok(state) => HubContent::Content(Box::new(state)),
        Err(error) => HubContent::Error(error.to_string().into()),
    };
    let path = name.strip_suffix(" (deleted)");
    Hub {
        path: printable(path.unwrap_or(name).as_bytes()).into(),
        is_deleted: path.is_some(),
        file: Some(file),
        users: vec![HubUser {
            process: process.clone(),
            role: role(),
        }],
        findings: Vec::new(),
        content,
    }
}

fn own_process() -> Process {
    let name = fs::read("/proc/self/comm").unwrap_or_default();
    Process::new(std::process::id(), printable(name.trim_ascii_end()))
}

/// What the arguments of this process say that it is.
fn role() -> HubRole {
    let peer = std::env::args_os().find_map(|argument| {
        let peer = argument.to_str()?.strip_prefix("--peer-id=")?;
        peer.parse().ok()
    });
    peer.map_or(HubRole::Unknown, |peer| HubRole::Guest { peer })
}

#[cfg(test)]
mod tests {
    use super::mapped_files;

    #[test]
    fn files_that_share_changes() {
        let maps = "\
7f00-7f10 rw-s 00000000 00:1a 17                         /dev/shm/a b (deleted)
7f10-7f20 rw-p 00000000 00:1a 18                         /private
7f20-7f30 r--s 00000000 00:1a 19                         /read-only
7f30-7f40 rw-s 00000000 00:01 20                         anon_inode:[perf]
7f40-7f50 rw-p 00000000 00:00 0
";
        let mapped = mapped_files(maps);
        assert_eq!(mapped.len(), 1);
        assert_eq!(mapped[&17], "/dev/shm/a b (deleted)");
    }
}
