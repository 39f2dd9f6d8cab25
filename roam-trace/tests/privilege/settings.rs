//! Settings of the kernel's that say what those without a capability may do.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// What Fedora, Debian and Ubuntu set: kernel.unprivileged_bpf_disabled and kernel.perf_event_paranoid.
/// The two highest values of the latter mean something only to kernels with their patch.
pub(crate) const DISTRIBUTIONS: [(&str, [u8; 2]); 3] =
    [("Fedora", [2, 2]), ("Debian", [2, 3]), ("Ubuntu", [2, 4])];

const NAMES: [&str; 2] = ["unprivileged_bpf_disabled", "perf_event_paranoid"];

/// Once it is 1, the setting of bpf is 1 until the kernel ends; that is as strict as 2.
const LOCKED: &str = "1";

/// Puts the settings back when it is dropped, and when this process ends in any other way: a process of its
/// own does it as soon as the pipe to it closes.
pub(crate) struct Settings {
    restorer: Child,
}

impl Settings {
    pub(crate) fn to_be_restored() -> Self {
        let script: String = NAMES
            .iter()
            .map(|name| {
                let path = path(name);
                let value = fs::read_to_string(&path).unwrap();
                format!("echo {} > {}\n", value.trim(), path.display())
            })
            .collect();
        let mut restorer = Command::new("sh")
            // Whatever ends the tests does not end it.
            .args(["-c", "trap '' HUP INT TERM; eval \"$(cat)\" 2>&-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pipe = restorer.stdin.as_mut().unwrap();
        pipe.write_all(script.as_bytes()).unwrap();
        Self { restorer }
    }

    pub(crate) fn set(&self, values: [u8; 2]) {
        for (name, value) in NAMES.iter().zip(values) {
            let path = path(name);
            if fs::read_to_string(&path).unwrap().trim() != LOCKED || *name != NAMES[0] {
                fs::write(path, value.to_string()).unwrap();
            }
        }
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        drop(self.restorer.stdin.take());
        let _ = self.restorer.wait();
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys/kernel").join(name)
}

#[test]
#[ignore = "needs root: changes settings of the kernel's"]
fn settings_are_put_back() {
    let read = || NAMES.map(|name| fs::read_to_string(path(name)).unwrap());
    let before = read();
    let settings = Settings::to_be_restored();
    settings.set(DISTRIBUTIONS[2].1);
    assert_eq!(read()[1], "4\n");
    drop(settings);
    assert_eq!(read(), before);
}
