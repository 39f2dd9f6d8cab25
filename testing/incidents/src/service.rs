//! The services of the application. Every call carries a [`Ticket`], which says what the handlers on its way do.

#![expect(
    unreachable_pub,
    reason = "#[roam::service] generates public functions beside each trait"
)]

use facet::Facet;
use roam::session::Caller;
use roam::{Rx, Tx};
use serde::{Deserialize, Serialize};

/// First argument of every call.
#[derive(Debug, Clone, Default, Facet, Serialize, Deserialize)]
#[serde(default)]
pub struct Ticket {
    /// Names the call in the logs of both ends; every hop has one of its own.
    pub tag: u64,
    /// Which catalog is asked, 1 or 2; 0 for either.
    pub catalog: u8,
    /// Which connections of pools some methods take.
    pub pins: Vec<Pin>,
    /// What handlers do besides their work.
    pub plan: Vec<Step>,
    /// Makes the request long.
    pub padding: Vec<u8>,
}

/// A method that takes one connection of its pool.
#[derive(Debug, Clone, Copy, Facet, Serialize, Deserialize)]
pub struct Pin {
    pub method: Method,
    /// Counted from 1.
    pub link: u32,
}

/// What the handler of a method does before its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Facet, Serialize, Deserialize)]
pub struct Step {
    pub at: Method,
    pub behavior: Behavior,
}

/// What a handler does. Locks and permits are kept until it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Facet, Serialize, Deserialize)]
#[repr(u8)]
#[serde(rename_all = "snake_case")]
pub enum Behavior {
    /// Never answers.
    Hang,
    Panic,
    /// Takes the lock of the process.
    Lock,
    /// Takes one of eight permits of the process.
    Permit,
    /// Takes one of four connections of a pool and never gives it back.
    Leak,
    /// Waits until the gate of the process opens.
    Gate,
    /// Waits that many milliseconds.
    Sleep(u32),
    /// The same in a blocking task, as for a disk.
    Disk(u32),
    /// Calls that method, and waits for the response.
    Call(Method),
    /// Drops the calls that it makes after that many milliseconds.
    GiveUpAfter(u32),
    /// Closes the channel that it writes, and never answers.
    CloseChannel,
    /// Reads no more of its channel.
    StopReading,
}

macro_rules! methods {
    ($($method:ident = $client:ident.$name:ident, $service:literal, $server:literal;)*) => {
        /// The methods whose only argument is a ticket, and those with a channel.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Facet, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Method {
            $($method,)*
            CatalogExport,
            CatalogImport,
            NotifierWatch,
        }

        impl Method {
            /// As a dump shows it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$method => concat!($service, ".", stringify!($name)),)*
                    Self::CatalogExport => "Catalog.export",
                    Self::CatalogImport => "Catalog.import",
                    Self::NotifierWatch => "Notifier.watch",
                }
            }

            /// The process that serves it; `catalog` stands for either of two.
            pub fn server(self) -> &'static str {
                match self {
                    $(Self::$method => $server,)*
                    Self::CatalogExport | Self::CatalogImport => "catalog",
                    Self::NotifierWatch => "notifier",
                }
            }
        }

        /// Calls a method without channels.
        pub async fn invoke(
            caller: impl Caller,
            method: Method,
            ticket: Ticket,
        ) -> Result<u64, String> {
            match method {
                $(Method::$method => $client::new(caller)
                    .$name(ticket)
                    .await
                    .map_err(|error| format!("{error:?}")),)*
                _ => Err("a method with a channel".to_owned()),
            }
        }
    };
}

