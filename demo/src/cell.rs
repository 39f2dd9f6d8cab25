//! A cell process: serves the host and perhaps another cell, makes background calls to the host, and follows
//! the host's orders.

use std::convert::Infallible;
use std::fmt::Debug;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use roam::session::{ConnectionHandle, ForwardingDispatcher, RoutedDispatcher};
use roam_shm::driver::establish_guest;
use roam_shm::{ShmGuestTransport, SpawnArgs};
use roam_stream::{ConnectionError, Connector, HandshakeConfig, ServiceDispatcher};
use rustix::io::ioctl_fionread;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::cli::{CellOptions, NamedSocket};
use crate::control::{self, Order, Report};
use crate::expect::{ExpectedRequest, Phase};
use crate::log::Witness;
use crate::serve::{CellServices, CellState, NextCell, outgoing};
use crate::service::{
    ArchiveDispatcher, AssetsClient, Behavior, ContentServiceDispatcher, MarkdownDispatcher,
    TcpTunnelDispatcher, method, register_names,
};
use crate::traffic::{BackgroundTraffic, poll_once};
use crate::{diagnostics, process};

/// Pause between two checks of a condition.
const POLL: Duration = Duration::from_millis(5);
/// How often in a row the unread bytes must be the same before they are reported.
const UNCHANGED_POLLS: u32 = 20;
/// How long a condition may take.
const DEADLINE: Duration = Duration::from_secs(10);
const NO_SOCKET: &str = "the link to the host has no socket";

type Services = RoutedDispatcher<
    ContentServiceDispatcher<CellServices>,
    RoutedDispatcher<MarkdownDispatcher<CellServices>, TcpTunnelDispatcher<CellServices>>,
>;

/// Runs a cell until its host is gone.
pub fn run(options: &CellOptions) -> Result<()> {
    process::set_name(&format!("demo-cell-{}", options.index))?;
    process::end_with_parent()?;
    diagnostics::install()?;
    register_names();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(async {
            let Err(error) = serve(options).await;
            fail(&error);
            // The host ends this process; until then its links must not add errors of their own.
            std::future::pending().await
        })
}

async fn serve(options: &CellOptions) -> Result<Infallible> {
    let orders = orders()?;
    let cell = Arc::new(CellState {
        witness: Witness::new(options.log.as_deref())?,
        report: Box::new(report),
        next: OnceLock::new(),
        lock: tokio::sync::Mutex::new(()),
        released: watch::Sender::new(false),
        watchers: AtomicU32::new(0),
    });

    if let Some(socket) = &options.connect {
        let markdown = MarkdownDispatcher::new(handlers(&cell, &socket.name));
        let next = connect(socket, markdown).await?;
        let _ = cell.next.set(next);
    }

    let from_host = match &options.listen {
        Some(socket) => FromHost::Socket(listen(socket)?),
        None => FromHost::Hub(Box::new(attach()?)),
    };
    let from_cell = match &options.accept {
        Some(socket) => Some((listen(&socket.path)?, &socket.name)),
        None => None,
    };
    report(&Report::Listening);

    let upstream = cell.next.get().filter(|_| options.forward);
    let (host, unread, others) = match upstream {
        Some(upstream) => {
            let forwarder = ForwardingDispatcher::new(upstream.handle.clone());
            let services = RoutedDispatcher::new(services(&cell, "host"), forwarder);
            from_host.link("host", services).await?
        }
        None => from_host.link("host", services(&cell, "host")).await?,
    };
    for number in 2..=options.links {
        let name = link_name("host", number);
        let listener = others
            .as_ref()
            .context("only a socket takes a second link")?;
        let (_, _, driver) = accept(listener, &name, services(&cell, &name)).await?;
        fail_when_ended(driver, &name);
    }
    if let Some((listener, name)) = from_cell {
        let archive = ArchiveDispatcher::new(handlers(&cell, name));
        let services = RoutedDispatcher::new(services(&cell, name), archive);
        let (name, cell, may_close) = (name.clone(), cell.clone(), options.accepted_may_close);
        tokio::spawn(async move {
            match accept(&listener, &name, services).await {
                Ok((handle, _, driver)) => {
                    if !may_close {
                        fail_when_ended(driver, &name);
                    }
                    let _ = cell.next.set(NextCell { name, handle });
                }
                Err(error) => fail(&error),
            }
        });
    }
    obey(orders, &cell, &host, unread.as_ref(), options.rate).await
}

