//! Probes that fire with arguments that point anywhere.

use crate::fixture::Fixture;
use crate::measured;

fn check(task: &str, by_both: &[&str], by_probes: &[&str]) {
    let target = Fixture::start(&format!("hostile {task}"));
    let pid = target.pid();
    for (source, expected) in [("auto", by_both), ("probes", by_probes)] {
        for format in [&[][..], &["--json"]] {
            let arguments = [&["-p", &pid, "-d", "300ms", "--source", source], format].concat();
            let run = measured::check(&arguments);
            assert_eq!((run.status, &*run.stderr), (0, ""));
            for part in expected {
                assert!(run.stdout.contains(part), "{}", run.stdout);
            }
        }
    }
    // The process goes on.
    let after = measured::check(&["-p", &pid]);
    assert_eq!((after.status, &*after.stderr), (0, ""));
}

#[test]
#[ignore = "needs root"]
fn probes_fired_with_garbage() {
    let lost = "connections lost (kernel map full)";
    let only = "requests missing in the registry (seen by a probe)";
    check("probes", &[lost, only], &[lost]);
}

/// Seeding from it fills the kernel maps.
#[test]
#[ignore = "needs root"]
fn probes_beside_a_registry_full_of_rows() {
    check(
        "full",
        &["younger requests"],
        &["requests and channels that started before the probes were attached are missing"],
    );
}
