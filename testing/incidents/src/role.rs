//! One process of the application: what it listens on, whom it connects to, and what it does by itself.

use std::fs;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use roam::session::RetryPolicy;
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::{Instant, sleep};

use crate::app::{App, Link, Target};
use crate::control::Report;
use crate::link;
use crate::reconnect::Reconnecting;
use crate::socket::{self, Introduction, Via};
use crate::witness::{ConnectionLine, lock};
use crate::{order, service};

/// Who connects to whom: the client, the server, how, and how often.
const LINKS: [(&str, &str, Via, u32); 14] = [
    ("gateway", "auth", Via::Unix, 1),
    ("gateway", "catalog-1", Via::Unix, 4),
    ("gateway", "catalog-2", Via::Tcp, 4),
    ("gateway", "orders", Via::Tcp, 4),
    ("gateway", "notifier", Via::Tcp, 1),
    ("gateway", "proxy", Via::Unix, 1),
    ("gateway", "gateway", Via::Tcp, 1),
    ("orders", "orders", Via::Tcp, 1),
    ("orders", "auth", Via::Unix, 1),
    ("proxy", "catalog-1", Via::Unix, 1),
    ("client-1", "gateway", Via::Tcp, 4),
    ("client-2", "gateway", Via::Tcp, 2),
    ("client-2", "notifier", Via::Tcp, 1),
    ("client-3", "gateway", Via::Tcp, 1),
];

/// The same of clients that reconnect, and how often they try.
const RECONNECTING: [(&str, &str, Via, u32, u32); 5] = [
    ("orders", "db", Via::Unix, 4, 3),
    ("catalog-1", "db", Via::Unix, 1, 3),
    ("catalog-2", "db", Via::Tcp, 1, 3),
    ("auth", "db", Via::Tcp, 1, 3),
    ("catalog-1", "notifier", Via::Tcp, 1, u32::MAX),
];

/// The connection that its server drives on a thread of its own: the server, the client, and the number.
const DEDICATED: (&str, &str, u32) = ("db", "orders", 4);

/// Workers of every runtime.
const WORKERS: usize = 2;
/// How long everything may take to be up.
const DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// Options of one process.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) directory: PathBuf,
}

/// Runs until the supervisor is gone.
pub(crate) fn run(options: &Options) -> Result<()> {
    let name = std::ffi::CString::new(options.name.as_str())?;
    rustix::thread::set_name(&name).context("cannot name the process")?;
    // Here and not by whoever started this process: the order would not outlive a change of the user.
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot set the parent death signal")?;
    service::register_names();
    let app = App::new(&options.name, &options.directory)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    obey(&app, runtime.handle().clone())?;
    runtime.block_on(async {
        start(&app).await?;
        app.report(&Report::Ready);
        std::future::pending().await
    })
}

/// Follows the orders of the supervisor on a thread that no blocked worker holds up, and ends with them.
fn obey(app: &Arc<App>, runtime: tokio::runtime::Handle) -> Result<()> {
    let app = app.clone();
    std::thread::Builder::new()
        .name("orders".to_owned())
        .spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let followed = serde_json::from_str(&line)
                    .map_err(anyhow::Error::from)
                    .and_then(|order| order::follow(&app, &runtime, order, WORKERS));
                if let Err(error) = followed {
                    eprintln!("{}: {line}: {error:#}", app.node.name);
                }
            }
            std::process::exit(0);
        })
        .context("cannot start a thread")?;
    Ok(())
}

async fn start(app: &Arc<App>) -> Result<()> {
    // Its listeners may serve only once it has its upstream.
    if app.node.name != "proxy" {
        listen(app).await?;
    }
    for (_, server, via, count) in LINKS.into_iter().filter(|link| link.0 == app.node.name) {
        for number in 1..=count {
            connect(app, server, via, number).await?;
        }
    }
    for (_, server, via, count, attempts) in RECONNECTING
        .into_iter()
        .filter(|link| link.0 == app.node.name)
    {
        for number in 1..=count {
            let policy = RetryPolicy {
                max_attempts: attempts,
                max_backoff: Duration::from_millis(800),
                ..RetryPolicy::default()
            };
            let client = Reconnecting::new(&app.node, server, number, via, policy);
            retry(server, || client.connect()).await?;
            let target = Target::Again(client);
            app.add_link(server, Link { number, target });
        }
    }
    if app.node.name == "proxy" {
        listen(app).await?;
    }
    Ok(())
}

async fn connect(app: &Arc<App>, server: &str, via: Via, number: u32) -> Result<()> {
    retry(server, || async {
        match via {
            Via::Unix => {
                let socket = socket::unix(&app.node, server).await?;
                link::connect(app, socket, server, server, number).await
            }
            Via::Tcp => {
                let socket = socket::tcp(&app.node, server).await?;
                link::connect(app, socket, server, server, number).await
            }
        }
    })
    .await?;
    Ok(())
}

/// Tries until the server is there.
async fn retry<T, E: std::fmt::Debug, F: Future<Output = Result<T, E>>>(
    server: &str,
    mut attempt: impl FnMut() -> F,
) -> Result<T> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() > deadline => bail!("no link to {server}: {error:?}"),
            Err(_) => sleep(POLL).await,
        }
    }
}

/// Accepts connections, on a unix socket and on a TCP port that a file names.
async fn listen(app: &Arc<App>) -> Result<()> {
    let at = |kind: &str| app.node.directory.join(format!("{}.{kind}", app.node.name));
    let unix = UnixListener::bind(at("sock")).context("cannot listen on a unix socket")?;
    // Processes of two users are to connect.
    fs::set_permissions(at("sock"), fs::Permissions::from_mode(0o777))?;
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    fs::write(at("tmp"), tcp.local_addr()?.port().to_string())?;
    fs::rename(at("tmp"), at("port"))?;
    let app_of_unix = app.clone();
    tokio::spawn(async move {
        loop {
            match unix.accept().await {
                Ok((socket, _)) => drop(tokio::spawn(unix_link(app_of_unix.clone(), socket))),
                // No descriptor is free: perhaps one is later.
                Err(_) => sleep(POLL * 10).await,
            }
        }
    });
    let app = app.clone();
    tokio::spawn(async move {
        loop {
            match tcp.accept().await {
                Ok((mut socket, _)) => {
                    let app = app.clone();
                    tokio::spawn(async move {
                        if let Ok(greeted) = socket::answer(&app.node, &mut socket).await {
                            link::serve(app, socket, greeted).await;
                        }
                    });
                }
                Err(_) => sleep(POLL * 10).await,
            }
        }
    });
    Ok(())
}

async fn unix_link(app: Arc<App>, mut socket: UnixStream) {
    let Ok(greeted) = socket::answer(&app.node, &mut socket).await else {
        return;
    };
    if (
        app.node.name.as_str(),
        greeted.0.process.as_str(),
        greeted.0.number,
    ) == DEDICATED
    {
        let _ = serve_dedicated(app, socket, greeted);
    } else {
        link::serve(app, socket, greeted).await;
    }
}

/// Serves a connection on a thread and a runtime of its own.
fn serve_dedicated(
    app: Arc<App>,
    socket: UnixStream,
    greeted: (Introduction, ConnectionLine),
) -> Result<()> {
    let socket = socket.into_std()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    *lock(&app.dedicated) = Some(runtime.handle().clone());
    std::thread::Builder::new()
        .name("dedicated".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                if let Ok(socket) = UnixStream::from_std(socket) {
                    link::serve(app, socket, greeted).await;
                }
            });
        })?;
    Ok(())
}
