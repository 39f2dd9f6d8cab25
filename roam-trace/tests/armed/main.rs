//! Probes that stay armed, on a real kernel: what a dump has of processes that started before or after, and what
//! becomes of the rows of those that end.
//!
//! To be run one after the other, as `cargo xtask test` does: what is attached is counted over all processes.

#[path = "../faults/attached.rs"]
mod attached;
mod pins;
mod set;
#[path = "../../../testing/watchdog.rs"]
mod watchdog;
mod watching;

use std::sync::atomic::Ordering;

use set::{Load, Set, gaps, sources, wait_for};

/// Waits until nothing is attached to a process, or to any load.
fn wait_until_detached(pid: u32) {
    wait_for("the probes are gone", || {
        attached::links() == 0 && attached::sites(pid).unwrap().changed == 0
    });
}

#[test]
#[ignore = "needs root"]
fn a_process_that_started_later_is_complete_from_the_maps() {
    let set = Set::new();
    let program = set.program();
    set.arm(&program);
    let load = Load::start(&program, &["threads=1", "hold=3"]);

    let process = set.dump(load.pid, &["--source", "probes"]);
    assert_eq!(gaps(&process), [""; 0]);
    assert_eq!(process["source"], "probes");
    assert_eq!(sources(&process), ["probes"; 3]);
    assert_eq!(process["connections"].as_array().unwrap().len(), 1);
    assert!(process["armed_us"].as_u64().unwrap() > 0);

    let process = set.dump(load.pid, &[]);
    assert_eq!(gaps(&process), [""; 0]);
    assert_eq!(process["source"], "both");
    assert_eq!(sources(&process), ["both"; 3]);

    let found = set.run(&["--all", "--source", "probes", "--json"]);
    assert!(found.stdout.contains(&format!("\"pid\":{}", load.pid)));
    let process = set.dump(load.pid, &["--source", "registry"]);
    assert_eq!(process["source"], "registry");
}

/// Its rows come and go, and both sources agree at every look.
#[test]
#[ignore = "needs root"]
fn a_busy_process_agrees_with_its_registry() {
    let set = Set::new();
    let program = set.program();
    set.arm(&program);
    let load = Load::start(&program, &["threads=4", "hold=50"]);
    load.log.run();
    for _ in 0..20 {
        let process = set.dump(load.pid, &[]);
        assert_eq!(gaps(&process), [""; 0]);
        assert!(sources(&process).len() >= 50);
    }
}

#[test]
#[ignore = "needs root"]
fn nothing_is_concluded_of_what_began_before() {
    let set = Set::new();
    let program = set.program();
    let load = Load::start(&program, &["threads=1", "hold=3"]);
    set.arm(&program);

    let process = set.dump(load.pid, &[]);
    assert_eq!(gaps(&process), [""; 0]);
    assert_eq!(sources(&process), ["registry"; 3]);

    let process = set.dump(load.pid, &["--source", "probes"]);
    assert_eq!(
        gaps(&process),
        ["requests and channels that started before the probes were attached are missing"]
    );
    assert_eq!(sources(&process), [""; 0]);
}

/// Between two armings, rows ended unseen.
#[test]
#[ignore = "needs root"]
fn rows_of_an_earlier_arming_are_not_believed() {
    let set = Set::new();
    let (program, other) = (set.program(), set.directory.path().join("other"));
    set::install(&other);
    // Keeps the maps.
    set.arm(&other);
    set.arm(&program);
    let load = Load::start(&program, &["threads=1", "hold=3"]);
    let path = program.to_str().unwrap();
    assert_eq!(
        set.run(&["disarm", "--exe", path]).stdout,
        "disarmed 1 executable\n"
    );
    let run = set.run(&["-p", &load.pid.to_string(), "--source", "probes"]);
    assert_eq!(run.status, 1, "{run:?}");
    assert!(run.stderr.contains("is not armed"), "{run:?}");
    set.arm(&program);
    let process = set.dump(load.pid, &["--source", "probes"]);
    assert_eq!(sources(&process), [""; 0]);
    assert_eq!(gaps(&process).len(), 1);
}

#[test]
#[ignore = "needs root"]
fn the_end_of_a_process_takes_its_rows_out() {
    let set = Set::new();
    let program = set.program();
    set.arm(&program);
    let mut first = Load::start(&program, &["threads=1", "hold=1000"]);
    let second = Load::start(&program, &["threads=1", "hold=10"]);
    assert_eq!(set.rows("REQUESTS"), 1_010);
    first.kill();
    wait_for("its rows are gone", || set.rows("REQUESTS") == 10);
    assert_eq!((set.rows("CONNECTIONS"), set.rows("TARGETS")), (1, 1));
    assert_eq!(gaps(&set.dump(second.pid, &[])), [""; 0]);
}

