//! The JSON Schemas in docs/, and whether what is printed follows them.

use std::fs;
use std::path::Path;

use jsonschema::Validator;
use serde_json::Value;

use crate::fixture::Fixture;
use crate::run::roam_trace;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The schema in the documents, which must be the one that is printed.
pub(crate) fn schema(subject: &str) -> Validator {
    let printed = roam_trace(&["schema", subject]).stdout;
    let path = format!("docs/{subject}.schema.json");
    assert_eq!(
        printed,
        read(&path),
        "cargo run -p roam-trace -- schema {subject} > {path}"
    );
    jsonschema::validator_for(&serde_json::from_str(&printed).unwrap()).unwrap()
}

pub(crate) fn check(schema: &Validator, json: &str) {
    let json: Value = serde_json::from_str(json).unwrap();
    let errors: Vec<_> = schema
        .iter_errors(&json)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn dumps_follow_the_schema() {
    let schema = schema("dump");
    let snapshot =
        read("roam-dump/tests/snapshots/render__json_has_the_documented_fields_in_order.snap");
    let json = snapshot.splitn(3, "---\n").last().unwrap();
    check(&schema, json);
    for task in [
        "copied",
        "hang cell-http",
        "unanswered",
        "loopback",
        "escapes",
    ] {
        let target = Fixture::start(task);
        check(
            &schema,
            &roam_trace(&["-p", &target.pid(), "--json"]).stdout,
        );
    }
    let mut odd: Value = serde_json::from_str(json).unwrap();
    odd["processes"][0]["source"] = Value::from(7);
    assert!(!schema.is_valid(&odd));
}

/// What it says when something is armed is checked where that can be.
#[test]
fn nothing_armed_follows_the_schema() {
    check(&schema("armed"), &roam_trace(&["armed", "--json"]).stdout);
}

/// What they say of processes is checked where probes can be attached.
#[test]
fn live_views_have_a_schema() {
    let events = schema("events");
    check(
        &events,
        r#"{"time":"2026-01-01T00:00:00Z","event":"lost","cpu":1,"count":3}"#,
    );
    let odd = serde_json::json!({"time": "2026-01-01T00:00:00Z", "event": "lost"});
    assert!(!events.is_valid(&odd));
    schema("histogram");
}

#[test]
fn statistics_follow_the_schema() {
    let schema = schema("stats");
    let target = Fixture::start("copied");
    check(
        &schema,
        &roam_trace(&["stats", "-p", &target.pid(), "--interval", "1ms", "--json"]).stdout,
    );
}
