//! `roam-trace doctor`: what this machine, this user and a process allow.
//!
//! One function for each check, which takes values and returns a [`Check`]. Only [`machine`] and [`process`] read
//! the system.

use std::fs;
use std::io::Write;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use roam_dump::model::{Gap, Process};
use roam_dump::read::{Budget, Image};
use roam_dump::render::{Count, Counted};
use roam_dump::sigusr1;
use roam_trace_common::event::PROBES;
use roam_trace_common::registry::Table;
use signal_hook::consts::SIGUSR1;

use crate::attach::{self, AttachError, Method, PidFilter};
use crate::cli::DoctorArgs;
use crate::elf::{ElfError, ProbeSite};
use crate::error::{Exit, TargetError};
use crate::privilege::{self, Capability, Missing};
use crate::process::missing_registry::MissingRegistry;
use crate::process::{Reading, Target, proc};

/// One line of the report.
#[derive(Debug, PartialEq, Eq)]
struct Check {
    topic: &'static str,
    mark: Mark,
    text: String,
}

/// What a line says of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Ok,
    /// It is missing, and only needed for more than reading one's own processes.
    No,
    /// It keeps a process from being read that the user may read.
    Todo,
}

impl Check {
    fn ok(topic: &'static str, text: impl Into<String>) -> Self {
        Self {
            topic,
            mark: Mark::Ok,
            text: text.into(),
        }
    }

    fn no(topic: &'static str, text: impl Into<String>) -> Self {
        Self {
            mark: Mark::No,
            ..Self::ok(topic, text)
        }
    }

