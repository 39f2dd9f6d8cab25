//! The victim: a real peer that a script is played to. It opens a link and makes the calls that the script
//! answers.

use std::sync::Arc;

use roam::channel;
use roam_session::{ConnectionError, ConnectionHandle, Role};
use roam_wire::Metadata;
use tokio::net::UnixStream;

use crate::host::Host;
use crate::link::Link;
use crate::service::{PeerClient, kind_of};
use crate::transcript::Transcript;

/// A real peer on a stream whose other end plays the script, and how its driver ended.
pub async fn run(host: Arc<Host>, script: &str, stream: UnixStream, role: Role) -> Vec<String> {
    let mut log = Transcript::default();
    match Link::open(host, stream, role).await {
        Ok(link) => {
            act(script, &link.handle, &mut log).await;
            log.note(
                "driver",
                link.driver.await.map(|end| end.map_err(name_rule)),
            );
        }
        Err(error) => log.note("handshake", name_rule(error)),
    }
    log.0
}

/// An error without what it says to people, which is every session's own.
fn name_rule(error: ConnectionError) -> ConnectionError {
    match error {
        ConnectionError::ProtocolViolation { rule_id, .. } => ConnectionError::ProtocolViolation {
            rule_id,
            context: String::new(),
        },
        other => other,
    }
}

/// What the victim does while the script plays.
async fn act(script: &str, handle: &ConnectionHandle, log: &mut Transcript) {
    let peer = PeerClient::new(handle.clone());
    match script {
        "caller-unary" => {
            log.note("ok", peer.echo("a".to_owned()).await);
            log.note("user error", peer.divide(1, 0).await);
            log.note("cancelled", peer.nothing().await);
            log.note("garbage", peer.add(1, 2).await);
            log.note("trailing bytes", peer.add(1, 2).await);
            log.note("unknown discriminant", peer.nothing().await);
            log.note("empty", peer.nothing().await);
        }
        "caller-channels" => {
            let (numbers, receiver) = channel::<i64>();
            let call = async { peer.sum(receiver).await };
            let sending = async {
                for number in [1, -1] {
                    numbers
                        .send(&number)
                        .await
                        .expect("the call drains this channel");
                }
                drop(numbers);
            };
            log.note("sum", tokio::join!(call, sending).0);
            let (output, mut items) = channel::<u32>();
            log.note("generate", peer.generate(2, output).await);
            log.note(
                "items",
                (items.recv().await, items.recv().await, items.recv().await),
            );
            log.note(
                "response channel",
                peer.subscribe(1).await.map(|items| items.channel_id()),
            );
        }
        "caller-virtual" => match handle.connect(kind_of("inherit"), None).await {
            Ok(connection) => {
                log.note("connected", connection.conn_id());
                let peer = PeerClient::new(connection.clone());
                log.note("echo", peer.echo("v".to_owned()).await);
                log.note("closed", peer.echo("w".to_owned()).await);
                log.note("afterwards", connection.call_raw(1, vec![]).await);
                let refused = handle.connect(Metadata::default(), None).await;
                log.note("refused", refused.map(|connection| connection.conn_id()));
            }
            Err(error) => log.note("connect", error),
        },
        "caller-goodbye" | "caller-hang-up" => {
            log.note("pending", peer.hold().await);
            log.note("afterwards", peer.echo("gone".to_owned()).await);
        }
        _ => {}
    }
}
