//! Pins that are not to be believed, and file systems that hold none.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use aya::maps::{Array, Map, MapData};

use crate::set::{Load, Set, gaps, run, wait_for};
use crate::{attached, wait_until_detached};

/// What is said of a set by everybody who would use it, with its directory as `PINS`.
fn said_of(set: &Set, load: &Load) -> String {
    let mut said = String::new();
    let program = format!("/proc/{}/exe", load.pid);
    for arguments in [&["armed"][..], &["arm", "--exe", &program]] {
        let run = set.run(arguments);
        assert_ne!(run.status, 0, "{run:?}");
        assert_eq!(run.stdout, "");
        said += &format!(
            "$ roam-trace {} ({})\n{}",
            arguments[0], run.status, run.stderr
        );
    }
    let process = set.dump(load.pid, &[]);
    assert_eq!(process["source"], "registry");
    let gaps = gaps(&process).join("\n");
    said += &format!("$ roam-trace -p PID\nincomplete: {gaps}\n");
    said.replace(set.pins.to_str().unwrap(), "PINS")
}

/// Spoils a set; checks what is said of it, and that it can be removed all the same.
fn check(name: &str, spoil: impl FnOnce(&Set)) {
    let set = Set::new();
    let program = set.program();
    set.arm(&program);
    let load = Load::start(&program, &["threads=1", "hold=2"]);
    spoil(&set);
    insta::assert_snapshot!(name, said_of(&set, &load));
    let run = set.run(&["disarm"]);
    assert_eq!((run.status, &*run.stderr), (0, ""), "{run:?}");
    wait_until_detached(load.pid);
    assert!(!set.pins.exists());
}

#[test]
#[ignore = "needs root"]
fn another_version() {
    check("another_version", |set| {
        let data = MapData::from_pin(set.pins.join("SET")).unwrap();
        let mut map = Map::from_map_data(data).unwrap();
        let mut array = Array::<_, [u8; 56]>::try_from(&mut map).unwrap();
        let mut value = array.get(&0, 0).unwrap();
        value[0] += 1;
        array.set(0, value, 0).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn another_size_of_records() {
    check("another_version", |set| {
        fs::remove_file(set.pins.join("SET")).unwrap();
        fs::hard_link(set.pins.join("LOSSES"), set.pins.join("SET"))
            .or_else(|_| {
                let data = MapData::from_pin(set.pins.join("LOSSES")).unwrap();
                data.pin(set.pins.join("SET"))
                    .map_err(std::io::Error::other)
            })
            .unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn half_a_set() {
    check("half_a_set", |set| {
        fs::remove_file(set.pins.join("SET")).unwrap();
    });
    check("a_map_is_missing", |set| {
        fs::remove_file(set.pins.join("REQUESTS")).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn a_directory_of_another_user() {
    check("a_directory_of_another_user", |set| {
        chown(&set.pins, Some(65_534), Some(65_534)).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn a_directory_that_others_can_change() {
    check("a_directory_that_others_can_change", |set| {
        fs::set_permissions(&set.pins, Permissions::from_mode(0o777)).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn a_pin_of_another_user() {
    check("a_pin_of_another_user", |set| {
        chown(set.pins.join("REQUESTS"), Some(65_534), None).unwrap();
    });
}

/// A link in place of the set leads to one that root made, but not here.
#[test]
#[ignore = "needs root"]
fn a_symbolic_link() {
    let real = Set::new();
    let program = real.program();
    real.arm(&program);
    let set = Set::new();
    std::os::unix::fs::symlink(&real.pins, &set.pins).unwrap();
    let run = set.run(&["armed"]);
    assert_eq!(run.status, 1, "{run:?}");
    fs::remove_file(&set.pins).unwrap();
    assert!(attached::links() > 0);
}

/// Whoever may not read the pins is told so only with --verbose, unless it is the pins that are asked for.
#[test]
#[ignore = "needs root"]
fn another_user_dumps_without_the_pins() {
    let set = Set::new();
    let program = set.program();
    set.arm(&program);
    let by_user = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(env!("CARGO_BIN_EXE_roam-trace"))
            .args(arguments)
            .env("ROAM_TRACE_PINS", &set.pins);
        run(&mut command)
    };
    let armed = by_user(&["armed"]);
    assert_eq!((armed.status, &*armed.stdout), (3, ""), "{armed:?}");
    let denied = format!("no permission to open {}", set.pins.display());
    assert!(armed.stderr.contains(&denied), "{armed:?}");
    let all = ["--all", "--user", "65534"];
    assert!(!by_user(&all).stderr.contains(&denied));
    let verbose = by_user(&[&all[..], &["-v"]].concat());
    assert_eq!(verbose.status, 0, "{verbose:?}");
    assert!(verbose.stderr.contains(&denied), "{verbose:?}");
}

#[test]
#[ignore = "needs root"]
fn no_bpffs_and_one_that_is_read_only() {
    let mut set = Set::new();
    let program = set.program();
    let program = program.to_str().unwrap();
    let directory = set.directory.path().join("fs");
    fs::create_dir(&directory).unwrap();
    set.pins = directory.join("set");
    let script = |mount: &str| {
        let mut command = Command::new("unshare");
        let tool = env!("CARGO_BIN_EXE_roam-trace");
        let directory = directory.display();
        command
            .args(["--mount", "sh", "-c"])
            .arg(format!(
                "{mount} {directory} && exec {tool} arm --exe {program}"
            ))
            .env("ROAM_TRACE_PINS", &set.pins);
        let run = run(&mut command);
        assert_eq!((run.status, &*run.stdout), (1, ""), "{run:?}");
        run.stderr.replace(&directory.to_string(), "DIRECTORY")
    };
    insta::assert_snapshot!(script("test -d") + &script("mount -t bpf -o ro bpf"));
}

/// What was not finished is no part of the set, and is made anew.
#[test]
#[ignore = "needs root"]
fn links_without_an_entry_are_replaced() {
    let set = Set::new();
    let program = set.program();
    set.arm(&program);
    let other = set.directory.path().join("roam-load-other");
    crate::set::install(&other);
    set.arm(&other);
    let armed = attached::links();
    let id = roam_trace::armed::Version::at(&other).unwrap().file;
    let name = format!("{}-{}-{}", id.device.0, id.device.1, id.inode);
    let data = MapData::from_pin(set.pins.join("EXECUTABLES")).unwrap();
    let mut map =
        aya::maps::HashMap::<_, [u8; 16], [u8; 4128]>::try_from(Map::from_map_data(data).unwrap())
            .unwrap();
    let mut key = [0; 16];
    key[..4].copy_from_slice(&id.device.0.to_ne_bytes());
    key[4..8].copy_from_slice(&id.device.1.to_ne_bytes());
    key[8..].copy_from_slice(&id.inode.to_ne_bytes());
    map.remove(&key).unwrap();
    assert!(set.pins.join(name).exists());
    set.arm(&other);
    wait_for("the links are the same number", || {
        attached::links() == armed
    });
    assert_eq!(set.armed()["executables"].as_array().unwrap().len(), 2);
}
