//! The services that both peers serve, and the types in their signatures.

use facet::Facet;
use roam::{Rx, Tunnel, Tx};
use roam_wire::{Metadata, MetadataValue};

/// The application's own error.
#[derive(Clone, Debug, Facet, PartialEq)]
#[repr(u8)]
pub enum MathError {
    DivisionByZero { dividend: i64 } = 0,
    Overflow(String) = 1,
}

/// Something with every kind of shape in it.
#[derive(Clone, Debug, Facet, PartialEq)]
#[repr(u8)]
pub enum Shape {
    Point = 0,
    Circle(f64) = 1,
    Polygon {
        name: String,
        corners: Vec<(i32, i32)>,
    } = 2,
}

/// Channels inside a struct, a list and an option.
#[derive(Facet)]
pub struct Streams {
    pub label: String,
    pub inputs: Vec<Rx<u32>>,
    pub progress: Tx<String>,
    pub unused: Option<Tx<String>>,
}

/// Ordinary calls, failing calls and every way to pass a channel.
#[roam::service]
pub trait Peer {
    async fn echo(&self, text: String) -> String;
    async fn nothing(&self);
    async fn add(&self, a: i64, b: i64) -> i64;
    async fn divide(&self, a: i64, b: i64) -> Result<i64, MathError>;
    async fn shapes(&self, shapes: Vec<Option<Shape>>) -> Vec<Option<Shape>>;
    async fn metadata(&self) -> Vec<String>;
    async fn blob(&self, length: u32) -> Vec<u8>;
    async fn panics(&self);
    /// Waits for one `release`, then counts itself as finished.
    async fn hold(&self);
    async fn sum(&self, numbers: Rx<i64>) -> i64;
    async fn generate(&self, count: u32, output: Tx<u32>);
    async fn generate_then_fail(&self, count: u32, output: Tx<u32>) -> Result<u32, MathError>;
    async fn transform(&self, input: Rx<String>, output: Tx<String>);
    /// [`Peer::transform`] after a greeting.
    async fn greet(&self, input: Rx<String>, output: Tx<String>);
    /// The items come after one `release`: the published caller knows the channel only once it has
    /// read the response.
    async fn subscribe(&self, count: u32) -> Rx<u32>;
    async fn merge(&self, streams: Streams) -> u32;
    async fn tunnel(&self, tunnel: Tunnel);
    async fn sink(&self, items: Rx<Vec<u8>>) -> u64;
}

/// Controls the other process, so that each scenario is a plain sequence on one side.
#[roam::service]
pub trait Control {
    /// Starts a suite against the caller; its transcript is the next `result`.
    async fn mirror(&self, suite: String);
    /// Calls the caller's `nested` while this call runs, down to depth 0.
    async fn nested(&self, depth: u32) -> String;
    async fn release(&self);
    /// How many `hold` calls are waiting and how many have finished.
    async fn holds(&self) -> (u32, u32);
    /// Gives the late-bound forwarder of this link its target.
    async fn bind_late(&self);
    /// From now on nobody listens for virtual connections on this link.
    async fn go_deaf(&self);
    /// The transcript of what was run over the last virtual connection opened with `kind=callback`.
    async fn callback_transcript(&self) -> Vec<String>;
    /// Opens the socket that comes and goes, or closes it and every connection made through it.
    async fn flaky(&self, open: bool);
    /// Makes the next connection to the victim socket run this script's victim.
    async fn arm_victim(&self, script: String);
    /// Plays this script to the next connection to the raw socket.
    async fn arm_raw(&self, script: String);
    /// What the next suite, victim or raw peer to end in this process saw.
    async fn result(&self) -> Vec<String>;
}

/// The metadata of a virtual connection: what its acceptor does with it.
pub fn kind_of(kind: &str) -> Metadata {
    vec![("kind".to_owned(), MetadataValue::String(kind.to_owned()))]
}
