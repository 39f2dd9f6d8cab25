//! Messages that are larger than what the transport holds. [`MessageTransport`] lends itself to a write or
//! to a read, so a driver that waits for room reads nothing: a limit that the published session has too.

use std::io;
use std::time::Duration;

use roam_session::{
    ConnectionHandle, HandshakeConfig, MessageTransport, accept_framed, decode_response,
    initiate_framed,
};
use roam_wire::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::links::{ECHO, Service};
use crate::rows::{connection, wait_until};

/// Bytes that the pipe holds in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// Messages over a pipe of bytes, each after its length.
struct BytePipe {
    stream: DuplexStream,
    received: Vec<u8>,
}

impl BytePipe {
    fn new(stream: DuplexStream) -> Self {
        let received = Vec::new();
        Self { stream, received }
    }

    /// Takes a message out of what was received, if all of it is there.
    fn take(&mut self) -> Option<Message> {
        let (length, rest) = self.received.split_first_chunk()?;
        let message = rest.get(..u32::from_le_bytes(*length) as usize)?;
        let end = length.len() + message.len();
        let message = facet_postcard::from_slice(message).unwrap();
        self.received.drain(..end);
        Some(message)
    }
}

impl MessageTransport for BytePipe {
    async fn send(&mut self, msg: &Message) -> io::Result<()> {
        let message = facet_postcard::to_vec(msg).map_err(io::Error::other)?;
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        self.stream.write_all(&length.to_le_bytes()).await?;
        self.stream.write_all(&message).await
    }

    async fn recv_timeout(&mut self, _timeout: Duration) -> io::Result<Option<Message>> {
        self.recv().await
    }

    async fn recv(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.take() {
                return Ok(Some(message));
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn last_decoded(&self) -> &[u8] {
        &[]
    }
}

/// Two ends of a link, called `NAME left` and `NAME right`, that both echo.
async fn link(name: &str) -> [ConnectionHandle; 2] {
    let (left, right) = duplex(PIPE_BYTES);
    let config = HandshakeConfig::default();
    let (initiated, accepted) = tokio::join!(
        initiate_framed(BytePipe::new(left), config.clone(), Service::default()),
        accept_framed(BytePipe::new(right), config, Service::default()),
    );
    let (left, _, driver) = initiated.unwrap();
    left.set_diagnostic_name(&format!("{name} left"));
    tokio::spawn(driver.run());
    let (right, _, driver) = accepted.unwrap();
    right.set_diagnostic_name(&format!("{name} right"));
    tokio::spawn(driver.run());
    [left, right]
}

/// Calls with that many bytes, and checks that they come back.
async fn echo(handle: ConnectionHandle, bytes: usize) {
    let text = "x".repeat(bytes);
    let response = handle.call(ECHO, &mut text.clone()).await.unwrap();
    assert!(decode_response::<String, ()>(&response.payload).unwrap() == text);
}

#[tokio::test]
async fn messages_that_fit_the_transport_pass_in_both_directions_at_once() {
    let handles = link("fitting").await;
    // Ids, lengths and the like take 16 bytes at the most.
    let calls = (0..200).map(|call| echo(handles[call % 2].clone(), PIPE_BYTES - 32));
    futures_util::future::join_all(calls).await;
}

#[tokio::test]
async fn a_larger_message_passes_while_the_other_end_reads() {
    let [left, right] = link("one way").await;
    echo(left, 8 * PIPE_BYTES).await;
    echo(right, 8 * PIPE_BYTES).await;
}

/// Should this ever pass, it is time to take the limit out of `docs/drop-in.md`.
#[tokio::test]
async fn two_ends_that_write_larger_messages_wait_for_each_other_and_show_it() {
    let calls = link("stuck")
        .await
        .map(|handle| tokio::spawn(echo(handle, 2 * PIPE_BYTES)));
    let is_writing = |name| {
        let driver = connection(name).driver;
        driver.is_some_and(|driver| driver.writing_us.is_some())
    };
    wait_until("both ends write", || {
        is_writing("stuck left") && is_writing("stuck right")
    })
    .await;
    // One thread and no clock: whoever can go on does so within a few turns.
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(is_writing("stuck left") && is_writing("stuck right"));
    assert!(calls.iter().all(|call| !call.is_finished()));
}
