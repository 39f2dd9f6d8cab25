//! `roam-trace doctor`: what this machine, this user and a process allow.
//!
//! One function for each check, which takes values and returns a [`Check`]. Only [`machine`] and [`process`] read
//! the system.

use std::fs;
use std::io::Write;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use roam_dump::model::Process;
use roam_dump::read::{Budget, Image};
use roam_trace_common::event::PROBES;
use roam_trace_common::registry::Table;

use crate::attach::{self, AttachError, Method, PidFilter};
use crate::cli::DoctorArgs;
use crate::elf::{ElfError, ProbeSite};
use crate::error::{Exit, TargetError};
use crate::privilege::{self, Capability};
use crate::process::missing_registry::MissingRegistry;
use crate::process::{Reading, Target};

/// One line of the report.
#[derive(Debug, PartialEq, Eq)]
struct Check {
    topic: &'static str,
    is_ok: bool,
    text: String,
}

impl Check {
    fn ok(topic: &'static str, text: impl Into<String>) -> Self {
        Self {
            topic,
            is_ok: true,
            text: text.into(),
        }
    }

    fn todo(topic: &'static str, text: impl Into<String>) -> Self {
        Self {
            is_ok: false,
            ..Self::ok(topic, text)
        }
    }
}

/// Checks the machine, the user and a process, and prints one line for each check.
///
/// # Errors
///
/// Where the output cannot be written.
pub(super) fn run(args: &DoctorArgs, color: bool, out: &mut impl Write) -> Result<Exit> {
    let mut checks = machine();
    let mut exit = Exit::Success;
    if let Some(pid) = args.pid
        && let Err(error) = process(pid, &mut checks)
    {
        checks.push(Check::todo("process", error.to_string()));
        exit = error.exit();
    }
    if checks.iter().any(|check| !check.is_ok) {
        exit = exit.max(Exit::Failure);
    }
    write(&checks, color, out)?;
    Ok(exit)
}

fn write(checks: &[Check], color: bool, out: &mut impl Write) -> std::io::Result<()> {
    for check in checks {
        let (word, style) = match check.is_ok {
            true => ("ok", AnsiColor::Green.on_default()),
            false => ("todo", AnsiColor::Yellow.on_default()),
        };
        let style = if color { style } else { Style::new() };
        writeln!(
            out,
            "{style}{word:<4}{style:#}  {:<13} {}",
            check.topic, check.text
        )?;
    }
    Ok(())
}

/// Checks the machine, and what this process may do there.
fn machine() -> Vec<Check> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut checks = vec![Check::ok("kernel", format!("Linux {release}"))];
    checks.extend(CAPABILITIES.map(|(capability, use_of_it)| {
        self::capability(capability, use_of_it, privilege::has(capability))
    }));
    checks.extend([
        user_namespace(&read("/proc/self/uid_map").unwrap_or_default()),
        lockdown(read("/sys/kernel/security/lockdown").as_deref()),
        setting(
            "bpf",
            "kernel.unprivileged_bpf_disabled",
            read("/proc/sys/kernel/unprivileged_bpf_disabled").as_deref(),
            "roam-trace loads eBPF programs with CAP_BPF",
        ),
        setting(
            "perf",
            "kernel.perf_event_paranoid",
            read("/proc/sys/kernel/perf_event_paranoid").as_deref(),
            "roam-trace attaches probes with CAP_PERFMON",
        ),
        types(fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false)),
        attaching(attach::check_kernel()),
    ]);
    checks
}

/// What each capability is for. To read the registries of one's own processes, none is needed.
const CAPABILITIES: [(Capability, &str); 5] = [
    (Capability::SYS_PTRACE, "other users' processes"),
    (Capability::DAC_READ_SEARCH, "other users' processes"),
    (Capability::BPF, "-d"),
    (Capability::PERFMON, "-d"),
    (
        Capability::CHECKPOINT_RESTORE,
        "processes that closed the descriptor of their registry",
    ),
];

fn capability(capability: Capability, use_of_it: &str, has: bool) -> Check {
    let name = privilege::name(capability);
    match has {
        true => Check::ok("capability", format!("{name}, for {use_of_it}")),
        // CAP_SYS_ADMIN allows the same.
        false
            if capability == Capability::CHECKPOINT_RESTORE
                && privilege::has(Capability::SYS_ADMIN) =>
        {
            Check::ok("capability", format!("CAP_SYS_ADMIN, for {use_of_it}"))
        }
        false => Check::todo(
            "capability",
            format!("{name} is missing, for {use_of_it}; run roam-trace as root"),
        ),
    }
}

/// Checks `/proc/self/uid_map`: in the initial user namespace it maps every id to itself.
fn user_namespace(uid_map: &str) -> Check {
    let words: Vec<_> = uid_map.split_ascii_whitespace().collect();
    match words == ["0", "0", "4294967295"] {
        true => Check::ok("namespace", "the initial user namespace"),
        false => Check::todo(
            "namespace",
            "roam-trace runs in a user namespace, where capabilities apply to its own processes only and -d does not work; run roam-trace on the host",
        ),
    }
}