/// Does what the host says, and otherwise calls it now and then.
async fn obey(
    mut orders: mpsc::UnboundedReceiver<Order>,
    cell: &Arc<CellState>,
    host: &ConnectionHandle,
    socket: Option<&OwnedFd>,
    calls_per_second: u32,
) -> Result<Infallible> {
    let traffic = traffic(cell, host, calls_per_second);
    traffic.flowing().await?;
    report(&Report::TrafficFlows);
    // Calls that nobody polls any more, and that are to stay.
    let mut held = Vec::new();
    loop {
        let order = orders.recv().await;
        match order.context("the thread that reads orders is gone")? {
            Order::PauseTraffic => {
                traffic.pause().await?;
                report(&Report::TrafficPaused);
            }
            Order::CountUnread => {
                let bytes = settled_bytes(socket.context(NO_SOCKET)?).await?;
                report(&Report::Unread { bytes });
            }
            Order::QueueBehindBlockedDriver => queue_behind_blocked_driver(cell, host).await?,
            Order::Release => {
                cell.released.send_replace(true);
            }
            Order::BlockWorkers => {
                process::block_workers().await?;
                held.push(call_without_workers(cell, host).await?);
            }
            Order::LeaveHolder => {
                leave_holder(socket.context(NO_SOCKET)?)?;
                report(&Report::LeftHolder);
            }
        }
    }
}

/// Orders of the host; the cell ends when there can be no more.
fn orders() -> Result<mpsc::UnboundedReceiver<Order>> {
    let (sender, orders) = mpsc::unbounded_channel();
    std::thread::Builder::new()
        .name("demo-orders".to_owned())
        .spawn(move || {
            let result = control::read(std::io::stdin().lock(), |order| {
                // Nobody listens any more where the cell failed and is about to end.
                let _ = sender.send(order);
            });
            if let Err(error) = result {
                eprintln!("roam-demo: cannot read the host's orders: {error}");
            }
            std::process::exit(0);
        })
        .context("cannot start a thread")?;
    Ok(orders)
}

fn report(report: &Report) {
    // A host that no longer listens is gone, and the cell ends with it.
    let _ = control::write(std::io::stdout().lock(), report);
}

fn fail(error: &anyhow::Error) {
    report(&Report::Failed {
        error: format!("{error:#}"),
    });
}

fn listen(path: &Path) -> Result<UnixListener> {
    UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))
}

fn handlers(cell: &Arc<CellState>, connection: &str) -> CellServices {
    CellServices {
        cell: cell.clone(),
        connection: connection.into(),
    }
}

fn services(cell: &Arc<CellState>, connection: &str) -> Services {
    let handlers = handlers(cell, connection);
    RoutedDispatcher::new(
        ContentServiceDispatcher::new(handlers.clone()),
        RoutedDispatcher::new(
            MarkdownDispatcher::new(handlers.clone()),
            TcpTunnelDispatcher::new(handlers),
        ),
    )
}

/// How the driver of a link ends.
type DriverEnd<E> = JoinHandle<Result<(), E>>;

/// What the host links with.
enum FromHost {
    Socket(UnixListener),
    Hub(Box<ShmGuestTransport>),
}

impl FromHost {
    /// Makes the first link; the descriptor is its socket's, if it has one. Returns the listener for others.
    async fn link(
        self,
        name: &str,
        services: impl ServiceDispatcher + 'static,
    ) -> Result<(ConnectionHandle, Option<OwnedFd>, Option<UnixListener>)> {
        match self {
            Self::Socket(listener) => {
                let (handle, unread, driver) = accept(&listener, name, services).await?;
                fail_when_ended(driver, name);
                Ok((handle, Some(unread), Some(listener)))
            }
            Self::Hub(transport) => {
                let (handle, _no_virtual_connections, driver) =
                    establish_guest(*transport, services);
                diagnostics::name_connection(&handle, name);
                fail_when_ended(tokio::spawn(driver.run()), name);
                Ok((handle, None, None))
            }
        }
    }
}

/// Attaches to the host's hub, as the arguments of this process say.
fn attach() -> Result<ShmGuestTransport> {
    let arguments = SpawnArgs::from_env()?;
    ShmGuestTransport::from_spawn_args(arguments).context("cannot attach to the host's hub")
}

/// Accepts one link; the descriptor is its socket's, to see what is unread.
async fn accept(
    listener: &UnixListener,
    name: &str,
    services: impl ServiceDispatcher + 'static,
) -> Result<(ConnectionHandle, OwnedFd, DriverEnd<ConnectionError>)> {
    let (stream, _) = listener.accept().await.context("cannot accept a link")?;
    let unread = stream.as_fd().try_clone_to_owned()?;
    let (handle, _no_virtual_connections, driver) =
        roam_stream::accept(stream, HandshakeConfig::default(), services)
            .await
            .with_context(|| format!("no handshake with {name}"))?;
    diagnostics::name_connection(&handle, name);
    Ok((handle, unread, tokio::spawn(driver.run())))
}

/// What one of several links to a peer is called.
pub(crate) fn link_name(peer: &str, number: u32) -> String {
    match number {
        1 => peer.to_owned(),
        _ => format!("{peer}/{number}"),
    }
}

fn fail_when_ended<E: Debug + Send + 'static>(driver: DriverEnd<E>, peer: &str) {
    let peer = peer.to_owned();
    tokio::spawn(async move {
        let result = driver.await;
        fail(&anyhow!("link to {peer} ended: {result:?}"));
    });
}

