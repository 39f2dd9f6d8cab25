//! The services of host and cells, and their method names in a dump.
//!
//! Every call carries a [`Ticket`] as its first argument and not as metadata,
//! since a forwarding proxy passes arguments on and drops metadata.

#![expect(
    missing_docs,
    reason = "#[roam::service] generates undocumented functions beside each trait"
)]

use facet::Facet;
use roam::{Rx, Tx};

/// First argument of every call: its tag, and how its handler behaves.
#[derive(Debug, Clone, Copy, Facet)]
pub struct Ticket {
    /// Unique over all processes of one demo; both ends log it.
    pub tag: u64,
    /// What the handler does.
    pub behavior: Behavior,
}

/// What a handler does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Facet)]
#[repr(u8)]
pub enum Behavior {
    /// Answer within a few milliseconds.
    Answer,
    /// Report that it runs, and never answer.
    Stall,
    /// Ask the next cell, with a call that stalls there.
    Relay,
    /// Report that it runs, and answer when the host says so.
    Hold,
    /// Report that it runs, and panic.
    Panic,
    /// Take the cell's lock, report that it runs, and when the host says so ask the next cell, with a call
    /// that needs the lock of that one.
    Lock,
    /// Report that it runs, and take the cell's lock before it answers.
    NeedLock,
}

/// Why a page could not be compiled.
#[derive(Debug, Clone, Facet)]
#[repr(u8)]
pub enum ContentError {
    /// There is no such page.
    NotFound,
}

/// Pages, served by every cell.
#[roam::service]
pub trait ContentService {
    /// The file a route is served from.
    async fn find_content(&self, ticket: Ticket, route: String) -> String;
    /// The compiled page.
    async fn compile(&self, ticket: Ticket, route: String) -> Result<Vec<u8>, ContentError>;
    /// Waits for a change that never comes; `watchers` is how many calls the cell is to expect.
    async fn watch(&self, ticket: Ticket, watchers: u32) -> u64;
}

/// Markdown, served by every cell.
#[roam::service]
pub trait Markdown {
    /// The HTML of a text.
    async fn convert(&self, ticket: Ticket, source: String) -> String;
}

/// Streams, served by every cell.
#[roam::service]
pub trait TcpTunnel {
    /// Sends every chunk back until the caller closes, and says how many bytes there were.
    async fn open(&self, ticket: Ticket, outbound: Tx<Vec<u8>>, inbound: Rx<Vec<u8>>) -> u64;
    /// Counts what it reads.
    async fn upload(&self, ticket: Ticket, items: Rx<u8>) -> u64;
}

/// The archive, which only a cell behind a proxy serves.
#[roam::service]
pub trait Archive {
    /// An old version of a page.
    async fn fetch(&self, ticket: Ticket, route: String) -> Vec<u8>;
}

/// Assets, which the host serves to its cells.
#[roam::service]
pub trait Assets {
    /// The path of an asset.
    async fn resolve(&self, ticket: Ticket, name: String) -> String;
}

/// Method names as a dump shows them.
pub mod method {
    pub const FIND_CONTENT: &str = "ContentService.find_content";
    pub const COMPILE: &str = "ContentService.compile";
    pub const WATCH: &str = "ContentService.watch";
    pub const CONVERT: &str = "Markdown.convert";
    pub const OPEN: &str = "TcpTunnel.open";
    pub const UPLOAD: &str = "TcpTunnel.upload";
    pub const FETCH: &str = "Archive.fetch";
    pub const RESOLVE: &str = "Assets.resolve";
}

/// Makes every method's name known to this process.
///
/// A name is registered when a client or a dispatcher first needs the method's
/// id; a proxy, which needs none, would have ids only.
pub fn register_names() {
    ContentServiceDispatcher::<()>::method_ids();
    MarkdownDispatcher::<()>::method_ids();
    TcpTunnelDispatcher::<()>::method_ids();
    ArchiveDispatcher::<()>::method_ids();
    AssetsDispatcher::<()>::method_ids();
}
