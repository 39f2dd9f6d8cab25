//! Merges what several sources have about one process.
//!
//! Works on rows and values; reads nothing and prints nothing.

mod compare;
mod comparison;
mod registries;
#[cfg(test)]
mod tests;
mod window;

pub use comparison::{Comparison, Coverage, Registries, Snapped};
pub use registries::{join_registries, serial_of};
pub use window::window;
