//! The handlers of all services: what the ticket orders, and then a little work and the calls that it takes.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rand::Rng;
use roam::session::{ChannelRegistry, ServiceDispatcher};
use roam::session::{ForwardingDispatcher, NoDispatcher};
use roam::{Context, Rx, Tx};
use tokio::time::{sleep, timeout};

use crate::app::{App, Target};
use crate::service::{
    Archive, ArchiveDispatcher, Auth, AuthDispatcher, Behavior, Catalog, CatalogClient,
    CatalogDispatcher, Db, DbDispatcher, Gateway, GatewayDispatcher, Method, Notifier,
    NotifierDispatcher, Orders, OrdersDispatcher, Session, SessionDispatcher, Ticket,
};
use crate::witness::{Call, Running};

/// Items that are more than the reader's buffer holds (1,024 in roam 0.6). Once a callee has written them, no more than
/// its driver's queue (256) is under way; of a caller's, as many again are in the writer's own buffer.
const OVERFLOW_OF_CALLEE: u32 = 1_200;
const OVERFLOW_OF_CALLER: u32 = 2_400;
/// Items of a channel otherwise.
const ITEMS: u32 = 20;
/// Items that a reader takes before it stops reading.
const STOPS_AFTER: u32 = 3;
/// Calls of a fan-out, planted and otherwise.
const FAN: u32 = 200;
const SMALL_FAN: u32 = 20;
/// Which call of a fan-out has the plan.
const STRAGGLER: u32 = 137;
/// Time between two events of a stream.
const EVENT_EVERY: Duration = Duration::from_millis(300);

/// The services of one process, for one connection.
#[derive(Clone)]
pub(crate) struct Services(Arc<[Box<dyn ServiceDispatcher>]>);

impl ServiceDispatcher for Services {
    fn method_ids(&self) -> Vec<u64> {
        self.0
            .iter()
            .flat_map(|service| service.method_ids())
            .collect()
    }

    fn dispatch(
        &self,
        cx: &Context,
        payload: Vec<u8>,
        registry: &mut ChannelRegistry,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        let id = cx.method_id.raw();
        let service = self.0.iter().find(|service| {
            let ids = service.method_ids();
            // A forwarder has none, and takes every request.
            ids.is_empty() || ids.contains(&id)
        });
        match service {
            Some(service) => service.dispatch(cx, payload, registry),
            None => NoDispatcher.dispatch(cx, payload, registry),
        }
    }
}