fn lockdown(modes: Option<&str>) -> Check {
    match modes {
        Some(modes) if modes.contains("[confidentiality]") => Check::todo(
            "lockdown",
            "confidentiality: eBPF programs cannot read kernel memory, so -d does not work; boot with lockdown=integrity",
        ),
        Some(modes) if modes.contains("[integrity]") => Check::ok("lockdown", "integrity"),
        _ => Check::ok("lockdown", "none"),
    }
}

fn setting(topic: &'static str, name: &str, value: Option<&str>, meaning: &str) -> Check {
    match value {
        Some(value) => Check::ok(topic, format!("{name} is {}; {meaning}", value.trim())),
        None => Check::ok(topic, format!("{name} does not exist; {meaning}")),
    }
}

fn types(exist: bool) -> Check {
    match exist {
        true => Check::ok("types", "/sys/kernel/btf/vmlinux"),
        false => Check::todo(
            "types",
            "/sys/kernel/btf/vmlinux does not exist, so -d does not work; the kernel needs CONFIG_DEBUG_INFO_BTF",
        ),
    }
}

fn attaching(tried: Result<Method, AttachError>) -> Check {
    const EVERY_PROCESS: &str = "-d slows down every process of the same binary";
    match tried {
        Ok(method @ Method::UprobeMulti(PidFilter::Kernel)) => {
            Check::ok("attaching", format!("by {method}"))
        }
        Ok(method @ Method::UprobeMulti(PidFilter::Program)) => Check::ok(
            "attaching",
            format!("by {method}; on kernels before Linux 6.10, {EVERY_PROCESS}"),
        ),
        Ok(method @ Method::PerfEvent) => Check::ok(
            "attaching",
            format!(
                "by {method}, which needs CAP_SYS_ADMIN; on kernels before Linux 6.6, {EVERY_PROCESS}"
            ),
        ),
        Err(error) => Check::todo("attaching", format!("{:#}", anyhow::Error::new(error))),
    }
}

/// Checks one process.
fn process(pid: u32, checks: &mut Vec<Check>) -> Result<(), TargetError> {
    let target = Target::find(pid)?;
    let reading = target.read(Budget::default())?;
    let Process { pid, name, .. } = target.label();
    checks.push(Check::ok("process", format!("{pid} ({name}) can be read")));

    let mut probes = Vec::new();
    for binary in target.binaries()? {
        let sites = binary.probe_sites(&target.process)?;
        probes.extend(self::probes(&binary.name, sites));
    }
    let has_probes = probes.iter().any(|check| check.is_ok);
    checks.extend(registries(&target, &reading, has_probes)?);
    if probes.is_empty() {
        if reading.images.is_empty() && reading.inherited.is_empty() && reading.errors.is_empty() {
            return Err(target.why_no_target()?);
        }
        let text = "the executable and the libraries have no probes of provider roam, so -d does not work; keep .note.stapsdt when you strip them";
        probes.push(Check::todo("probes", text));
    }
    checks.append(&mut probes);
    Ok(())
}

fn registries(
    target: &Target,
    reading: &Reading,
    has_probes: bool,
) -> Result<Vec<Check>, TargetError> {
    let mut checks: Vec<_> = reading.images.iter().map(registry).collect();
    let errors = reading.errors.iter();
    checks.extend(errors.map(|error| Check::todo("registry", format!("cannot be read: {error}"))));
    let Process { pid, name, .. } = target.label();
    if reading.images.is_empty()
        && let Some(&owner) = reading.inherited.first()
    {
        let inherited = TargetError::Inherited { pid, name, owner };
        checks.push(Check::todo("registry", inherited.to_string()));
    } else if checks.is_empty() && has_probes {
        let process = &target.process;
        let missing = MissingRegistry::of(process)
            .map_err(|error| process.error("read the environment of", error))?;
        checks.push(match missing {
            MissingRegistry::NothingReported if process.has_seccomp_filter() => Check::ok(
                "registry",
                "none yet: the program has had no connection, or its seccomp filter denies memfd_create",
            ),
            MissingRegistry::NothingReported => {
                Check::ok("registry", "none yet: the program has had no connection")
            }
            MissingRegistry::SwitchedOff => Check::todo(
                "registry",
                TargetError::SwitchedOff { pid, name }.to_string(),
            ),
            MissingRegistry::FileSizeLimit { bytes } => Check::todo(
                "registry",
                TargetError::FileSizeLimit { pid, name, bytes }.to_string(),
            ),
        });
    }
    Ok(checks)
}

