//! Turns a [`Dump`](crate::snapshot::Dump) into what people and programs read.
//! Never sees a raw byte of a target.

pub mod dot;
pub mod graph;
pub mod json;
mod merged;
pub mod text;
