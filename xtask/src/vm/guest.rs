//! A virtual machine without disk and network: boots a kernel with the files of [`initramfs`], reads
//! what its checks print, and ends it when it takes too long.
//!
//! [`initramfs`]: super::initramfs

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::checks::{Checks, MARK, Results};
use super::packages::{self, Kernel};
use crate::process::{self, Process};

/// Until the first program runs. An emulated processor takes 3 to 6 s.
const BOOT: Duration = Duration::from_secs(60);

/// Where the processor's virtualisation is said to work but does not, as inside of some virtual machines.
const BOOT_BY_KVM: Duration = Duration::from_secs(20);

/// Until all checks are done.
const CHECKS: Duration = Duration::from_secs(900);

/// Tells the tests to be patient. The kernel hands what it does not know to the first program.
const SLOW: &str = "ROAM_TRACE_TEST_SLOW=1";

/// A machine before it is switched on.
pub(super) struct Guest {
    /// What its lines start with on the terminal.
    name: String,
    kernel: PathBuf,
    initramfs: PathBuf,
    /// Where what its kernel says is kept.
    console: PathBuf,
}

impl Guest {
    /// A machine for the newest kernel of a series.
    pub(super) fn new(series: &str, kernel: &Kernel, initramfs: &Path) -> Result<Self> {
        Ok(Self {
            name: series.to_owned(),
            kernel: kernel.image(),
            initramfs: initramfs.to_owned(),
            console: packages::directory()?.join(format!("console-{series}.log")),
        })
    }

    /// Boots and runs the checks.
    pub(super) fn run(&self, checks: &Checks) -> Result<Results> {
        let (process, place, begin) = self.start()?;
        let release = begin.rsplit(' ').next().context("no release")?;
        let mut results = Results::new(release.to_owned(), place);
        let deadline = Instant::now() + CHECKS;
        let mut left = checks.commands.len();
        loop {
            let line = match process.next_line(deadline) {
                Ok(Some(line)) => line.trim_end_matches('\r').to_owned(),
                Ok(None) => {
                    let last_lines = self.last_lines();
                    results.fail(&format!(
                        "the machine ended before its checks did:\n{last_lines}"
                    ));
                    break;
                }
                Err(error) => {
                    results.fail(&format!("{error:#}\n{}", self.last_lines()));
                    break;
                }
            };
            match line.strip_prefix(MARK).map(str::trim) {
                None => results.output(&line),
                Some("end") => break,
                Some(mark) => match mark.split_once(' ') {
                    Some(("check", name)) => {
                        self.say(name);
                        results.start(name);
                    }
                    Some(("status", status)) => {
                        results.end(status == "0");
                        left -= 1;
                    }
                    _ => bail!("cannot parse this line of the virtual machine: {line}"),
                },
            }
        }
        if left > 0 {
            results.fail(&format!("{left} checks did not run"));
        }
        Ok(results)
    }

    /// Switches it on and waits until its first program runs; returns what it is and the line that it begins with.
    fn start(&self) -> Result<(Process, &'static str, String)> {
        let kvm = File::options().read(true).write(true).open("/dev/kvm");
        if kvm.is_ok() {
            match self.try_start("kvm", "", BOOT_BY_KVM) {
                Ok((process, begin)) => return Ok((process, "virtual machine", begin)),
                Err(_) => self.say("KVM does not boot this kernel here: emulating the processor"),
            }
        }
        let (process, begin) = self
            .try_start("tcg", SLOW, BOOT)
            .with_context(|| format!("the kernel did not boot:\n{}", self.last_lines()))?;
        Ok((process, "emulated machine", begin))
    }

    fn try_start(
        &self,
        accelerator: &str,
        environment: &str,
        limit: Duration,
    ) -> Result<(Process, String)> {
        let process = Process::start(self.command(accelerator, environment))?;
        let begin = process.wait_for(limit, |line| line.starts_with(MARK))?;
        Ok((process, begin.trim_end().to_owned()))
    }

    fn command(&self, accelerator: &str, environment: &str) -> Command {
        let mut qemu = process::command(
            "qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none -monitor none \
             -cpu max -smp 2 -m 2048",
        );
        qemu.args(["-accel", accelerator])
            // The first serial port is the kernel's, the second one the checks'.
            .arg("-serial")
            .arg(format!("file:{}", self.console.display()))
            .args(["-serial", "stdio"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .arg("-append")
            .arg(format!("console=ttyS0 quiet panic=-1 {environment}"));
        qemu
    }

    /// Where a kernel says why it does not go on.
    fn last_lines(&self) -> String {
        const LINES: usize = 30;
        let text = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn say(&self, line: &str) {
        println!("{:<5}| {line}", self.name);
    }
}
