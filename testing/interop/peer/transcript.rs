//! The transcripts of suites and scripts, and how one task hands them to another.

use std::fmt::Debug;

use tokio::sync::mpsc;

/// The lines of a transcript.
#[derive(Default)]
pub struct Transcript(pub Vec<String>);

impl Transcript {
    pub fn note(&mut self, what: &str, value: impl Debug) {
        self.0.push(format!("{what}: {value:?}"));
    }
}

/// A transcript that one task writes and another waits for.
pub struct Mailbox {
    sender: mpsc::UnboundedSender<Vec<String>>,
    receiver: tokio::sync::Mutex<mpsc::UnboundedReceiver<Vec<String>>>,
}

impl Mailbox {
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            sender,
            receiver: tokio::sync::Mutex::new(receiver),
        }
    }

    pub fn put(&self, transcript: Vec<String>) {
        let _ = self.sender.send(transcript);
    }

    pub async fn take(&self) -> Vec<String> {
        self.receiver.lock().await.recv().await.unwrap_or_default()
    }
}