fn registry(image: &Image) -> Check {
    let room = image.header.tables[Table::Requests as usize].capacity;
    let lost = image.lost(Table::Requests);
    if lost > 0 {
        return Check::todo(
            "registry",
            format!(
                "{lost} requests lost (table full, room for {room}); restart the program with ROAM_DIAGNOSTIC_REQUESTS={}",
                room.saturating_mul(2)
            ),
        );
    }
    if image.torn + image.invalid > 0 {
        return Check::todo(
            "registry",
            format!(
                "{} torn rows and {} invalid rows; the memory of the program may be damaged",
                image.torn, image.invalid
            ),
        );
    }
    Check::ok(
        "registry",
        format!(
            "{} requests in flight, room for {room}",
            image.requests.len()
        ),
    )
}

/// Checks the probes of one file; a file without probes has no line.
fn probes(name: &str, sites: Result<Vec<ProbeSite>, ElfError>) -> Option<Check> {
    let sites = match sites {
        Ok(sites) if sites.is_empty() => return None,
        // Not everything with code is a program for this machine.
        Err(ElfError::Malformed(_) | ElfError::Machine(_)) => return None,
        Err(error) => return Some(Check::todo("probes", format!("{name}: {error}"))),
        Ok(sites) => sites,
    };
    if sites.iter().any(|site| site.base == 0) {
        return Some(Check::todo(
            "probes",
            format!(
                "{name}: the linker dropped .stapsdt.base, so -d fails if the file is moved; use another linker"
            ),
        ));
    }
    let present = |probe: &&&str| sites.iter().any(|site| site.name == **probe);
    let (present, absent): (Vec<_>, Vec<_>) = PROBES.iter().partition(present);
    let mut text = format!("{name}: {} of {} probes", present.len(), PROBES.len());
    if !absent.is_empty() {
        let absent: Vec<&str> = absent.into_iter().copied().collect();
        text += &format!("; not linked into the program: {}", absent.join(", "));
    }
    Some(Check::ok("probes", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(check: Check, is_ok: bool, part: &str) {
        assert_eq!(check.is_ok, is_ok, "{check:?}");
        assert!(check.text.contains(part), "{check:?}");
    }

    #[test]
    fn ways_of_attaching() {
        let by = |method| attaching(Ok(method));
        check(
            by(Method::UprobeMulti(PidFilter::Kernel)),
            true,
            "by uprobe_multi",
        );
        check(
            by(Method::UprobeMulti(PidFilter::Program)),
            true,
            "before Linux 6.10",
        );
        check(by(Method::PerfEvent), true, "CAP_SYS_ADMIN");
        let refused = AttachError::Permission {
            action: "load eBPF programs",
            capabilities: "CAP_BPF and CAP_PERFMON",
        };
        check(attaching(Err(refused)), false, "CAP_BPF");
    }

    #[test]
    fn settings() {
        check(
            lockdown(Some("none [integrity] confidentiality\n")),
            true,
            "integrity",
        );
        check(
            lockdown(Some("none integrity [confidentiality]\n")),
            false,
            "lockdown=integrity",
        );
        check(
            lockdown(Some("[none] integrity confidentiality\n")),
            true,
            "none",
        );
        check(lockdown(None), true, "none");
        check(
            user_namespace("         0          0 4294967295\n"),
            true,
            "initial",
        );
        check(
            user_namespace("         0       1000          1\n"),
            false,
            "on the host",
        );
        check(types(true), true, "vmlinux");
        check(types(false), false, "CONFIG_DEBUG_INFO_BTF");
        check(
            setting("perf", "kernel.x", Some("2\n"), "so"),
            true,
            "kernel.x is 2; so",
        );
        check(
            capability(Capability::BPF, "-d", true),
            true,
            "CAP_BPF, for -d",
        );
        check(
            capability(Capability::BPF, "-d", false),
            false,
            "CAP_BPF is missing",
        );
    }

    fn site(name: &str, base: u64) -> ProbeSite {
        ProbeSite {
            provider: "roam".to_owned(),
            name: name.to_owned(),
            address: 0x2000,
            file_offset: 0x1000,
            base,
            semaphore: 0,
            arguments: String::new(),
        }
    }

    #[test]
    fn probes_of_a_file() {
        let all: Vec<_> = PROBES.iter().map(|name| site(name, 8)).collect();
        let without_close = all
            .iter()
            .filter(|site| site.name != "channel_close")
            .cloned();
        let of = |sites| probes("demo", sites).unwrap();
        check(
            of(Ok(without_close.collect())),
            true,
            "7 of 8 probes; not linked into the program: channel_close",
        );
        check(of(Ok(all)), true, "demo: 8 of 8 probes");
        check(of(Ok(vec![site("request_end", 0)])), false, ".stapsdt.base");
        check(of(Err(ElfError::TooMany)), false, "demo: more than");
        assert_eq!(probes("demo", Ok(Vec::new())), None);
        assert_eq!(probes("demo", Err(ElfError::Machine(3))), None);
    }
}
