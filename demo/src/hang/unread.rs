//! A caller that makes a call and never polls for its response.

use anyhow::{Result, ensure};

use super::stuck::Stuck;
use crate::control::Order;
use crate::expect::{Direction, Phase};
use crate::host::Host;
use crate::serve::outgoing;
use crate::service::{Behavior, ContentServiceClient, method};
use crate::traffic::poll_once;

pub(super) async fn start(host: &Host) -> Result<Stuck> {
    let cell = &host.cells[0];
    let ticket = host.witness.ticket(Behavior::Hold);
    let mut call = outgoing(
        &host.witness,
        &cell.name,
        method::COMPILE,
        ticket,
        Phase::Responded,
    );
    let client = ContentServiceClient::new(cell.handle.clone());
    let witness = host.witness.clone();
    let mut caller = Box::pin(async move {
        let call = witness.call(method::COMPILE, ticket, |ticket| {
            client.compile(ticket, "/guide".to_owned())
        });
        let _ = call.await;
    });
    ensure!(
        poll_once(&mut caller).await.is_pending(),
        "a call that is held was answered"
    );
    let (handler, _) = cell.stuck(Direction::Incoming, method::COMPILE).await?;
    call.request_id = handler.request_id;
    cell.order(&Order::Release)?;
    Ok(Stuck {
        requests: vec![call],
        held: vec![Box::new(caller)],
        ..Stuck::default()
    })
}
