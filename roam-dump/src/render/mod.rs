//! Turns a [`Dump`](crate::model::Dump) into what people and programs read.
//! Never sees a raw byte of a target.

mod cell;
mod channel;
mod connection;
mod details;
pub mod dot;
mod fold;
pub mod graph;
mod group;
pub mod hub;
pub mod json;
mod layout;
mod merged;
mod node;
mod order;
mod process;
mod request;
mod summary;
pub mod table;
pub mod text;
mod window;

pub use crate::count::{Count, Counted};
pub use crate::duration::Age;
pub use request::phase;
