//! Runs the task that was picked. Knows each task's entry and nothing of what it does.

use anyhow::Result;

use crate::cli::Task;
use crate::tally::Tally;
use crate::{
    aarch64, api, bench, build_ebpf, conformance, cycles, demo, dependents, fuzz, interop,
    method_ids, reliability, soak, test, vm,
};

impl Task {
    /// The tests that ran, where the task is one that tests.
    pub(crate) fn run(self) -> Result<Option<Tally>> {
        match self {
            Self::Demo => demo::run().map(|()| None),
            Self::Bench { subjects } => bench::run(&subjects).map(|()| None),
            Self::BuildEbpf(args) => build_ebpf::run(&args).map(|()| None),
            Self::Test { rootless } => test::run(rootless).map(Some),
            Self::Reliability(args) => reliability::run(&args).map(Some),
            Self::Fuzz(args) => fuzz::run(&args).map(Some),
            Self::Conformance(judged) => conformance::run(&judged.session()).map(Some),
            Self::Api(judged) => api::run(&judged.session()).map(Some),
            Self::Dependents(judged) => dependents::run(&judged.session()).map(Some),
            Self::Cycles => cycles::run().map(Some),
            Self::Interop(peers) => interop::run(peers.published).map(Some),
            Self::Aarch64 => aarch64::run().map(Some),
            Self::Vm { kernels } => vm::run(&kernels).map(Some),
            Self::Soak { minutes } => soak::run(minutes).map(Some),
            Self::MethodIds(peers) => method_ids::run(peers.published).map(Some),
        }
    }
}