methods! {
    GatewayPage = GatewayClient.page, "Gateway", "gateway";
    GatewayOrder = GatewayClient.order, "Gateway", "gateway";
    GatewayStatus = GatewayClient.status, "Gateway", "gateway";
    GatewayArchive = GatewayClient.archive, "Gateway", "gateway";
    GatewayFan = GatewayClient.fan, "Gateway", "gateway";
    GatewayPrice = GatewayClient.price, "Gateway", "gateway";
    GatewayExport = GatewayClient.export, "Gateway", "gateway";
    GatewayUpload = GatewayClient.upload, "Gateway", "gateway";
    GatewaySubscribe = GatewayClient.subscribe, "Gateway", "gateway";
    SessionRenew = SessionClient.renew, "Session", "gateway";
    AuthCheck = AuthClient.check, "Auth", "auth";
    AuthRefresh = AuthClient.refresh, "Auth", "auth";
    CatalogFind = CatalogClient.find, "Catalog", "catalog";
    CatalogItem = CatalogClient.item, "Catalog", "catalog";
    CatalogPrice = CatalogClient.price, "Catalog", "catalog";
    ArchiveFetch = ArchiveClient.fetch, "Archive", "proxy";
    OrdersPlace = OrdersClient.place, "Orders", "orders";
    OrdersStatus = OrdersClient.status, "Orders", "orders";
    OrdersAudit = OrdersClient.audit, "Orders", "orders";
    DbGet = DbClient.get, "Db", "db";
    DbPut = DbClient.put, "Db", "db";
    NotifierPoll = NotifierClient.poll, "Notifier", "notifier";
    NotifierPublish = NotifierClient.publish, "Notifier", "notifier";
}

/// What the outside calls.
#[roam::service]
pub trait Gateway {
    async fn page(&self, ticket: Ticket) -> u64;
    async fn order(&self, ticket: Ticket) -> u64;
    async fn status(&self, ticket: Ticket) -> u64;
    async fn archive(&self, ticket: Ticket) -> u64;
    async fn fan(&self, ticket: Ticket) -> u64;
    async fn price(&self, ticket: Ticket) -> u64;
    async fn export(&self, ticket: Ticket) -> u64;
    async fn upload(&self, ticket: Ticket) -> u64;
    async fn subscribe(&self, ticket: Ticket) -> u64;
}

/// What catalogs ask the gateway, over the connections that it opened.
#[roam::service]
pub trait Session {
    async fn renew(&self, ticket: Ticket) -> u64;
}

#[roam::service]
pub trait Auth {
    async fn check(&self, ticket: Ticket) -> u64;
    async fn refresh(&self, ticket: Ticket) -> u64;
}

#[roam::service]
pub trait Catalog {
    async fn find(&self, ticket: Ticket) -> u64;
    async fn item(&self, ticket: Ticket) -> u64;
    async fn price(&self, ticket: Ticket) -> u64;
    /// Writes the items of the catalog.
    async fn export(&self, ticket: Ticket, items: Tx<Vec<u8>>) -> u64;
    /// Reads items until the caller closes.
    async fn import(&self, ticket: Ticket, items: Rx<Vec<u8>>) -> u64;
}

/// Old pages, served by catalog-1 behind the proxy.
#[roam::service]
pub trait Archive {
    async fn fetch(&self, ticket: Ticket) -> u64;
}

#[roam::service]
pub trait Orders {
    async fn place(&self, ticket: Ticket) -> u64;
    async fn status(&self, ticket: Ticket) -> u64;
    /// What orders calls over a connection to itself.
    async fn audit(&self, ticket: Ticket) -> u64;
}

#[roam::service]
pub trait Db {
    async fn get(&self, ticket: Ticket) -> u64;
    async fn put(&self, ticket: Ticket) -> u64;
}

#[roam::service]
pub trait Notifier {
    /// A long poll.
    async fn poll(&self, ticket: Ticket) -> u64;
    async fn publish(&self, ticket: Ticket) -> u64;
    /// Writes an event now and then.
    async fn watch(&self, ticket: Ticket, events: Tx<u64>) -> u64;
}

/// Makes every method's name known to this process: a proxy needs no ids, and would show them.
pub fn register_names() {
    GatewayDispatcher::<()>::method_ids();
    SessionDispatcher::<()>::method_ids();
    AuthDispatcher::<()>::method_ids();
    CatalogDispatcher::<()>::method_ids();
    ArchiveDispatcher::<()>::method_ids();
    OrdersDispatcher::<()>::method_ids();
    DbDispatcher::<()>::method_ids();
    NotifierDispatcher::<()>::method_ids();
}
