//! Runs the task that was picked. Knows each task's entry and nothing of what it does.

use anyhow::Result;

use crate::cli::Task;
use crate::tally::Tally;
use crate::{
    aarch64, api, bench, build_ebpf, conformance, cycles, demo, dependents, dist, fuzz, incidents,
    interop, method_ids, parts, reliability, screen, soak, test, vm, weight,
};

impl Task {
    /// The tests that ran, where the task is one that tests.
    pub(crate) fn run(self) -> Result<Option<Tally>> {
        match self {
            Self::Demo => demo::run().map(|()| None),
            Self::Dist => dist::run().map(|()| None),
            Self::Bench { subjects } => bench::run(&subjects).map(|()| None),
            Self::BuildEbpf { check: false } => build_ebpf::run().map(|()| None),
            Self::BuildEbpf { check: true } => build_ebpf::check().map(Some),
            Self::Test { rootless } => test::run(rootless).map(Some),
            Self::Part { part } => parts::run(part).map(Some),
            Self::Reliability(args) => reliability::run(&args).map(Some),
            Self::Incidents(args) => incidents::run(&args).map(Some),
            Self::Fuzz(args) => fuzz::run(&args).map(Some),
            Self::Conformance(tested) => conformance::run(&tested.session()).map(Some),
            Self::Api(tested) => api::run(&tested.session()).map(Some),
            Self::Dependents(tested) => dependents::run(&tested.session()).map(Some),
            Self::Weight => weight::run().map(Some),
            Self::Interop(peers) => interop::run(peers.published).map(Some),
            Self::MethodIds(peers) => method_ids::run(peers.published).map(Some),
            Self::Aarch64 => aarch64::run().map(Some),
            Self::Vm { kernels } => vm::run(&kernels).map(Some),
            Self::Soak { minutes, armed } => soak::run(minutes, armed).map(Some),
            Self::Screen => screen::run().map(|()| None),
            Self::Cycles => cycles::run().map(Some),
        }
    }
}
