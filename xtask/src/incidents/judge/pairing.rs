//! The socket of a connection and the process at its other end.

use std::fs;

use serde_json::Value;

use super::json::number;
use crate::incidents::scene::{Connection, Scene};

/// What is true of a connection where its row says something else.
pub(super) fn untrue(scene: &Scene, pid: u32, row: &Value, truth: &Connection) -> Vec<String> {
    let (socket, peer) = (&row["socket"], &row["peer"]);
    let mut untrue = Vec::new();
    if !peer.is_null() && number(&peer["pid"]) != truth.peer_pid {
        let [named, peer] = [number(&peer["pid"]), truth.peer_pid].map(|pid| scene.name(pid));
        untrue.push(format!("its peer is {peer} and not {named}"));
    }
    if socket.is_null() {
        return untrue;
    }
    if socket["descriptor"] != truth.descriptor {
        untrue.push(format!("its descriptor is {}", truth.descriptor));
    }
    for (key, address) in ["local", "remote"].iter().zip(&truth.addresses) {
        // Of a pair of unix sockets only one end has a name; which, the ends need not say.
        if let (Some(named), Some(address)) = (socket[key].as_str(), address)
            && named != address
        {
            untrue.push(format!("its {key} address is {address} and not {named}"));
        }
    }
    let link = fs::read_link(format!("/proc/{pid}/fd/{}", truth.descriptor));
    let own = format!("socket:[{}]", truth.inode);
    if truth.is_open && link.is_ok_and(|link| link.as_os_str() != own.as_str()) {
        untrue.push("its log contradicts /proc".to_owned());
    }
    untrue
}
