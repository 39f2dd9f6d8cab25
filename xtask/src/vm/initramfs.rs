//! The files of a virtual machine, as the archive that Linux unpacks into memory when it boots.
//!
//! Programs are at the paths they have here: test programs know where cargo put what they start.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::checks::{Checks, MARK};
use super::packages::{self, Kernel};
use crate::{paths, process};

/// The system's directories, which the first program mounts on or puts files into.
const DIRECTORIES: [&str; 9] = [
    "/bin", "/dev", "/etc", "/proc", "/run", "/sys", "/tmp", "/usr/bin", "/var/tmp",
];

/// Commands that the tests use in ways that busybox does not know.
const TOOLS: [&str; 4] = ["setpriv", "sh", "sleep", "unshare"];

/// When a machine switches itself off, in case nobody waits for it any more.
const LIFETIME_SECONDS: u32 = 1_800;

/// What makes users and groups have names.
const USERS: &str = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nnogroup:x:65534:\n";

/// Writes the archive for any of the kernels and returns where it is.
pub(super) fn write(checks: &Checks, kernels: &[Kernel]) -> Result<PathBuf> {
    let directory = packages::directory()?.join("files");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let files = Files { directory };
    for directory in DIRECTORIES {
        fs::create_dir_all(files.place(Path::new(directory))?)?;
    }
    files.copy("/bin/busybox", &packages::busybox()?)?;
    fs::write(files.place(Path::new("/etc/passwd"))?, USERS)?;
    fs::write(files.place(Path::new("/etc/group"))?, GROUPS)?;
    let first = files.place(Path::new("/init"))?;
    fs::write(&first, init(checks))?;
    fs::set_permissions(&first, Permissions::from_mode(0o755))?;
    for tool in TOOLS {
        let path = paths::find(tool).with_context(|| format!("no {tool} in PATH"))?;
        files.program(&Path::new("/bin").join(tool), &path)?;
    }
    for program in &checks.programs {
        files.program(program, program)?;
    }
    for snapshots in snapshot_directories(&checks.package.join("tests"))? {
        for entry in fs::read_dir(snapshots)? {
            let path = entry?.path();
            files.copy(&path, &path)?;
        }
    }
    for kernel in kernels {
        let module = kernel.unix_diag()?;
        let name = module.file_name().context("not a path of a file")?;
        let modules = Path::new("/lib/modules").join(&kernel.version);
        files.copy(modules.join(name), &module)?;
    }
    let archive = packages::directory()?.join("initramfs.cpio");
    let mut cpio = process::command("sh -c");
    cpio.arg("find . | cpio --quiet --create --format=newc --owner=0:0 > ../initramfs.cpio")
        .current_dir(&files.directory);
    process::require(cpio)?;
    fs::remove_dir_all(&files.directory)?;
    Ok(archive)
}

/// The files, before they are packed.
struct Files {
    directory: PathBuf,
}

impl Files {
    /// Where a file is put that is to be at an absolute path.
    fn place(&self, path: &Path) -> Result<PathBuf> {
        let place = self.directory.join(path.strip_prefix("/")?);
        fs::create_dir_all(place.parent().context("not a path of a file")?)?;
        Ok(place)
    }

    /// Copies the file itself where cargo and the system have a link.
    fn copy(&self, path: impl AsRef<Path>, from: &Path) -> Result<()> {
        fs::copy(from, self.place(path.as_ref())?)
            .with_context(|| format!("copying {}", from.display()))?;
        Ok(())
    }

    fn program(&self, path: &Path, from: &Path) -> Result<()> {
        self.copy(path, from)?;
        libraries(from)?
            .iter()
            .try_for_each(|library| self.copy(library, library))
    }
}

/// The shared libraries of a program, the loader among them, as the loader itself finds them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program);
    let text = process::read(ldd)?;
    let path = program.display();
    ensure!(
        !text.contains("not found"),
        "{path} misses a library:\n{text}"
    );
    let words = text.split_whitespace();
    Ok(words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
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
for module in /lib/modules/$(uname -r)/*; do
    case $module in *.xz) unxz $module; module=${{module%.xz}} ;; esac
    insmod $module
done
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
        script += &format!("export {name}={}\n", quoted(value));
    }
    for check in &checks.commands {
        let (name, arguments) = (&check.name, check.arguments.join(" "));
        script += &format!("check {name} {} {arguments}\n", quoted(&check.program));
    }
    script + &format!("echo \"{MARK} end\"\npoweroff -f\n")
}

/// A word for a shell, whatever is in it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
