//! Prints method ids. They are hashes over the types of a method, channels among them.

use facet::Facet;
use roam::{Rx, Tunnel, Tx};

use crate::service::{control_service_detail, peer_service_detail};

/// Channels below other types, on either side of a method.
#[derive(Facet)]
pub struct Bundle {
    pub inputs: Vec<Rx<String>>,
    pub output: Option<Tx<Vec<u8>>>,
    pub inner: Inner,
}

#[derive(Facet)]
pub struct Inner {
    pub tunnel: Tunnel,
    pub pair: (Tx<u8>, Rx<u8>),
}

#[derive(Facet)]
#[repr(u8)]
#[expect(dead_code, reason = "only its shape matters")]
pub enum Choice {
    Nothing = 0,
    Stream(Rx<u64>) = 1,
    Named { output: Tx<Option<String>> } = 2,
}

/// Never called: only its ids matter. Each pair differs in one type, so that its ids must differ.
#[roam::service]
pub trait Channels {
    async fn tx(&self, output: Tx<u32>);
    async fn rx(&self, input: Rx<u32>);
    async fn tx_of_list(&self, output: Tx<Vec<u32>>);
    async fn optional(&self, output: Option<Tx<u32>>);
    async fn list(&self, outputs: Vec<Tx<u32>>);
    async fn list_of_options(&self, outputs: Vec<Option<Rx<u32>>>);
    async fn nested(&self, bundle: Bundle);
    async fn choice(&self, choice: Choice);
    async fn tunnel(&self, tunnel: Tunnel);
    async fn returns(&self) -> Rx<u32>;
    async fn returns_or_fails(&self, name: String) -> Result<Rx<u32>, String>;
    async fn returns_bundle(&self) -> Bundle;
    async fn both(&self, count: u32, input: Rx<String>, output: Tx<(u8, String)>) -> Vec<Rx<u8>>;
}

/// One line per method: id and name.
pub fn print() {
    for service in [
        channels_service_detail(),
        peer_service_detail(),
        control_service_detail(),
    ] {
        for method in &service.methods {
            let id = roam::hash::method_id_from_detail(method);
            println!("{id:016x} {}.{}", service.name, method.method_name);
        }
    }
    // Where the macro registers a name, the session must find it again.
    let id = channels_method_id::nested();
    println!(
        "{id:016x} {:?}",
        roam_session::diagnostic::get_method_name(id)
    );
}