#[test]
#[ignore = "needs root"]
fn an_exec_takes_the_rows_out() {
    let set = Set::new();
    let program = set.program();
    set.arm(&program);
    let load = Load::start(&program, &["threads=1", "hold=7", "act=exec"]);
    assert_eq!(set.rows("REQUESTS"), 7);
    load.act();
    // The new program holds no requests; that it is there shows its connection.
    wait_for("it executed itself", || {
        (set.rows("REQUESTS"), set.rows("CONNECTIONS")) == (0, 1)
    });
    let process = set.dump(load.pid, &["--source", "probes"]);
    assert_eq!(gaps(&process), [""; 0]);
    assert_eq!(sources(&process), [""; 0]);

    let load = Load::start(&program, &["threads=1", "hold=7", "act=leave"]);
    assert_eq!(set.rows("REQUESTS"), 7);
    load.act();
    wait_for("it executed another program", || set.rows("REQUESTS") == 0);
    assert_eq!(set.rows("TARGETS"), 1);
}

#[test]
#[ignore = "needs root"]
fn a_forked_child_leaves_no_rows() {
    let set = Set::new();
    let program = set.program();
    set.arm(&program);
    let load = Load::start(&program, &["threads=1", "hold=2", "act=fork"]);
    load.act();
    wait_for("the child passes the probes", || {
        load.log.child_rounds.load(Ordering::Acquire) > 10
    });
    assert_eq!(gaps(&set.dump(load.pid, &[])), [""; 0]);
    load.log.quit.store(1, Ordering::Release);
    wait_for("both have ended", || set.rows("TARGETS") == 0);
    assert_eq!((set.rows("REQUESTS"), set.rows("CONNECTIONS")), (0, 0));
}

#[test]
#[ignore = "needs root"]
fn probes_of_d_are_attached_beside() {
    let set = Set::new();
    let program = set.program();
    set.arm(&program);
    let load = Load::start(&program, &["threads=1", "hold=3"]);
    load.log.run();
    let armed = attached::links();
    let process = set.dump(load.pid, &["-d", "300ms"]);
    assert_eq!(gaps(&process), [""; 0]);
    assert_eq!(process["armed_us"], serde_json::Value::Null);
    let connections = process["window"]["connections"].as_array().unwrap();
    assert!(
        connections
            .iter()
            .any(|row| row["started"].as_u64() > Some(0))
    );
    wait_for("only what is armed is left", || attached::links() == armed);
    load.log.pause();
    wait_for("it is paused", || load.log.is_paused());
    assert_eq!(gaps(&set.dump(load.pid, &[])), [""; 0]);
}

#[test]
#[ignore = "needs root"]
fn disarming_leaves_nothing_attached() {
    let set = Set::new();
    let program = set.program();
    let before = Load::start(&program, &["threads=1"]);
    set.arm(&program);
    let after = Load::start(&program, &["threads=1"]);
    for load in [&before, &after] {
        let sites = attached::sites(load.pid).unwrap();
        assert!(sites.all > 0 && sites.changed == sites.all, "{sites:?}");
    }
    assert!(attached::links() > 0);
    assert_eq!(set.run(&["disarm"]).stdout, "disarmed everything\n");
    wait_until_detached(before.pid);
    wait_until_detached(after.pid);
    assert!(!set.pins.exists());
    let run = set.run(&["disarm"]);
    assert_eq!(run.status, 1, "{run:?}");
}

#[test]
#[ignore = "needs root"]
fn what_is_armed_follows_the_schema() {
    let set = Set::new();
    let program = set.program();
    let schema = serde_json::from_str(&set.run(&["schema", "armed"]).stdout).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    assert!(schema.is_valid(&set.armed()));
    set.arm(&program);
    let load = Load::start(&program, &["threads=1", "hold=3"]);
    load.log.run();
    let run = set.run(&["armed", "--json", "--measure", "200ms"]);
    let mut armed: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(schema.is_valid(&armed));
    let programs = armed["programs"].as_array().unwrap();
    let ran = |name| {
        let program = programs.iter().find(|program| program["program"] == name);
        program.unwrap()["runs"].as_u64() > Some(0)
    };
    assert!(ran("request_start") && ran("request_end"));
    armed["executables"][0]["inode"] = "1".into();
    assert!(!schema.is_valid(&armed));
}

/// Each adds to the set of whoever was first.
#[test]
#[ignore = "needs root"]
fn several_arm_at_once() {
    let set = Set::new();
    let programs: Vec<_> = (0..6)
        .map(|number| {
            let path = set.directory.path().join(format!("roam-load-{number}"));
            set::install(&path);
            path
        })
        .collect();
    std::thread::scope(|scope| {
        for program in &programs {
            scope.spawn(|| set.arm(program));
        }
    });
    let armed = set.armed();
    assert_eq!(armed["executables"].as_array().unwrap().len(), 6);
    // Once more is no error, and changes nothing.
    let path = programs[0].to_str().unwrap();
    let run = set.run(&["arm", "--exe", path]);
    assert_eq!((run.status, run.stdout), (0, format!("{path} was armed\n")));
}

#[test]
#[ignore = "needs root"]
fn a_process_shows_what_to_arm() {
    let set = Set::new();
    let program = set.program();
    let load = Load::start(&program, &["threads=1"]);
    let run = set.run(&["arm", "-p", &load.pid.to_string()]);
    assert_eq!(run.stdout, format!("armed {}\n", program.display()));
    let armed = set.armed();
    assert_eq!(armed["executables"][0]["path"], program.to_str().unwrap());
    assert_eq!(armed["executables"][0]["current"], true);
}