struct CellConnector(std::path::PathBuf);

impl Connector for CellConnector {
    type Transport = UnixStream;

    async fn connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(&self.0).await
    }
}

async fn connect(
    socket: &NamedSocket,
    services: impl ServiceDispatcher + Clone + 'static,
) -> Result<NextCell> {
    let connector = CellConnector(socket.path.clone());
    let handle = roam_stream::connect(connector, HandshakeConfig::default(), services)
        .handle()
        .await
        .with_context(|| format!("cannot connect to {}", socket.name))?;
    diagnostics::name_connection(&handle, &socket.name);
    Ok(NextCell {
        name: socket.name.clone(),
        handle,
    })
}

fn traffic(
    cell: &Arc<CellState>,
    host: &ConnectionHandle,
    calls_per_second: u32,
) -> BackgroundTraffic {
    let cell = cell.clone();
    let client = AssetsClient::new(host.clone());
    let call = move || {
        let (cell, client) = (cell.clone(), client.clone());
        async move {
            let ticket = cell.witness.ticket(Behavior::Answer);
            cell.witness
                .call(method::RESOLVE, ticket, |ticket| {
                    client.resolve(ticket, "main.css".to_owned())
                })
                .await?;
            Ok(())
        }
    };
    BackgroundTraffic::start(calls_per_second, call, |error| fail(&error))
}

/// Waits until the number of unread bytes stays as it is.
async fn settled_bytes(socket: &OwnedFd) -> Result<usize> {
    let (mut bytes, mut unchanged) = (0, 0);
    while unchanged < UNCHANGED_POLLS {
        sleep(POLL).await;
        let now = usize::try_from(ioctl_fionread(socket)?)?;
        unchanged = if now == bytes { unchanged + 1 } else { 0 };
        bytes = now;
    }
    Ok(bytes)
}

/// Puts an answer and a call into the queue of a driver that takes neither.
async fn queue_behind_blocked_driver(cell: &Arc<CellState>, host: &ConnectionHandle) -> Result<()> {
    cell.released.send_replace(true);
    await_queued(host, 1).await.context("no answer is queued")?;
    let (request, call) = call_without_answer(cell, host);
    tokio::spawn(call);
    await_queued(host, 2).await.context("no call is queued")?;
    report(&Report::Stuck {
        request,
        channels: Vec::new(),
    });
    Ok(())
}

/// A call into the queue of a driver that nobody runs: the caller's thread is not one of the blocked ones.
async fn call_without_workers(
    cell: &Arc<CellState>,
    host: &ConnectionHandle,
) -> Result<Pin<Box<dyn Future<Output = ()>>>> {
    let (request, call) = call_without_answer(cell, host);
    let mut call: Pin<Box<dyn Future<Output = ()>>> = Box::pin(call);
    ensure!(
        poll_once(&mut call).await.is_pending(),
        "a call ended that nobody can answer"
    );
    report(&Report::Stuck {
        request,
        channels: Vec::new(),
    });
    Ok(call)
}

/// A call to the host that stays in the driver's queue, and the row it has there.
fn call_without_answer(
    cell: &Arc<CellState>,
    host: &ConnectionHandle,
) -> (ExpectedRequest, impl Future<Output = ()> + Send + 'static) {
    let ticket = cell.witness.ticket(Behavior::Answer);
    let request = outgoing(
        &cell.witness,
        "host",
        method::RESOLVE,
        ticket,
        Phase::HandedOver,
    );
    let (cell, client) = (cell.clone(), AssetsClient::new(host.clone()));
    let call = async move {
        let call = cell.witness.call(method::RESOLVE, ticket, |ticket| {
            client.resolve(ticket, "late.css".to_owned())
        });
        let result = call.await;
        fail(&anyhow!("{} ended: {result:?}", method::RESOLVE));
    };
    (request, call)
}

/// Starts a process that has the link's socket and this process's standard streams, and does nothing with
/// them.
fn leave_holder(socket: &OwnedFd) -> Result<()> {
    // Unlike every descriptor of the standard library's, this one outlives an exec.
    let inherited = rustix::io::dup(socket)?;
    std::process::Command::new("/proc/self/exe")
        .arg0("roam-demo")
        .arg("hold")
        .spawn()
        .context("cannot start a holder")?;
    drop(inherited);
    Ok(())
}

/// Keeps what it inherited until the host is gone.
pub fn hold() -> Result<()> {
    process::set_name("demo-holder")?;
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    Ok(())
}

/// Waits until the driver of that link has as many messages before it.
async fn await_queued(link: &ConnectionHandle, messages: usize) -> Result<()> {
    let queue = link.driver_tx();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let queued = queue.max_capacity() - queue.capacity();
        if queued == messages {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{queued} messages wait for the driver, expected {messages}"
        );
        sleep(POLL).await;
    }
}
