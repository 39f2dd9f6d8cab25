//! The services that both peers serve, and what their handlers do. Never calls anything by itself.

use std::sync::Arc;

use facet::Facet;
use roam::{Context, Rx, Tunnel, Tx};

use roam_dump::model::Node;

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

/// Steers the other process, so that each scenario is a plain sequence on one side.
#[roam::service]
pub trait Control {
    /// Starts a suite against the caller; its transcript is the next `outcome`.
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
    async fn outcome(&self) -> Vec<String>;
}

/// Both services, for one link.
#[derive(Clone)]
pub struct Service {
    pub node: Arc<Node>,
}

impl Peer for Service {
    async fn echo(&self, _cx: &Context, text: String) -> String {
        text
    }

    async fn nothing(&self, _cx: &Context) {}

    async fn add(&self, _cx: &Context, a: i64, b: i64) -> i64 {
        a + b
    }

    async fn divide(&self, _cx: &Context, a: i64, b: i64) -> Result<i64, MathError> {
        if b == 0 {
            return Err(MathError::DivisionByZero { dividend: a });
        }
        a.checked_div(b)
            .ok_or_else(|| MathError::Overflow(format!("{a} / {b}")))
    }

    async fn shapes(&self, _cx: &Context, mut shapes: Vec<Option<Shape>>) -> Vec<Option<Shape>> {
        shapes.reverse();
        shapes
    }

    async fn metadata(&self, cx: &Context) -> Vec<String> {
        let entries = cx
            .metadata()
            .iter()
            .map(|(key, value)| format!("{key}={value:?}"));
        let place = format!("{} {:?}", cx.conn_id(), cx.channels());
        std::iter::once(place).chain(entries).collect()
    }

    async fn blob(&self, _cx: &Context, length: u32) -> Vec<u8> {
        (0..length).map(|i| i as u8).collect()
    }

    async fn panics(&self, _cx: &Context) {
        panic!("{}", crate::ASKED_TO_PANIC);
    }

    async fn hold(&self, _cx: &Context) {
        self.node.host.hold().await;
    }

    async fn sum(&self, _cx: &Context, mut numbers: Rx<i64>) -> i64 {
        let mut sum = 0;
        while let Ok(Some(number)) = numbers.recv().await {
            sum += number;
        }
        sum
    }

    async fn generate(&self, _cx: &Context, count: u32, output: Tx<u32>) {
        send_numbers(count, &output).await;
    }

    async fn generate_then_fail(
        &self,
        _cx: &Context,
        count: u32,
        output: Tx<u32>,
    ) -> Result<u32, MathError> {
        send_numbers(count, &output).await;
        Err(MathError::Overflow(format!("after {count}")))
    }

    async fn greet(&self, cx: &Context, input: Rx<String>, output: Tx<String>) {
        let _ = output.send(&"ready".to_owned()).await;
        self.transform(cx, input, output).await;
    }

    async fn transform(&self, _cx: &Context, mut input: Rx<String>, output: Tx<String>) {
        while let Ok(Some(text)) = input.recv().await {
            if output.send(&text.to_uppercase()).await.is_err() {
                return;
            }
        }
    }

    async fn subscribe(&self, _cx: &Context, count: u32) -> Rx<u32> {
        let (mut output, receiver) = roam::channel();
        // With its sender the published `Tx` feeds the receiver that is about to be returned, which has no
        // reader; without it the items go to the caller.
        output.sender.take();
        let host = self.node.host.clone();
        tokio::spawn(async move {
            host.wait_for_release().await;
            send_numbers(count, &output).await;
        });
        receiver
    }

    async fn merge(&self, _cx: &Context, streams: Streams) -> u32 {
        let mut sum = 0;
        for (index, mut input) in streams.inputs.into_iter().enumerate() {
            while let Ok(Some(number)) = input.recv().await {
                sum += number;
            }
            let line = format!("{} {index}: {sum}", streams.label);
            let _ = streams.progress.send(&line).await;
        }
        sum
    }

    async fn tunnel(&self, _cx: &Context, tunnel: Tunnel) {
        let Tunnel { tx, mut rx } = tunnel;
        while let Ok(Some(mut bytes)) = rx.recv().await {
            bytes.make_ascii_uppercase();
            if tx.send(&bytes).await.is_err() {
                return;
            }
        }
    }

    async fn sink(&self, _cx: &Context, mut items: Rx<Vec<u8>>) -> u64 {
        let mut total = 0;
        while let Ok(Some(item)) = items.recv().await {
            total += item.len() as u64;
        }
        total
    }
}

async fn send_numbers(count: u32, output: &Tx<u32>) {
    for number in 0..count {
        if output.send(&number).await.is_err() {
            return;
        }
    }
}

impl Control for Service {
    async fn mirror(&self, _cx: &Context, suite: String) {
        let node = self.node.clone();
        // A task of its own: inside a handler, `channel()` makes channels of that handler's response.
        tokio::spawn(async move {
            let transcript = crate::suite::run(&suite, node.root()).await;
            node.host.outcomes.put(transcript);
        });
    }

    async fn nested(&self, _cx: &Context, depth: u32) -> String {
        if depth == 0 {
            return "bottom".to_owned();
        }
        let below = ControlClient::new(self.node.root()).nested(depth - 1).await;
        format!("{depth} over {below:?}")
    }

    async fn release(&self, _cx: &Context) {
        self.node.host.release();
    }

    async fn holds(&self, _cx: &Context) -> (u32, u32) {
        self.node.host.holds()
    }

    async fn bind_late(&self, _cx: &Context) {
        self.node.late.set(self.node.root());
    }

    async fn go_deaf(&self, _cx: &Context) {
        self.node.stop_listening().await;
    }

    async fn callback_transcript(&self, _cx: &Context) -> Vec<String> {
        self.node.callbacks.take().await
    }

    async fn flaky(&self, _cx: &Context, open: bool) {
        self.node.host.flaky(open).await;
    }

    async fn arm_victim(&self, _cx: &Context, script: String) {
        self.node.host.arm_victim(script);
    }

    async fn arm_raw(&self, _cx: &Context, script: String) {
        self.node.host.clone().arm_raw(script);
    }

    async fn outcome(&self, _cx: &Context) -> Vec<String> {
        self.node.host.outcomes.take().await
    }
}
