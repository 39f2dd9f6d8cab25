//! The host and its cells: starts them, makes background traffic and calls that hang, and receives the
//! cells' reports. Does not choose a hang.

use std::collections::VecDeque;
use std::process::{ChildStdin, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use roam::session::{CallError, ConnectionHandle};
use roam_shm::{PeerId, SpawnTicket};
use roam_stream::{CobsFramed, HandshakeConfig, initiate_framed};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cell::link_name;
use crate::cli::{HangKind, HostOptions, Transport};
use crate::clock::monotonic_ns;
use crate::control::{self, Order, Report};
use crate::diagnostics;
use crate::expect::{Direction, ExpectedChannel, ExpectedFlood, ExpectedRequest, Phase, Restarted};
use crate::hub::Hub;
use crate::log::{self, Witness, create};
use crate::process::Group;
use crate::serve::{HostServices, outgoing};
use crate::service::{AssetsDispatcher, Behavior, ContentServiceClient, Ticket, method};
use crate::traffic::{BackgroundTraffic, ordinary_call};

/// How long a cell may take for anything it is waited for.
const DEADLINE: Duration = Duration::from_secs(30);

/// The host with everything it runs on.
pub(crate) struct Host {
    pub(crate) witness: Arc<Witness>,
    pub(crate) cells: Vec<Cell>,
    failed: UnboundedSender<Failure>,
    /// The hub that the cells attach to, if they do.
    pub(crate) hub: Option<Hub>,
    /// The pid of the cell that may end, 0 for none.
    killed: Arc<AtomicU32>,
}

/// An unexpected event, which ends the demo.
pub(crate) struct Failure {
    /// The cell that it has to do with.
    pub(crate) cell: Option<u32>,
    pub(crate) error: anyhow::Error,
}

/// What the host has of a cell.
pub(crate) struct Cell {
    pub(crate) pid: u32,
    /// What the host calls its link to this cell.
    pub(crate) name: String,
    pub(crate) handle: ConnectionHandle,
    /// Every link to this cell, the first one included.
    links: Vec<ConnectionHandle>,
    traffic: Vec<BackgroundTraffic>,
    /// A link that may be closed, where there is one.
    second_link: Mutex<Option<DrivenLink>>,
    /// Where the hang needs it, what the host gave a cell that attached to its hub.
    pub(crate) ticket: Option<SpawnTicket>,
    /// Which peer of the hub it is, if it is one.
    pub(crate) peer: Option<PeerId>,
    orders: Mutex<ChildStdin>,
    reports: tokio::sync::Mutex<Reports>,
}

/// A link and its driver: it closes when the driver is aborted.
pub(crate) type DrivenLink = (
    ConnectionHandle,
    JoinHandle<Result<(), roam_stream::ConnectionError>>,
);

/// What a cell reported, and of it what nobody asked for yet.
struct Reports {
    incoming: UnboundedReceiver<Report>,
    unclaimed: VecDeque<Report>,
}

impl Host {
    pub(crate) async fn start(
        options: &HostOptions,
        group: &Group,
        failed: UnboundedSender<Failure>,
    ) -> Result<Self> {
        let witness = Arc::new(Witness::new(options.log.as_deref())?);
        let mut host = Self {
            witness,
            cells: Vec::new(),
            failed,
            hub: None,
            killed: Arc::default(),
        };
        if options.transport == Transport::Shm {
            host.hub = Some(Hub::start(&group.socket("hub"), host.failed(None))?);
        }
        // The last one first: cell 1 connects to cell 2, which has to listen by then.
        for index in (1..=options.cells).rev() {
            let cell = host.start_cell(options, group, index).await?;
            host.cells.insert(0, cell);
        }
        if !options.restart {
            group.remove_sockets()?;
        }
        Ok(host)
    }

    /// Replaces a cell that ended, by its index.
    pub(crate) async fn restart(
        &mut self,
        options: &HostOptions,
        group: &Group,
        ended: usize,
    ) -> Result<Restarted> {
        let index = u32::try_from(ended)? + 1;
        std::fs::remove_file(group.socket(&cell_socket(index)))
            .context("cannot remove the socket of a cell that ended")?;
        let cell = self.start_cell(options, group, index).await?;
        let pid = cell.pid;
        let ended = std::mem::replace(&mut self.cells[ended], cell);
        Ok(Restarted {
            ended: ended.pid,
            pid,
        })
    }

    /// Where to report what goes wrong with a cell.
    fn failed(&self, cell: Option<u32>) -> impl Fn(anyhow::Error) + Clone + Send + Sync + 'static {
        let (failed, killed) = (self.failed.clone(), self.killed.clone());
        move |error| {
            if cell == Some(killed.load(Ordering::Relaxed)) {
                return;
            }
            // Nobody listens any more where the host is about to end.
            let _ = failed.send(Failure { cell, error });
        }
    }

    /// Lets a cell end.
    pub(crate) fn allow_end(&self, cell: &Cell) {
        self.killed.store(cell.pid, Ordering::Relaxed);
    }

    async fn start_cell(&self, options: &HostOptions, group: &Group, index: u32) -> Result<Cell> {
        let name = cell_name(index);
        let socket = group.socket(&cell_socket(index));
        let between_cells = group.socket("cell-1-to-2");
        let linked = options.hang.is_some_and(links_cells);
        let has_second_link = index == 1 && options.hang == Some(HangKind::Orphan);
        let forwarding = options.hang == Some(HangKind::Forward);
        let stderr = match &options.cell_stderr {
            Some(file) => create(&log::path(file, index))?.into(),
            None => Stdio::inherit(),
        };
        let ticket = match &self.hub {
            Some(hub) => Some(hub.ticket(&name).await?),
            None => None,
        };
        let started = group.start_cell(|command| {
            command.stderr(stderr);
            command.arg("--index").arg(index.to_string());
            command.arg("--rate").arg(options.rate.to_string());
            command.arg("--links").arg(options.links.to_string());
            match &ticket {
                Some(ticket) => command.args(ticket.to_args()),
                None => command.arg("--listen").arg(&socket),
            };
            let peer = |index| format!("{}={}", cell_name(index), between_cells.display());
            match index {
                1 if linked => command.arg("--connect").arg(peer(2)),
                2 if linked => command.arg("--accept").arg(peer(1)),
                _ => command,
            };
            if forwarding && index == 1 {
                command.arg("--forward");
            }
            if has_second_link {
                let second = format!("{SECOND_LINK}={}", group.socket(SECOND_LINK).display());
                command
                    .arg("--accept")
                    .arg(second)
                    .arg("--accepted-may-close");
            }
            if let Some(log) = &options.log {
                command.arg("--log").arg(log);
            }
        })?;
        let mut reports = Reports {
            incoming: self.read_reports(started.reports, started.pid, &name)?,
            unclaimed: VecDeque::new(),
        };
        reports
            .take(&name, |report| (*report == Report::Listening).then_some(()))
            .await?;
        diagnostics::forward_to(started.pid)?;
        let mut links = Vec::new();
        if let (Some(hub), Some(ticket)) = (&self.hub, &ticket) {
            links.push(hub.link(ticket, &name, &self.witness).await?);
        } else {
            for number in 1..=options.links {
                let name = link_name(&name, number);
                links.push(self.connect(&socket, started.pid, &name).await?);
            }
        }
        let handle = links[0].clone();
        let second_link = match has_second_link {
            true => Some(self.link(&group.socket(SECOND_LINK), SECOND_LINK).await?),
            false => None,
        };
        let archive = forwarding && index == 1;
        Ok(Cell {
            pid: started.pid,
            traffic: links
                .iter()
                .map(|handle| self.traffic(options.rate, started.pid, handle, archive))
                .collect(),
            name,
            handle,
            links,
            second_link: Mutex::new(second_link),
            peer: ticket.as_ref().map(|ticket| ticket.peer_id),
            // It holds the cell's end of the doorbell.
            ticket: ticket.filter(|_| options.hang == Some(HangKind::Doorbell)),
            orders: Mutex::new(started.orders),
            reports: tokio::sync::Mutex::new(reports),
        })
    }

    /// Reads on a thread of its own, which blocked workers do not hold up.
    fn read_reports(
        &self,
        from: std::process::ChildStdout,
        cell: u32,
        name: &str,
    ) -> Result<UnboundedReceiver<Report>> {
        let (sender, reports) = unbounded_channel();
        let failed = self.failed(Some(cell));
        let name = name.to_owned();
        std::thread::Builder::new()
            .name("demo-reports".to_owned())
            .spawn(move || {
                let result = control::read(from, |report| match report {
                    Report::Failed { error } => failed(anyhow!("{name}: {error}")),
                    report => {
                        // Nobody receives any more where the host is about to end.
                        let _ = sender.send(report);
                    }
                });
                failed(match result {
                    Ok(()) => anyhow!("{name} ended"),
                    Err(error) => anyhow!(error).context(format!("cannot read from {name}")),
                });
            })
            .context("cannot start a thread")?;
        Ok(reports)
    }

    /// A link to a cell that may not end.
    async fn connect(
        &self,
        socket: &std::path::Path,
        cell: u32,
        name: &str,
    ) -> Result<ConnectionHandle> {
        let (handle, driver) = self.link(socket, name).await?;
        let (failed, name) = (self.failed(Some(cell)), name.to_owned());
        tokio::spawn(async move {
            let result = driver.await;
            failed(anyhow!("link to {name} ended: {result:?}"));
        });
        Ok(handle)
    }

    async fn link(&self, socket: &std::path::Path, name: &str) -> Result<DrivenLink> {
        let stream = UnixStream::connect(socket)
            .await
            .with_context(|| format!("cannot connect to {name}"))?;
        let services = AssetsDispatcher::new(HostServices {
            witness: self.witness.clone(),
        });
        let (handle, _no_virtual_connections, driver) = initiate_framed(
            CobsFramed::new(stream),
            HandshakeConfig::default(),
            services,
        )
        .await
        .with_context(|| format!("no handshake with {name}"))?;
        diagnostics::name_connection(&handle, name);
        Ok((handle, tokio::spawn(driver.run())))
    }

    fn traffic(
        &self,
        calls_per_second: u32,
        cell: u32,
        handle: &ConnectionHandle,
        archive: bool,
    ) -> BackgroundTraffic {
        let (witness, handle) = (self.witness.clone(), handle.clone());
        BackgroundTraffic::start(
            calls_per_second,
            move || ordinary_call(witness.clone(), handle.clone(), archive),
            self.failed(Some(cell)),
        )
    }

    /// Issues a call that is never to end, over a cell's first link.
    pub(crate) fn issue<C, F, T, E>(
        &self,
        cell: &Cell,
        method: &'static str,
        behavior: Behavior,
        call: C,
    ) -> ExpectedRequest
    where
        C: FnOnce(Ticket) -> F + Send + 'static,
        F: IntoFuture<Output = Result<T, CallError<E>>>,
        F::IntoFuture: Send,
        F: Send,
        T: Send,
        E: Send,
    {
        let ticket = self.witness.ticket(behavior);
        let (witness, failed) = (self.witness.clone(), self.failed(Some(cell.pid)));
        let phase = match self.hub {
            // Its driver does not report what it writes.
            Some(_) => Phase::HandedOver,
            None => Phase::Sent,
        };
        let expected = outgoing(&self.witness, &cell.name, method, ticket, phase);
        tokio::spawn(async move {
            let result = witness.call(method, ticket, call).await;
            let result = result.map_or("failed", |_| "was answered");
            failed(anyhow!("{method} {result}, but it was to hang"));
        });
        expected
    }

    /// Makes that many calls that never end, over every link of every cell.
    pub(crate) async fn flood(&self, calls: u32) -> Result<ExpectedFlood> {
        let since_monotonic_ns = monotonic_ns();
        let cells = self.cells.len() as u32;
        let calls_per_cell: Vec<u32> = (0..cells)
            .map(|index| calls / cells + u32::from(index < calls % cells))
            .collect();
        for (cell, &watchers) in self.cells.iter().zip(&calls_per_cell) {
            let clients: Vec<_> = cell
                .links
                .iter()
                .map(|handle| ContentServiceClient::new(handle.clone()))
                .collect();
            for client in clients.iter().cycle().take(watchers as usize) {
                let client = client.clone();
                self.issue(cell, method::WATCH, Behavior::Stall, move |ticket| {
                    client.watch(ticket, watchers)
                });
            }
        }
        for (cell, &watchers) in self.cells.iter().zip(&calls_per_cell) {
            if watchers > 0 {
                cell.wait_for(|report| (*report == Report::Watched).then_some(()))
                    .await?;
            }
        }
        Ok(ExpectedFlood {
            method: method::WATCH.to_owned(),
            calls,
            calls_per_cell,
            since_monotonic_ns,
        })
    }
}

