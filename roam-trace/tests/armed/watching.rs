//! `arm --watch`: executables that are replaced.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use crate::attached;
use crate::set::{Load, Set, gaps, install, sources, wait_for};

fn executables(set: &Set) -> usize {
    set.armed()["executables"].as_array().unwrap().len()
}

#[test]
#[ignore = "needs root"]
fn killing_the_watcher_loses_nothing() {
    let set = Set::new();
    let program = set.program();
    let mut watcher = set.watch(&program);
    let load = Load::start(&program, &["threads=1", "hold=3"]);
    watcher.0.kill().unwrap();
    watcher.0.wait().unwrap();
    let process = set.dump(load.pid, &["--source", "probes"]);
    assert_eq!(gaps(&process), [""; 0]);
    assert_eq!(sources(&process), ["probes"; 3]);
    let sites = attached::sites(load.pid).unwrap();
    assert_eq!(sites.changed, sites.all);
}

#[test]
#[ignore = "needs root"]
fn a_replaced_executable_is_armed_again() {
    let set = Set::new();
    let program = set.program();
    let _watcher = set.watch(&program);
    let mut old = Load::start(&program, &["threads=1", "hold=3"]);
    install(&program);
    wait_for("the new one is armed", || executables(&set) == 2);
    let new = Load::start(&program, &["threads=1", "hold=5"]);
    for (load, held) in [(&old, 3), (&new, 5)] {
        let process = set.dump(load.pid, &["--source", "probes"]);
        assert_eq!(gaps(&process), [""; 0]);
        assert_eq!(sources(&process), vec!["probes"; held]);
    }
    // Nobody runs the first one when it is replaced once more.
    old.kill();
    install(&program);
    wait_for("the first one is disarmed", || {
        let armed = set.armed();
        let armed = armed["executables"].as_array().unwrap();
        let current = armed.iter().filter(|armed| armed["current"] == true);
        armed.len() == 2 && current.count() == 1
    });
}

/// As in a deployment of releases side by side.
#[test]
#[ignore = "needs root"]
fn a_link_to_another_directory_is_followed() {
    let set = Set::new();
    let root = set.directory.path();
    for release in ["1", "2"] {
        fs::create_dir(root.join(release)).unwrap();
        install(&root.join(release).join("roam-load"));
    }
    std::os::unix::fs::symlink("1", root.join("current")).unwrap();
    let program = root.join("current/roam-load");
    let _watcher = set.watch(&program);
    std::os::unix::fs::symlink("2", root.join("next")).unwrap();
    fs::rename(root.join("next"), root.join("current")).unwrap();
    // Nobody runs the first release.
    wait_for("the second release is armed", || {
        set.armed()["executables"][0]["current"] == true && executables(&set) == 1
    });
    let load = Load::start(&program, &["threads=1", "hold=3"]);
    let process = set.dump(load.pid, &["--source", "probes"]);
    assert_eq!(gaps(&process), [""; 0]);
}

/// Breakpoints are where probes were, so that a program with another content must not be armed.
#[test]
#[ignore = "needs root"]
fn an_executable_that_is_written_to_is_disarmed() {
    let set = Set::new();
    let program = set.program();
    let mut file = File::options().write(true).open(&program).unwrap();
    let _watcher = set.watch(&program);
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(b"not a program any more").unwrap();
    wait_for("it is disarmed", || executables(&set) == 0);
    wait_for("nothing is attached", || attached::links() == 0);
    drop(file);
    install(&program);
    wait_for("the new one is armed", || executables(&set) == 1);
}

#[test]
#[ignore = "needs root"]
fn disarming_ends_the_watcher() {
    let set = Set::new();
    let program = set.program();
    let mut watcher = set.watch(&program);
    assert_eq!(set.run(&["disarm"]).status, 0);
    wait_for("the watcher has ended", || {
        watcher.0.try_wait().unwrap().is_some()
    });
    assert!(watcher.0.wait().unwrap().success());
}

#[test]
#[ignore = "needs root"]
fn what_is_disarmed_stays_disarmed() {
    let set = Set::new();
    let program = set.program();
    let second = set.directory.path().join("second");
    install(&second);
    let armed_at = |path: &Path| {
        let armed = set.armed();
        let mut armed = armed["executables"].as_array().unwrap().iter();
        armed.any(|armed| armed["current"] == true && armed["path"] == path.to_str().unwrap())
    };
    let _watcher = set.watch(&program);
    set.arm(&second);
    install(&second);
    wait_for("the watcher runs", || armed_at(&second));
    let disarm = ["disarm", "--exe", program.to_str().unwrap()];
    assert_eq!(set.run(&disarm).status, 0);
    install(&second);
    wait_for("the watcher has looked at all paths", || armed_at(&second));
    assert!(!armed_at(&program));
}
