//! Probes that fire with arguments that point anywhere.

use crate::fixture::Fixture;
use crate::measured;

fn check(task: &str, expected: &str) {
    let target = Fixture::start(&format!("hostile {task}"));
    let pid = target.pid();
    for source in ["auto", "probes"] {
        for format in [&[][..], &["--json"]] {
            let arguments = [&["-p", &pid, "-d", "300ms", "--source", source], format].concat();
            let run = measured::check(&arguments);
            assert_eq!((run.status, &*run.stderr), (0, ""));
            if source == "auto" {
                assert!(run.stdout.contains(expected), "{}", run.stdout);
            }
        }
    }
    // The process goes on, and its probes are as they were.
    let after = measured::check(&["-p", &pid]);
    assert_eq!((after.status, &*after.stderr), (0, ""));
}

#[test]
#[ignore = "needs root"]
fn probes_fired_with_garbage() {
    check("probes", "TcpTunnel.open");
}

/// Seeding from it fills the kernel maps.
#[test]
#[ignore = "needs root"]
fn probes_beside_a_registry_full_of_rows() {
    check("full", "younger requests");
}
