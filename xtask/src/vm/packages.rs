//! Debian's packages that a virtual machine is made of, unpacked under `target/vm`, where the next run
//! finds them without a network. Installs none of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{machine, process, scratch};

/// Where packages are kept.
pub(super) fn directory() -> Result<PathBuf> {
    let directory = scratch::target_directory().join("vm");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// The image of the newest kernel of a series, such as `6.1`, for virtual machines.
pub(super) fn kernel(series: &str) -> Result<PathBuf> {
    let is_of_series = |package: &str| {
        package
            .strip_prefix("linux-image-")
            .and_then(|rest| rest.strip_prefix(series))
            .is_some_and(|rest| rest.starts_with('.') && rest.ends_with("-cloud-amd64"))
    };
    let package = match newest(cached()?, is_of_series) {
        Some(package) => package,
        None => {
            newest(offered("^linux-image-.*-cloud-amd64$")?, is_of_series).with_context(|| {
                format!(
                    "apt offers no linux-image-{series}.*-cloud-amd64: Debian 12 has 6.1, and 6.12 \
                 among its security updates"
                )
            })?
        }
    };
    let boot = unpacked(&package)?.join("boot");
    let version = package.trim_start_matches("linux-image-");
    Ok(boot.join(format!("vmlinuz-{version}")))
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
    let mut download = Command::new("apt-get");
    // Root's apt would fetch as another user, who may not write here.
    download
        .args([
            "download",
            "--quiet",
            "--option",
            "APT::Sandbox::User=root",
            package,
        ])
        .current_dir(&unfinished);
    process::require(download)?;
    let archive = fs::read_dir(&unfinished)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get downloaded nothing for {package}"))?;
    let mut extract = Command::new("dpkg-deb");
    extract.arg("-x").arg(&archive).arg(&unfinished);
    process::require(extract)?;
    fs::remove_file(&archive)?;
    fs::rename(&unfinished, &files)?;
    Ok(files)
}

/// The names of the packages that are kept.
fn cached() -> Result<Vec<String>> {
    Ok(fs::read_dir(directory()?)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect())
}

/// The names of the packages that apt knows.
fn offered(pattern: &str) -> Result<Vec<String>> {
    ensure!(
        Path::new("/usr/bin/apt-cache").exists(),
        "virtual machines are made of Debian's packages, and there is no apt here"
    );
    let search = || -> Result<Vec<String>> {
        let output = Command::new("apt-cache")
            .args(["search", "--names-only", pattern])
            .output()
            .context("starting apt-cache")?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text
            .lines()
            .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
            .collect())
    };
    let names = search()?;
    if names.is_empty() {
        // A machine that was just installed knows of no package.
        machine::update_packages()?;
        return search();
    }
    Ok(names)
}

/// The package with the highest numbers in its name.
fn newest(packages: Vec<String>, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let numbers = |package: &String| -> Vec<u32> {
        package
            .split(|character: char| !character.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .collect()
    };
    packages
        .into_iter()
        .filter(|package| wanted(package))
        .max_by_key(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_is_by_number() {
        let packages = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
        ];
        let packages = packages.map(str::to_owned).to_vec();
        assert_eq!(
            newest(packages.clone(), |_| true).as_deref(),
            Some("linux-image-6.1.0-56-cloud-amd64")
        );
        assert_eq!(newest(packages, |_| false), None);
    }
}
