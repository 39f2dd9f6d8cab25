//! How long it takes to read a shared-memory hub, and what that costs those who use it.

use anyhow::Result;

use crate::process;

pub(super) fn run() -> Result<()> {
    println!("reading a shared-memory hub:");
    process::require(process::cargo("bench --package roam-dump --bench shm"))
}
