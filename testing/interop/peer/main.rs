//! One of two processes that speak roam 0.6 over a unix socket. It is built twice, on the published
//! roam-session and on the drop-in; `cargo xtask interop` compares the output of all pairings.

mod handlers;
mod host;
mod link;
mod method_ids;
mod opaque;
mod scenario;
mod server;
mod service;
mod suite;
mod transcript;
mod victim;
mod wire;

use anyhow::{Result, bail};
use tokio::io::AsyncReadExt;

use handlers::ASKED_TO_PANIC;
use host::Host;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    silence_asked_panics();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server", socket] => {
            let mut until_closed = Vec::new();
            let mut stdin = tokio::io::stdin();
            tokio::select! {
                served = server::serve(Host::new(socket.into())) => Ok(served?),
                _ = stdin.read_to_end(&mut until_closed) => Ok(()),
            }
        }
        ["client", socket] => scenario::run(Host::new(socket.into())).await,
        ["method-ids"] => {
            method_ids::print();
            Ok(())
        }
        _ => bail!("usage: peer server SOCKET | client SOCKET | method-ids"),
    }
}

/// Keeps panics that a test asks for off standard error.
fn silence_asked_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(ASKED_TO_PANIC) {
            default(panic);
        }
    }));
}
