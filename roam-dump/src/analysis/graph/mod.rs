//! Who waits for whom, and who is at the bottom.
//!
//! An edge is what a rule found a row to wait for, so the graph claims nothing
//! that a verdict does not. A row that waits for nothing known is a root; a
//! cycle of edges is a deadlock. One step is not recorded anywhere: that a
//! handler waits, by a lock say, for another handler of its process. Where taking
//! it for granted closes a cycle through two or more such handlers, the cycle
//! is shown as a possible one, after everything that is known. Where many handlers of
//! one method wait for nothing known, they are shown as one pile.

mod builder;
mod leaf;
mod order;
mod pile;
mod possible;
mod prune;
mod rank;
mod roots;

pub(super) use builder::Builder;
pub(crate) use builder::Graph;
pub(super) use prune::prune;
pub(super) use roots::{Roots, find_roots};
