//! Measures calls per second between two processes over a unix socket: one after the other, and with 64
//! under way at once. Prints one number per line, sequential first.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use roam_session::{ConnectionHandle, NoDispatcher, accept_framed, initiate_framed};
use roam_stream::{CobsFramed, HandshakeConfig};
use tokio::net::{UnixListener, UnixStream};

const AT_ONCE: u64 = 64;
const WARM_UP: Duration = Duration::from_millis(300);
const MEASURED: Duration = Duration::from_millis(1000);

#[roam::service]
trait Echo {
    async fn echo(&self, text: String) -> String;
}

#[derive(Clone)]
struct Handler;

impl Echo for Handler {
    async fn echo(&self, _cx: &roam::Context, text: String) -> String {
        text
    }
}

/// One thread on each side, so that a machine with two processors runs both undisturbed.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match std::env::args_os().nth(1) {
        Some(socket) => serve(Path::new(&socket)).await,
        None => measure().await,
    }
}

async fn serve(socket: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    let (stream, _) = listener.accept().await?;
    let framed = CobsFramed::new(stream);
    let dispatcher = EchoDispatcher::new(Handler);
    let (_handle, _incoming, driver) =
        accept_framed(framed, HandshakeConfig::default(), dispatcher).await?;
    Ok(driver.run().await?)
}

async fn measure() -> Result<()> {
    let socket = std::env::temp_dir().join(format!("roam-calls-{}", std::process::id()));
    let server = Server::start(socket)?;
    let framed = CobsFramed::new(server.connect().await?);
    let (handle, _incoming, driver) =
        initiate_framed(framed, HandshakeConfig::default(), NoDispatcher).await?;
    tokio::spawn(driver.run());
    for at_once in [1, AT_ONCE] {
        calls_for(WARM_UP, at_once, &handle).await?;
        println!("{}", calls_for(MEASURED, at_once, &handle).await?);
    }
    Ok(())
}

/// Calls per second.
async fn calls_for(duration: Duration, at_once: u64, handle: &ConnectionHandle) -> Result<f64> {
    let start = Instant::now();
    let callers = (0..at_once).map(|_| {
        let client = EchoClient::new(handle.clone());
        tokio::spawn(async move {
            let mut calls = 0_u64;
            while start.elapsed() < duration {
                client
                    .echo("thirty-two bytes of ordinary text".to_owned())
                    .await
                    .context("echo")?;
                calls += 1;
            }
            anyhow::Ok(calls)
        })
    });
    let callers: Vec<_> = callers.collect();
    let mut calls = 0;
    for caller in callers {
        calls += caller.await??;
    }
    Ok(calls as f64 / start.elapsed().as_secs_f64())
}

struct Server {
    socket: PathBuf,
    process: Child,
}

impl Server {
    fn start(socket: PathBuf) -> Result<Self> {
        let process = Command::new(std::env::current_exe()?)
            .arg(&socket)
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self { socket, process })
    }

    async fn connect(&self) -> Result<UnixStream> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Ok(stream) = UnixStream::connect(&self.socket).await {
                return Ok(stream);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("nobody listens on {}", self.socket.display())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}
