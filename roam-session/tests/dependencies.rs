//! What a program compiles beyond what the published session makes it compile.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Crates that the drop-in may add, those of this repository among them.
const MOST: usize = 12;

/// The crates that one of the two interop projects compiles, by name and version, but for its own. They differ
/// in their session and in nothing else.
fn crates(project: &str) -> BTreeSet<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testing/interop")
        .join(project)
        .join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}", "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let tree = String::from_utf8(output.stdout).unwrap();
    // Behind name and version come the path of a crate of this repository, and marks.
    let name = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    tree.lines().skip(1).map(name).collect()
}

#[test]
fn a_program_compiles_few_crates_more_than_with_the_published_session() {
    let (published, drop_in) = (crates("published"), crates("drop-in"));
    assert!(published.contains("roam-session v0.6.0") && drop_in.contains("roam-session v0.6.0"));
    let added: Vec<_> = drop_in.difference(&published).collect();
    assert!(added.len() <= MOST, "{} crates: {added:?}", added.len());
}