/// What a process serves over a connection.
pub(crate) fn services(app: &Arc<App>, connection: &Arc<str>) -> Services {
    let handlers = Handlers {
        app: app.clone(),
        connection: connection.clone(),
    };
    let services: Vec<Box<dyn ServiceDispatcher>> = match app.node.name.as_str() {
        "gateway" => vec![
            Box::new(GatewayDispatcher::new(handlers.clone())),
            Box::new(SessionDispatcher::new(handlers)),
        ],
        "auth" => vec![Box::new(AuthDispatcher::new(handlers))],
        "catalog-1" | "catalog-2" => vec![
            Box::new(CatalogDispatcher::new(handlers.clone())),
            Box::new(ArchiveDispatcher::new(handlers)),
        ],
        "orders" => vec![Box::new(OrdersDispatcher::new(handlers))],
        "db" => vec![Box::new(DbDispatcher::new(handlers))],
        "notifier" => vec![Box::new(NotifierDispatcher::new(handlers))],
        "proxy" => {
            let upstream = app.link(
                Method::CatalogFind,
                &Ticket {
                    catalog: 1,
                    ..Ticket::default()
                },
            );
            match upstream.map(|link| link.target) {
                Ok(Target::Once(_, handle)) => vec![Box::new(ForwardingDispatcher::new(handle))],
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    };
    Services(services.into())
}

#[derive(Clone)]
struct Handlers {
    app: Arc<App>,
    connection: Arc<str>,
}

/// What a handler keeps until it returns.
type Held = Vec<Box<dyn Any + Send>>;

impl Handlers {
    fn enter(&self, cx: &Context, method: Method, ticket: &Ticket) -> Running<'_> {
        self.app.node.witness.start(Call {
            tag: ticket.tag,
            incoming: true,
            method: method.name(),
            connection: self.connection.to_string(),
            request_id: Some(cx.request_id().raw()),
            parent: 0,
        })
    }

    /// A handler whose method has no channels.
    async fn handle(&self, cx: &Context, method: Method, ticket: Ticket) -> u64 {
        let running = self.enter(cx, method, &ticket);
        let held = self.follow(method, &ticket).await;
        // That a call failed is no affair of whoever waits for this one: it gets its answer.
        let result = self.work(method, &ticket).await;
        drop(held);
        running.answered();
        result.unwrap_or(0)
    }

    /// Does what the ticket orders of this method.
    async fn follow(&self, method: Method, ticket: &Ticket) -> Held {
        let app = &self.app;
        let mut held: Held = Vec::new();
        for step in ticket.plan.iter().filter(|step| step.at == method) {
            app.reached(method, step.behavior);
            match step.behavior {
                Behavior::Hang => std::future::pending().await,
                Behavior::Panic => panic!("asked to panic"),
                Behavior::Lock => held.push(Box::new(app.lock.clone().lock_owned().await)),
                Behavior::Permit => {
                    if let Ok(permit) = app.permits.clone().acquire_owned().await {
                        held.push(Box::new(permit));
                    }
                }
                Behavior::Leak => {
                    if let Ok(permit) = app.pool.acquire().await {
                        permit.forget();
                    }
                }
                Behavior::Gate => {
                    // The sender lives in what the handler borrows.
                    let _ = app.gate.subscribe().wait_for(|open| *open).await;
                }
                Behavior::Sleep(ms) => sleep(Duration::from_millis(ms.into())).await,
                Behavior::Disk(ms) => {
                    let disk = move || std::thread::sleep(Duration::from_millis(ms.into()));
                    let _ = tokio::task::spawn_blocking(disk).await;
                }
                Behavior::Call(method) => {
                    let _ = app.call(method, ticket).await;
                }
                Behavior::GiveUpAfter(_) | Behavior::CloseChannel | Behavior::StopReading => {}
            }
        }
        held
    }

    async fn work(&self, method: Method, ticket: &Ticket) -> Result<u64, String> {
        let app = &self.app;
        small_work().await;
        match method {
            Method::GatewayPage => {
                app.call(Method::AuthCheck, ticket).await?;
                self.find(ticket).await
            }
            Method::GatewayOrder => app.call(Method::OrdersPlace, ticket).await,
            Method::GatewayStatus => app.call(Method::OrdersStatus, ticket).await,
            Method::GatewayArchive => app.call(Method::ArchiveFetch, ticket).await,
            Method::GatewayFan => self.fan(ticket).await,
            Method::GatewayPrice => {
                let call = app.call(Method::CatalogPrice, ticket);
                match patience(ticket) {
                    Some(limit) => timeout(limit, call).await.unwrap_or(Ok(0)),
                    None => call.await,
                }
            }
            Method::GatewayExport => self.read_export(ticket).await,
            Method::GatewayUpload => self.write_import(ticket).await,
            Method::GatewaySubscribe => app.call(Method::NotifierPoll, ticket).await,
            Method::AuthCheck if ticket.tag.is_multiple_of(4) => {
                app.call(Method::DbGet, ticket).await
            }
            Method::AuthRefresh => app.call(Method::DbGet, ticket).await,
            Method::CatalogFind => app.call(Method::DbGet, ticket).await,
            Method::OrdersPlace => {
                app.call(Method::AuthCheck, ticket).await?;
                if ticket.tag.is_multiple_of(4) {
                    app.call(Method::OrdersAudit, ticket).await?;
                }
                app.call(Method::DbPut, ticket).await
            }
            Method::OrdersStatus => app.call(Method::DbGet, ticket).await,
            _ => Ok(1),
        }
    }

    /// Asks a catalog: by a task of its own, or both at once, or plainly.
    async fn find(&self, ticket: &Ticket) -> Result<u64, String> {
        let app = &self.app;
        match ticket.tag % 8 {
            0 if ticket.catalog == 0 => {
                let ask = |catalog| {
                    let ticket = Ticket {
                        catalog,
                        ..ticket.clone()
                    };
                    async move { app.call(Method::CatalogFind, &ticket).await }
                };
                tokio::select! {
                    first = ask(1) => first,
                    second = ask(2) => second,
                }
            }
            1 | 2 => {
                let (app, ticket) = (app.clone(), ticket.clone());
                let task = async move { app.call(Method::CatalogFind, &ticket).await };
                tokio::spawn(task)
                    .await
                    .map_err(|error| error.to_string())?
            }
            _ => app.call(Method::CatalogFind, ticket).await,
        }
    }

    /// One call of many has the plan.
    async fn fan(&self, ticket: &Ticket) -> Result<u64, String> {
        let count = if ticket.plan.is_empty() {
            SMALL_FAN
        } else {
            FAN
        };
        let calls = (0..count).map(|index| {
            let mut ticket = ticket.clone();
            if index != STRAGGLER {
                ticket.plan.clear();
                ticket.catalog = 1 + (index % 2) as u8;
            }
            async move { self.app.call(Method::CatalogItem, &ticket).await }
        });
        join_all(calls).await.into_iter().sum()
    }

    async fn read_export(&self, ticket: &Ticket) -> Result<u64, String> {
        let (items, mut read) = channel().await?;
        let call = self
            .app
            .call_over(Method::CatalogExport, ticket, |handle, ticket| async move {
                let export = CatalogClient::new(handle).export(ticket, items);
                export.await.map_err(|error| format!("{error:?}"))
            });
        let read = self.read(Method::GatewayExport, ticket, &mut read);
        tokio::join!(call, read).0
    }

    async fn write_import(&self, ticket: &Ticket) -> Result<u64, String> {
        let (write, items) = channel().await?;
        let call = self
            .app
            .call_over(Method::CatalogImport, ticket, |handle, ticket| async move {
                let import = CatalogClient::new(handle).import(ticket, items);
                import.await.map_err(|error| format!("{error:?}"))
            });
        let write = self.write(Method::CatalogImport, ticket, write);
        tokio::join!(call, write).0
    }

    /// Reads items until their writer closes, or some of them where the ticket says so.
    async fn read(&self, method: Method, ticket: &Ticket, items: &mut Rx<Vec<u8>>) -> u32 {
        let stops = is_at(ticket, method, Behavior::StopReading);
        let mut count = 0;
        while let Ok(Some(_)) = items.recv().await {
            count += 1;
            if stops && count == STOPS_AFTER {
                self.app.reached(method, Behavior::StopReading);
                std::future::pending::<()>().await;
            }
        }
        count
    }

    /// Writes items, and more than the channel holds if its reader stops.
    async fn write(&self, reader: Method, ticket: &Ticket, items: Tx<Vec<u8>>) {
        let stalls = [Behavior::StopReading, Behavior::Gate];
        let overflows = stalls.iter().any(|&stall| is_at(ticket, reader, stall));
        let count = match (overflows, reader) {
            (false, _) => ITEMS,
            (true, Method::CatalogImport) => OVERFLOW_OF_CALLER,
            (true, _) => OVERFLOW_OF_CALLEE,
        };
        for _ in 0..count {
            // The reader may have gone; that is its own affair.
            let _ = items.send(&vec![0; 8]).await;
        }
        if overflows {
            self.app.report(&crate::control::Report::Filled);
        }
    }
}

fn is_at(ticket: &Ticket, method: Method, behavior: Behavior) -> bool {
    let mut steps = ticket.plan.iter();
    steps.any(|step| step.at == method && step.behavior == behavior)
}

fn patience(ticket: &Ticket) -> Option<Duration> {
    ticket.plan.iter().find_map(|step| match step.behavior {
        Behavior::GiveUpAfter(ms) => Some(Duration::from_millis(ms.into())),
        _ => None,
    })
}

/// A channel to pass in a call. One that a handler makes itself belongs to the connection of the handler's caller.
async fn channel() -> Result<(Tx<Vec<u8>>, Rx<Vec<u8>>), String> {
    let made = tokio::spawn(async { roam::channel() }).await;
    made.map_err(|error| error.to_string())
}

/// What every handler does before it answers.
async fn small_work() {
    let work = rand::rng().random_range(0..4);
    sleep(Duration::from_millis(work)).await;
}

macro_rules! serve {
    ($service:ident: $($name:ident = $method:ident),*) => {
        impl $service for Handlers {
            $(async fn $name(&self, cx: &Context, ticket: Ticket) -> u64 {
                self.handle(cx, Method::$method, ticket).await
            })*
        }
    };
}

serve!(Gateway: page = GatewayPage, order = GatewayOrder, status = GatewayStatus,
    archive = GatewayArchive, fan = GatewayFan, price = GatewayPrice, export = GatewayExport,
    upload = GatewayUpload, subscribe = GatewaySubscribe);
serve!(Session: renew = SessionRenew);
serve!(Auth: check = AuthCheck, refresh = AuthRefresh);
serve!(Archive: fetch = ArchiveFetch);
serve!(Orders: place = OrdersPlace, status = OrdersStatus, audit = OrdersAudit);
serve!(Db: get = DbGet, put = DbPut);

impl Catalog for Handlers {
    async fn find(&self, cx: &Context, ticket: Ticket) -> u64 {
        self.handle(cx, Method::CatalogFind, ticket).await
    }

    async fn item(&self, cx: &Context, ticket: Ticket) -> u64 {
        self.handle(cx, Method::CatalogItem, ticket).await
    }

    async fn price(&self, cx: &Context, ticket: Ticket) -> u64 {
        self.handle(cx, Method::CatalogPrice, ticket).await
    }

    async fn export(&self, cx: &Context, ticket: Ticket, items: Tx<Vec<u8>>) -> u64 {
        let running = self.enter(cx, Method::CatalogExport, &ticket);
        let _held = self.follow(Method::CatalogExport, &ticket).await;
        self.write(Method::GatewayExport, &ticket, items).await;
        if is_at(&ticket, Method::CatalogExport, Behavior::CloseChannel) {
            std::future::pending::<()>().await;
        }
        running.answered();
        1
    }

    async fn import(&self, cx: &Context, ticket: Ticket, mut items: Rx<Vec<u8>>) -> u64 {
        let running = self.enter(cx, Method::CatalogImport, &ticket);
        let _held = self.follow(Method::CatalogImport, &ticket).await;
        let count = self.read(Method::CatalogImport, &ticket, &mut items).await;
        running.answered();
        count.into()
    }
}

impl Notifier for Handlers {
    async fn poll(&self, cx: &Context, ticket: Ticket) -> u64 {
        self.handle(cx, Method::NotifierPoll, ticket).await
    }

    async fn publish(&self, cx: &Context, ticket: Ticket) -> u64 {
        self.handle(cx, Method::NotifierPublish, ticket).await
    }

    async fn watch(&self, cx: &Context, ticket: Ticket, events: Tx<u64>) -> u64 {
        let running = self.enter(cx, Method::NotifierWatch, &ticket);
        let write = async {
            for event in 0.. {
                let _ = events.send(&event).await;
                sleep(EVENT_EVERY).await;
            }
        };
        tokio::select! {
            _ = self.follow(Method::NotifierWatch, &ticket) => {}
            () = write => {}
        }
        running.answered();
        1
    }
}
