//! The handlers of the `Peer` service. They make no calls.

use std::sync::Arc;

use roam::{Context, Rx, Tunnel, Tx};

use crate::host::LinkState;
use crate::service::{MathError, Peer, Shape, Streams};

/// The message of a panic that a test asks for.
pub const ASKED_TO_PANIC: &str = "asked to panic";

/// Both services, for one link.
#[derive(Clone)]
pub struct Service {
    pub state: Arc<LinkState>,
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
        let position = format!("{} {:?}", cx.conn_id(), cx.channels());
        std::iter::once(position).chain(entries).collect()
    }

    async fn blob(&self, _cx: &Context, length: u32) -> Vec<u8> {
        (0..length).map(|i| i as u8).collect()
    }

    async fn panics(&self, _cx: &Context) {
        panic!("{}", ASKED_TO_PANIC);
    }

    async fn hold(&self, _cx: &Context) {
        self.state.host.hold().await;
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
        let host = self.state.host.clone();
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