impl Cell {
    /// Waits until background calls are answered, in both directions.
    pub(crate) async fn await_traffic(&self) -> Result<()> {
        for traffic in &self.traffic {
            traffic.flowing().await?;
        }
        self.wait_for(|report| (*report == Report::TrafficFlows).then_some(()))
            .await
    }

    /// Waits for a request of this cell to get where it stays.
    pub(crate) async fn stuck(
        &self,
        direction: Direction,
        method: &str,
    ) -> Result<(ExpectedRequest, Vec<ExpectedChannel>)> {
        self.wait_for(|report| match report {
            Report::Stuck { request, channels }
                if request.direction == direction && request.method == method =>
            {
                Some((request.clone(), channels.clone()))
            }
            _ => None,
        })
        .await
        .with_context(|| format!("{method} does not get stuck"))
    }

    /// The second link to this cell, where there is one.
    pub(crate) fn take_second_link(&self) -> Result<DrivenLink> {
        let mut link = self
            .second_link
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        link.take().context("there is no second link")
    }

    /// Has another process keep this cell's end of the link open.
    pub(crate) async fn leave_holder(&self) -> Result<()> {
        self.order(&Order::LeaveHolder)?;
        self.wait_for(|report| (*report == Report::LeftHolder).then_some(()))
            .await
    }

