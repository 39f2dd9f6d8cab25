//! `roam-trace stats`.

use serde_json::Value;

use crate::fixture::Fixture;
use crate::run::roam_trace;

#[test]
fn each_registry_has_its_own_rate() {
    let target = Fixture::start("copied");
    let arguments = ["stats", "-p", &target.pid(), "--interval", "300ms"];
    let run = roam_trace(&[&arguments[..], &["--json"]].concat());
    let stats: Value = serde_json::from_str(&run.stdout).expect(&run.stderr);
    let rows = stats["processes"][0]["methods"].as_array().unwrap();
    let rates: Vec<_> = (rows.iter())
        .map(|row| (row["registry"].as_u64(), row["rate_per_second"].as_f64()))
        .collect();
    let [(Some(0), Some(busy)), (Some(1), Some(copied))] = rates[..] else {
        panic!("{rows:#?}")
    };
    assert!(busy > 1.0, "{busy}");
    assert_eq!(copied, 0.0);
    let text = roam_trace(&arguments).stdout;
    assert_eq!(text.matches("(registry 2)").count(), 1, "{text}");
}

#[test]
fn rows_beyond_the_limit_are_counted() {
    let target = Fixture::start("copied");
    let stats = |more: &[&str]| {
        let arguments = ["stats", "-p", &target.pid(), "--interval", "0s"];
        roam_trace(&[&arguments, more].concat()).stdout
    };
    let left_out = "statistics left out (limit reached; see --max-rows)";
    assert!(!stats(&[]).contains(left_out));
    let limited = stats(&["--max-rows", "1"]);
    assert!(limited.contains(left_out), "{limited}");
}
