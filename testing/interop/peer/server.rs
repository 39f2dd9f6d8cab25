//! The serving process: accepts ordinary links and the links of victims.

use std::sync::Arc;

use roam_session::Role;
use tokio::net::UnixListener;

use crate::host::Host;
use crate::link::Link;
use crate::victim;

/// Serves the ordinary and the victim socket for ever.
pub async fn serve(host: Arc<Host>) -> std::io::Result<()> {
    let ordinary = UnixListener::bind(host.socket(""))?;
    let victims = UnixListener::bind(host.socket(".victim"))?;
    println!("ready");
    loop {
        tokio::select! {
            stream = ordinary.accept() => {
                let (stream, host) = (stream?.0, host.clone());
                tokio::spawn(async move { Link::open(host, stream, Role::Acceptor).await });
            }
            stream = victims.accept() => {
                let script = host.take_armed();
                let (stream, host) = (stream?.0, host.clone());
                tokio::spawn(async move {
                    let seen = victim::run(host.clone(), &script, stream, Role::Acceptor).await;
                    host.results.put(seen);
                });
            }
        }
    }
}
