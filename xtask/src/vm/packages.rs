//! Debian's packages that a virtual machine is made of, unpacked under `target/vm`, where the next run finds
//! them. Installs none of them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{install, paths, process};

/// Where packages are kept.
pub(super) fn directory() -> Result<PathBuf> {
    let directory = paths::target().join("vm");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// The newest kernel of a series, such as `6.1`, for virtual machines.
pub(super) struct Kernel {
    files: PathBuf,
    pub(super) version: String,
}

impl Kernel {
    pub(super) fn image(&self) -> PathBuf {
        self.files.join(format!("boot/vmlinuz-{}", self.version))
    }

    /// The module that lists unix sockets, compressed or not.
    pub(super) fn unix_diag(&self) -> Result<PathBuf> {
        let modules = format!("lib/modules/{}/kernel/net/unix", self.version);
        let mut files = fs::read_dir(self.files.join(modules))?.filter_map(Result::ok);
        let module = files.find(|file| file.file_name().to_string_lossy().starts_with("unix_diag"));
        Ok(module.context("the kernel has no module unix_diag")?.path())
    }
}

/// Downloads a kernel where it is not there yet.
pub(super) fn kernel(series: &str) -> Result<Kernel> {
    let offered = || process::read(process::command("apt-cache pkgnames linux-image-"));
    let mut packages = offered()?;
    if packages.is_empty() {
        // A machine that was just installed knows of no package.
        install::update_packages()?;
        packages = offered()?;
    }
    let prefix = format!("linux-image-{series}.");
    let is_wanted =
        |package: &&str| package.starts_with(&prefix) && package.ends_with("-cloud-amd64");
    let package = newest(packages.lines().filter(is_wanted)).with_context(|| {
        format!(
            "apt offers no {prefix}*-cloud-amd64: Debian 12 has 6.1, and 6.12 among its security updates"
        )
    })?;
    let version = package.trim_start_matches("linux-image-");
    Ok(Kernel {
        files: unpacked(package)?,
        version: version.to_owned(),
    })
}

/// One program that is a shell and all the commands that the tests use, statically linked.
pub(super) fn busybox() -> Result<PathBuf> {
    Ok(unpacked("busybox-static")?.join("bin/busybox"))
}

/// The directory with a package's files; downloads it where it is not there yet.
fn unpacked(package: &str) -> Result<PathBuf> {
    let directory = directory()?;
    let files = directory.join(package);
    if files.exists() {
        return Ok(files);
    }
    // Unpacked under another name, so that what is found under this one is complete.
    let unfinished = directory.join(format!("{package}.part"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir(&unfinished)?;
    // Root's apt would fetch as another user, who may not write here.
    let mut download =
        process::command("apt-get download --quiet --option APT::Sandbox::User=root");
    download.arg(package).current_dir(&unfinished);
    process::require(download)?;
    let archive = fs::read_dir(&unfinished)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get downloaded nothing for {package}"))?;
    let mut extract = process::command("dpkg-deb -x");
    extract.arg(&archive).arg(&unfinished);
    process::require(extract)?;
    fs::remove_file(&archive)?;
    fs::rename(&unfinished, &files)?;
    Ok(files)
}

/// The package with the highest numbers in its name.
fn newest<'a>(packages: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    packages.max_by_key(|package| -> Vec<u32> {
        let numbers = package.split(|character: char| !character.is_ascii_digit());
        numbers.filter_map(|digits| digits.parse().ok()).collect()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn newest_is_by_number() {
        let packages = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
        ];
        assert_eq!(super::newest(packages.into_iter()), Some(packages[1]));
        assert_eq!(super::newest([].into_iter()), None);
    }
}
