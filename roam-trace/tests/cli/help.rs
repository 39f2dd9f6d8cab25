//! What people read before they have a process.

use crate::run::roam_trace;

#[test]
fn help() {
    insta::assert_snapshot!("short", roam_trace(&["-h"]).stdout);
    insta::assert_snapshot!("long", roam_trace(&["--help"]).stdout);
    insta::assert_snapshot!("list", roam_trace(&["list", "--help"]).stdout);
    insta::assert_snapshot!("stats", roam_trace(&["stats", "--help"]).stdout);
    insta::assert_snapshot!("top", roam_trace(&["top", "--help"]).stdout);
    insta::assert_snapshot!("watch", roam_trace(&["watch", "--help"]).stdout);
    insta::assert_snapshot!("histogram", roam_trace(&["histogram", "--help"]).stdout);
    insta::assert_snapshot!("shm", roam_trace(&["shm", "--help"]).stdout);
    insta::assert_snapshot!("arm", roam_trace(&["arm", "--help"]).stdout);
    insta::assert_snapshot!("armed", roam_trace(&["armed", "--help"]).stdout);
    insta::assert_snapshot!("disarm", roam_trace(&["disarm", "--help"]).stdout);
    insta::assert_snapshot!("man", roam_trace(&["man"]).stdout);
    insta::assert_snapshot!("schema", roam_trace(&["schema", "--help"]).stdout);
    insta::assert_snapshot!("doctor", roam_trace(&["doctor", "--help"]).stdout);
}

#[test]
fn usage_errors() {
    let lines = [
        &[][..],
        &["-p", "0"],
        &["-p", "4242", "-d", "5"],
        &["arm"],
        &["-p", "4242", "--source", "registry", "-d", "5s"],
        &["-p", "4242", "list"],
    ];
    let mut text = String::new();
    for line in lines {
        let run = roam_trace(line);
        assert_eq!((run.status, &*run.stdout), (2, ""), "{line:?}");
        text += &format!("$ roam-trace {}\n{}\n", line.join(" "), run.stderr);
    }
    insta::assert_snapshot!(text);
}
