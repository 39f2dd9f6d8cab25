//! Compares the method ids that programs on the published and on the drop-in roam-session compute: a
//! peer finds a method by this number, and channel types are hashed into it by their path.

use anyhow::{Result, ensure};

use crate::interop::Build;
use crate::process;
use crate::tally::Tally;

pub(crate) fn run(published: bool) -> Result<Tally> {
    let (reference, tested) = Build::peers(published)?;
    let expected = print(&reference)?;
    let actual = print(&tested)?;
    let mut tally = Tally::default();
    for line in expected.lines() {
        let same = actual.lines().any(|other| other == line);
        if !same {
            println!("FAILED published: {line}");
        }
        tally += Tally::one(same);
    }
    Ok(tally)
}

fn print(build: &Build) -> Result<String> {
    let mut command = build.command();
    command.arg("method-ids");
    let ids = process::read(command)?;
    ensure!(!ids.is_empty(), "no method ids");
    Ok(ids)
}
