//! The files of a virtual machine, as the archive that Linux unpacks into memory when it boots.
//!
//! Programs are at the paths they have here: test programs know where cargo put what they start.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::NewcBuilder;
use cpio::newc::{ModeFileType, trailer};

use super::checks::{Checks, MARK};
use super::{packages, programs};

const EXECUTABLE: u32 = 0o755;
const DATA: u32 = 0o644;

/// The system's directories, which the first program mounts on or puts files into.
const DIRECTORIES: [&str; 8] = [
    "/bin", "/dev", "/etc", "/proc", "/run", "/sys", "/tmp", "/usr/bin",
];

/// Commands that the tests use in ways that busybox does not know.
const TOOLS: [&str; 4] = ["setpriv", "sh", "sleep", "unshare"];

/// When a machine switches itself off, in case nobody waits for it any more.
const LIFETIME_SECONDS: u32 = 1_800;

/// What makes users and groups have names.
const USERS: &str = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Writes the archive and returns where it is.
pub(super) fn write(checks: &Checks) -> Result<PathBuf> {
    let mut files = Files::default();
    for directory in DIRECTORIES {
        files.directory(Path::new(directory));
    }
    files.copy("/bin/busybox", &packages::busybox()?)?;
    files.text("/etc/passwd", DATA, USERS);
    files.text("/etc/group", DATA, GROUPS);
    files.text("/init", EXECUTABLE, &init(checks));
    for tool in TOOLS {
        let path = programs::find(tool)?;
        files.program(&Path::new("/bin").join(tool), &path)?;
    }
    let tests = checks.tests.iter().map(|test| &test.path);
    for program in [&checks.trace, &checks.demo].into_iter().chain(tests) {
        files.program(program, program)?;
    }
    for snapshots in snapshot_directories(&checks.package.join("tests"))? {
        for entry in fs::read_dir(snapshots)? {
            let path = entry?.path();
            files.copy(&path, &path)?;
        }
    }

    let path = packages::directory()?.join("initramfs.cpio");
    let write = || -> Result<()> {
        let mut archive = BufWriter::new(File::create(&path)?);
        files.write(&mut archive)?;
        Ok(archive.flush()?)
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Where the tests keep what they compare with.
fn snapshot_directories(tests: &Path) -> Result<Vec<PathBuf>> {
    Ok(fs::read_dir(tests)?
        .filter_map(|entry| Some(entry.ok()?.path().join("snapshots")))
        .filter(|path| path.is_dir())
        .collect())
}

/// The machine's first program: makes a system of what the kernel offers, runs the checks with their output
/// on the second serial port, and switches the machine off.
fn init(checks: &Checks) -> String {
    let mut script = format!(
        "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
chmod 1777 /tmp /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
ip link set lo up
exec > /dev/ttyS1 2>&1 < /dev/null
(sleep {LIFETIME_SECONDS}; poweroff -f) &
check() {{
    echo \"{MARK} check $1\"
    shift
    \"$@\"
    status=$?
    echo
    echo \"{MARK} status $status\"
}}
echo \"{MARK} begin $(uname -r)\"
cd {package}
",
        package = quoted(&checks.package)
    );
    for (name, value) in checks.environment() {
        script += &format!("export {name}={}\n", quoted(Path::new(&value)));
    }
    for (name, program, arguments) in checks.commands() {
        let arguments = arguments.join(" ");
        script += &format!("check {name} {} {arguments}\n", quoted(program));
    }
    script + &format!("echo \"{MARK} end\"\npoweroff -f\n")
}

/// A word for a shell, whatever is in it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// A file's mode and where its content comes from.
enum Content {
    Directory,
    Text(u32, String),
    Copy(PathBuf),
}

/// Files by their absolute path, so that a directory comes before what is in it.
#[derive(Default)]
struct Files(BTreeMap<PathBuf, Content>);

impl Files {
    fn directory(&mut self, path: &Path) {
        for ancestor in path.ancestors().filter(|path| path.parent().is_some()) {
            self.0
                .entry(ancestor.to_owned())
                .or_insert(Content::Directory);
        }
    }

    fn insert(&mut self, path: &Path, content: Content) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        self.0.insert(path.to_owned(), content);
    }

    fn text(&mut self, path: &str, mode: u32, text: &str) {
        self.insert(Path::new(path), Content::Text(mode, text.to_owned()));
    }

    fn program(&mut self, path: &Path, from: &Path) -> Result<()> {
        self.copy(path, from)?;
        for library in programs::libraries(from)? {
            self.copy(&library, &library)?;
        }
        Ok(())
    }

    fn copy(&mut self, path: impl AsRef<Path>, from: &Path) -> Result<()> {
        // Cargo and the system have links where a machine needs the file.
        let from = from
            .canonicalize()
            .with_context(|| format!("cannot find {}", from.display()))?;
        self.insert(path.as_ref(), Content::Copy(from));
        Ok(())
    }

    fn write(&self, archive: &mut impl Write) -> Result<()> {
        for (path, content) in &self.0 {
            let name = path.display().to_string();
            let entry = NewcBuilder::new(name.trim_start_matches('/'));
            match content {
                Content::Directory => {
                    let entry = entry
                        .mode(EXECUTABLE)
                        .set_mode_file_type(ModeFileType::Directory);
                    entry.write(&mut *archive, 0).finish()?;
                }
                Content::Text(mode, text) => {
                    let entry = entry.mode(*mode).set_mode_file_type(ModeFileType::Regular);
                    let mut file = entry.write(&mut *archive, u32::try_from(text.len())?);
                    file.write_all(text.as_bytes())?;
                    file.finish()?;
                }
                Content::Copy(from) => {
                    let mut source =
                        File::open(from).with_context(|| format!("reading {}", from.display()))?;
                    let size = u32::try_from(source.metadata()?.len())?;
                    let entry = entry
                        .mode(EXECUTABLE)
                        .set_mode_file_type(ModeFileType::Regular);
                    let mut file = entry.write(&mut *archive, size);
                    std::io::copy(&mut source, &mut file)?;
                    file.finish()?;
                }
            }
        }
        trailer(archive)?;
        Ok(())
    }
}