    fn todo(topic: &'static str, text: impl Into<String>) -> Self {
        Self {
            mark: Mark::Todo,
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
    if checks.iter().any(|check| check.mark == Mark::Todo) {
        exit = exit.max(Exit::Failure);
    }
    write(&checks, color, out)?;
    Ok(exit)
}

fn write(checks: &[Check], color: bool, out: &mut impl Write) -> std::io::Result<()> {
    for check in checks {
        let (word, style) = match check.mark {
            Mark::Ok => ("ok", AnsiColor::Green.on_default()),
            Mark::No => ("no", Style::new()),
            Mark::Todo => ("todo", AnsiColor::Yellow.on_default()),
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
    let mut checks = vec![
        Check::ok("kernel", format!("Linux {release}")),
        Check::ok("capabilities", "your own processes: none needed"),
    ];
    let [of_others, closed] = [
        ("processes of other users", privilege::missing_to_inspect()),
        (
            "processes that closed the descriptor of their registry",
            privilege::missing(&[Capability::CHECKPOINT_RESTORE, Capability::SYS_ADMIN]),
        ),
    ];
    let to_attach = privilege::missing_to_attach();
    let may_attach = to_attach == Missing::Unknown;
    let sets = [of_others, ("-d", to_attach), closed];
    checks.extend(sets.map(|(use_of_it, missing)| capabilities(use_of_it, &missing)));
    checks.extend([
        user_namespace(&read("/proc/self/uid_map").unwrap_or_default()),
        lockdown(read("/sys/kernel/security/lockdown").as_deref()),
        btf(fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false)),
    ]);
    // Without the capabilities it fails, which their line says.
    if may_attach {
        checks.push(attaching(attach::check_kernel()));
    }
    checks
}

fn capabilities(use_of_it: &str, missing: &Missing) -> Check {
    match missing {
        Missing::Unknown => Check::ok("capabilities", format!("{use_of_it}: none missing")),
        missing => Check::no("capabilities", format!("{use_of_it}: {missing}")),
    }
}

/// Checks `/proc/self/uid_map`: in the initial user namespace it maps every id to itself.
fn user_namespace(uid_map: &str) -> Check {
    let words: Vec<_> = uid_map.split_ascii_whitespace().collect();
    match words == ["0", "0", "4294967295"] {
        true => Check::ok("namespace", "the initial user namespace"),
        false => Check::no(
            "namespace",
            "roam-trace runs in a user namespace, where capabilities apply to its own processes only and -d does not work; run roam-trace on the host",
        ),
    }
}

fn lockdown(modes: Option<&str>) -> Check {
    match modes {
        Some(modes) if modes.contains("[confidentiality]") => Check::no(
            "lockdown",
            "confidentiality: eBPF programs cannot read kernel memory, so -d does not work; boot with lockdown=integrity",
        ),
        Some(modes) if modes.contains("[integrity]") => Check::ok("lockdown", "integrity"),
        _ => Check::ok("lockdown", "none"),
    }
}

fn btf(exists: bool) -> Check {
    match exists {
        true => Check::ok("BTF", "/sys/kernel/btf/vmlinux"),
        false => Check::no(
            "BTF",
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
        Err(error) => Check::no("attaching", format!("{:#}", anyhow::Error::new(error))),
    }
}

/// Checks one process.
fn process(pid: u32, checks: &mut Vec<Check>) -> Result<(), TargetError> {
    let target = Target::find(pid)?;
    let reading = target.read(Budget::default())?;
    let Process { pid, name, .. } = target.label();
    checks.push(Check::ok("process", format!("{pid} ({name}) can be read")));
    checks.push(signal(&target.process));

    let mut probes = Vec::new();
    for binary in target.binaries()? {
        let sites = binary.probe_sites(&target.process)?;
        probes.extend(self::probes(&binary.name, sites));
    }
    let has_probes = probes.iter().any(|check| check.mark == Mark::Ok);
    checks.extend(registries(&target, &reading, has_probes)?);
    if probes.is_empty() {
        if reading.images.is_empty() && reading.inherited.is_empty() && reading.errors.is_empty() {
            return Err(target.why_no_target()?);
        }
        let text = "the executable and the libraries have no probes of provider roam, so -d does not work; keep .note.stapsdt when you strip them";
        probes.push(Check::no("probes", text));
    }
    checks.append(&mut probes);
    Ok(())
}

/// Whether SIGUSR1 prints a dump, does something else, or ends the process.
fn signal(process: &proc::Process) -> Check {
    let status = process.read_file("status").unwrap_or_default();
    effect_of_signal(
        process.pid(),
        &String::from_utf8_lossy(&status),
        process.has_thread(sigusr1::THREAD),
    )
}

fn effect_of_signal(pid: u32, status: &str, has_handler: bool) -> Check {
    let is_in = |set: &str| {
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix(set)?.strip_prefix(':'));
        let mask = u64::from_str_radix(mask.unwrap_or_default().trim(), 16);
        mask.is_ok_and(|mask| mask & 1 << (SIGUSR1 - 1) != 0)
    };
    if is_in("SigCgt") {
        let text = match has_handler {
            true => {
                format!("caught: kill -USR1 {pid} writes a dump to standard error of the process")
            }
            false => {
                "caught, but not by roam_dump::sigusr1: kill -USR1 does not write a dump".to_owned()
            }
        };
        return Check::ok("SIGUSR1", text);
    }
    match is_in("SigIgn") {
        true => Check::no("SIGUSR1", "ignored: kill -USR1 has no effect"),
        false => Check::no(
            "SIGUSR1",
            format!("not caught: kill -USR1 {pid} would end the process"),
        ),
    }
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

fn probes_only(image: &Image) -> Check {
    let gap = Gap::ProbesOnly { attached: false };
    Check::todo(
        "registry",
        match image.lost(Table::Requests) {
            0 => gap.to_string(),
            lost => format!(
                "{gap}; {} lost (too many in flight): restart the program with a higher ROAM_DIAGNOSTIC_REQUESTS",
                Counted(lost, "requests")
            ),
        },
    )
}

fn registry(image: &Image) -> Check {
    if image.is_probes_only() {
        return probes_only(image);
    }
    let capacity = image.header.tables[Table::Requests as usize].capacity;
    let room = Count(u64::from(capacity));
    let lost = image.lost(Table::Requests);
    if lost > 0 {
        return Check::todo(
            "registry",
            format!(
                "{} lost (table full, room for {room}); restart the program with ROAM_DIAGNOSTIC_REQUESTS={}",
                Counted(lost, "requests"),
                capacity.saturating_mul(2)
            ),
        );
    }
    if image.torn + image.invalid > 0 {
        return Check::todo(
            "registry",
            format!(
                "{} and {}; the memory of the program may be damaged",
                Counted(image.torn, "torn rows"),
                Counted(image.invalid, "invalid rows")
            ),
        );
    }
    Check::ok(
        "registry",
        format!(
            "{} in flight, room for {room}",
            Counted(image.requests.len() as u64, "requests")
        ),
    )
}

/// Checks the probes of one file; a file without probes has no line.
fn probes(name: &str, sites: Result<Vec<ProbeSite>, ElfError>) -> Option<Check> {
    let sites = match sites {
        Ok(sites) if sites.is_empty() => return None,
        // Not everything with code is a program for this machine.
        Err(ElfError::Malformed(_) | ElfError::Machine(_)) => return None,
        Err(error) => return Some(Check::no("probes", format!("{name}: {error}"))),
        Ok(sites) => sites,
    };
    if sites.iter().any(|site| site.base == 0) {
        return Some(Check::no(
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

    fn check(check: Check, mark: Mark, part: &str) {
        assert_eq!(check.mark, mark, "{check:?}");
        assert!(check.text.contains(part), "{check:?}");
    }

    #[test]
    fn ways_of_attaching() {
        let by = |method| attaching(Ok(method));
        check(
            by(Method::UprobeMulti(PidFilter::Kernel)),
            Mark::Ok,
            "by uprobe_multi",
        );
        check(
            by(Method::UprobeMulti(PidFilter::Program)),
            Mark::Ok,
            "before Linux 6.10",
        );
        check(by(Method::PerfEvent), Mark::Ok, "CAP_SYS_ADMIN");
        let refused = AttachError::Permission {
            action: "load eBPF programs",
            capabilities: "CAP_BPF and CAP_PERFMON",
        };
        check(attaching(Err(refused)), Mark::No, "CAP_BPF");
    }

    #[test]
    fn settings() {
        check(
            lockdown(Some("none [integrity] confidentiality\n")),
            Mark::Ok,
            "integrity",
        );
        check(
            lockdown(Some("none integrity [confidentiality]\n")),
            Mark::No,
            "lockdown=integrity",
        );
        check(
            lockdown(Some("[none] integrity confidentiality\n")),
            Mark::Ok,
            "none",
        );
        check(lockdown(None), Mark::Ok, "none");
        check(
            user_namespace("         0          0 4294967295\n"),
            Mark::Ok,
            "initial",
        );
        check(
            user_namespace("         0       1000          1\n"),
            Mark::No,
            "on the host",
        );
        check(btf(true), Mark::Ok, "vmlinux");
        check(btf(false), Mark::No, "CONFIG_DEBUG_INFO_BTF");
        let missing = Missing::AllOf(vec![Capability::BPF]);
        check(
            capabilities("-d", &missing),
            Mark::No,
            "-d: CAP_BPF is missing",
        );
        check(
            capabilities("-d", &Missing::Unknown),
            Mark::Ok,
            "-d: none missing",
        );
    }

    #[test]
    fn effects_of_the_signal() {
        let of = |status, has_handler| effect_of_signal(7, status, has_handler);
        let caught = "SigIgn:\t0000000000001000\nSigCgt:\t0000000000000200\n";
        check(of(caught, true), Mark::Ok, "kill -USR1 7 writes a dump");
        check(of(caught, false), Mark::Ok, "does not write a dump");
        let ignored = "SigIgn:\t0000000000000200\nSigCgt:\t0000000000000400\n";
        check(of(ignored, false), Mark::No, "no effect");
        check(
            of("SigCgt:\t0000000000000000\n", false),
            Mark::No,
            "would end the process",
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
            Mark::Ok,
            "7 of 8 probes; not linked into the program: channel_close",
        );
        check(of(Ok(all)), Mark::Ok, "demo: 8 of 8 probes");
        check(
            of(Ok(vec![site("request_end", 0)])),
            Mark::No,
            ".stapsdt.base",
        );
        check(of(Err(ElfError::TooMany)), Mark::No, "demo: more than");
        assert_eq!(probes("demo", Ok(Vec::new())), None);
        assert_eq!(probes("demo", Err(ElfError::Machine(3))), None);
    }
}
