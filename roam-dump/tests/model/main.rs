//! Whatever several threads report, in whatever order, the registry holds what plain `HashMap`s would.
//!
//! The registry is the process's, so this binary has one test and nothing else that reports.

mod step;
mod world;

use proptest::prelude::*;
use step::steps;
use world::World;

/// Room for requests: small, so that the table is full at times, and no multiple of what a thread takes at
/// a time.
const REQUESTS: usize = 20;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_registry_is_a_map_from_serials_to_rows(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.check();
    }
}
