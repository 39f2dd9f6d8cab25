//! The shared-memory hub that cells attach to instead of a socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use roam::session::ConnectionHandle;
use roam_shm::driver::{MultiPeerHostDriverHandle, establish_multi_peer_host};
use roam_shm::{
    AddPeerOptions, SegmentConfig, ShmDiagnosticView, ShmDiagnostics, ShmHost, SpawnTicket,
};
use tokio::time::{Instant, sleep};

use crate::diagnostics;
use crate::log::Witness;
use crate::serve::HostServices;
use crate::service::AssetsDispatcher;

/// Pause between two checks of a condition.
pub(crate) const POLL: Duration = Duration::from_millis(5);
/// How long a condition may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// The host's end of a hub, whose driver runs.
pub(crate) struct Hub {
    control: MultiPeerHostDriverHandle,
    view: ShmDiagnosticView,
}

impl Hub {
    /// Makes a hub; `failed` is told if its driver ends.
    pub(crate) fn start(
        path: &Path,
        failed: impl Fn(anyhow::Error) + Send + 'static,
    ) -> Result<Self> {
        let host = ShmHost::create(path, SegmentConfig::default())
            .with_context(|| format!("cannot make a hub at {}", path.display()))?;
        let view = ShmDiagnosticView::from_host(&host);
        let nobody: [(_, AssetsDispatcher<HostServices>); 0] = [];
        let (driver, _, _, control) = establish_multi_peer_host(host, nobody);
        tokio::spawn(async move {
            let result = driver.run().await;
            failed(anyhow!("the driver of the hub ended: {result:?}"));
        });
        Ok(Self { control, view })
    }

    /// What a cell needs to attach.
    pub(crate) async fn ticket(&self, name: &str) -> Result<SpawnTicket> {
        let options = AddPeerOptions {
            peer_name: Some(name.to_owned()),
            ..AddPeerOptions::default()
        };
        let ticket = self.control.create_peer(options).await;
        ticket.with_context(|| format!("the hub has no place for {name}"))
    }

    /// The link to a cell that has attached.
    pub(crate) async fn link(
        &self,
        ticket: &SpawnTicket,
        name: &str,
        witness: &Arc<Witness>,
    ) -> Result<ConnectionHandle> {
        let services = AssetsDispatcher::new(HostServices {
            witness: witness.clone(),
        });
        let added = self.control.add_peer(ticket.peer_id, services).await;
        let (handle, _no_virtual_connections) =
            added.with_context(|| format!("cannot add {name} to the hub"))?;
        diagnostics::name_connection(&handle, name);
        Ok(handle)
    }

    /// Waits until the hub is as expected.
    pub(crate) async fn wait_until(
        &self,
        what: &str,
        is_reached: impl Fn(&ShmDiagnostics) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !is_reached(&self.view.diagnostics()) {
            ensure!(Instant::now() < deadline, "{what} in {DEADLINE:?}");
            sleep(POLL).await;
        }
        Ok(())
    }
}