    /// How many bytes stay unread at this cell's end of the link.
    pub(crate) async fn unread(&self) -> Result<usize> {
        self.order(&Order::CountUnread)?;
        self.wait_for(|report| match report {
            Report::Unread { bytes } => Some(*bytes),
            _ => None,
        })
        .await
    }

    /// Stops background calls in both directions, without leaving one in flight.
    pub(crate) async fn pause_traffic(&self) -> Result<()> {
        for traffic in &self.traffic {
            traffic.pause().await?;
        }
        self.order(&Order::PauseTraffic)?;
        self.wait_for(|report| (*report == Report::TrafficPaused).then_some(()))
            .await
    }

    pub(crate) fn order(&self, order: &Order) -> Result<()> {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        control::write(&mut *orders, order)
            .with_context(|| format!("cannot give {} an order", self.name))
    }

    async fn wait_for<T>(&self, pick: impl Fn(&Report) -> Option<T>) -> Result<T> {
        self.reports.lock().await.take(&self.name, pick).await
    }
}

impl Reports {
    async fn take<T>(&mut self, cell: &str, pick: impl Fn(&Report) -> Option<T>) -> Result<T> {
        for index in 0..self.unclaimed.len() {
            if let Some(picked) = pick(&self.unclaimed[index]) {
                self.unclaimed.remove(index);
                return Ok(picked);
            }
        }
        let wait = async {
            while let Some(report) = self.incoming.recv().await {
                match pick(&report) {
                    Some(picked) => return Ok(picked),
                    None => self.unclaimed.push_back(report),
                }
            }
            // Whoever reads the cell's output reports why it ended; that is the better message.
            std::future::pending().await
        };
        match timeout(DEADLINE, wait).await {
            Ok(result) => result,
            Err(_) => bail!("{cell} did not report for {DEADLINE:?}"),
        }
    }
}

/// What the host's second link to a cell is called.
const SECOND_LINK: &str = "host-2";

/// Whether cell 1 has a link to cell 2.
pub(crate) fn links_cells(hang: HangKind) -> bool {
    matches!(
        hang,
        HangKind::Chain | HangKind::Forward | HangKind::Deadlock
    )
}

/// What the host calls its link to a cell.
fn cell_socket(index: u32) -> String {
    format!("cell-{index}")
}

fn cell_name(index: u32) -> String {
    match index {
        1 => "cell-http".to_owned(),
        2 => "cell-markdown".to_owned(),
        _ => format!("cell-{index}"),
    }
}
