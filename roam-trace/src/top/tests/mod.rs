//! Readings that are made up, the keys that users press, and what is drawn of them.

mod drawn;
mod keys;
mod sample;
