//! Turns a [`Dump`](crate::model::Dump) into what people and programs read.
//! Never sees a raw byte of a target.

pub mod dot;
pub mod graph;
mod group;
pub mod json;
mod layout;
mod merged;
mod node;
mod process;
mod row;
pub mod text;
mod window;

pub use crate::count::Counted;
pub use crate::duration::Age;
