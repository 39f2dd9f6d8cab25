//! Users that are not root, and the capabilities that a program of theirs gets.

use std::process::Command;

use rustix::thread::capabilities;

use crate::fixture::Fixture;

/// The user whose programs are looked at.
pub(crate) const TARGET: u32 = 65_534;
/// Another one.
pub(crate) const OTHER: u32 = 65_533;

/// A process of [`TARGET`]'s.
pub(crate) fn target(task: &str) -> Fixture {
    Fixture::start_as(TARGET, task)
}

/// A command as a user runs it who has these capabilities, in the notation of `setpriv`, and no other.
pub(crate) fn with_capabilities(tool: &Command, user: u32, capabilities: &str) -> Command {
    let user = user.to_string();
    let set = match capabilities {
        "" => "-all".to_owned(),
        "all" => format!("-all,{}", all()),
        some => format!("-all,{some}"),
    };
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .args(["--inh-caps", &set, "--ambient-caps", &set])
        .args(["--bounding-set", &set, "--"])
        .arg(tool.get_program())
        .args(tool.get_args())
        .env_clear()
        .envs([("TZ", "UTC"), ("PATH", "/usr/bin:/bin")]);
    command
}

/// Root's capabilities; in a container some may be out of its reach.
fn all() -> String {
    let permitted = capabilities(None).unwrap().permitted;
    let names: Vec<_> = permitted
        .iter_names()
        .map(|(name, _)| setpriv_name(name))
        .collect();
    names.join(",")
}

/// `+sys_ptrace` for `SYS_PTRACE`, with `CAP_` before it or without.
pub(crate) fn setpriv_name(capability: &str) -> String {
    let name = capability.strip_prefix("CAP_").unwrap_or(capability);
    format!("+{}", name.to_lowercase())
}
