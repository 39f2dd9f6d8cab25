//! The incidents as data: how each is planted, how one knows that it has taken effect, and what is true then.

use serde::Serialize;

use crate::control::{Order, Report};
use crate::service::{Behavior, Method, Pin, Step, Ticket};

use Behavior::{
    Call, CloseChannel, Disk, Gate, GiveUpAfter, Hang, Leak, Lock, Panic, Permit, Sleep,
    StopReading,
};

/// Methods whose calls are long by nature.
pub(crate) const USUAL: [&str; 3] = ["Notifier.poll", "Notifier.watch", "Gateway.subscribe"];

#[derive(Serialize)]
pub(crate) struct Incident {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// The condition that makes it hardest to see.
    pub(crate) worst: Condition,
    /// Done in this order.
    #[serde(skip)]
    pub(crate) plant: Vec<Act>,
    pub(crate) truth: Truth,
}

/// What goes on besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Condition {
    Quiet,
    LoadedLongpolls,
}

pub(crate) enum Act {
    /// A process gets an order.
    Order(&'static str, Order),
    /// A process is to report that, so many times.
    Await(&'static str, Report, u32),
    /// A process is stopped by a signal.
    Stop(&'static str),
    Kill(&'static str),
}

/// What is true once an incident has taken effect. Whatever a dump says besides is false.
#[derive(Default, Serialize)]
pub(crate) struct Truth {
    /// What may stand first.
    pub(crate) roots: Vec<Root>,
    /// Processes without a worker that runs.
    pub(crate) blocked: Vec<&'static str>,
    /// Connections whose driver does not run: process and name.
    pub(crate) blocked_links: Vec<(&'static str, &'static str)>,
    /// Processes whose driver waits for room in a channel, and the method that does not read it.
    pub(crate) full: Vec<(&'static str, &'static str)>,
    /// Processes with a driver that waits for the transport.
    pub(crate) write_blocked: Vec<&'static str>,
    /// Processes that have lost links and connect anew.
    pub(crate) retrying: Vec<&'static str>,
    /// Processes that wait for each other.
    pub(crate) deadlock: Vec<&'static str>,
    /// Processes with channels whose writer is gone.
    pub(crate) writer_gone: Vec<&'static str>,
    /// Processes with few descriptors left.
    pub(crate) descriptors: Vec<&'static str>,
}

/// What a root may be.
#[derive(Default, Serialize)]
pub(crate) struct Root {
    pub(crate) process: &'static str,
    /// Of a call or a handler; any if empty.
    pub(crate) methods: Vec<&'static str>,
    /// `call`, `handler`, `driver` or `process`; any if empty.
    pub(crate) nodes: Vec<&'static str>,
}

fn handler(process: &'static str, method: &'static str) -> Root {
    Root {
        process,
        methods: vec![method],
        nodes: vec!["handler"],
    }
}

/// A process or one of its drivers.
fn process(process: &'static str) -> Root {
    Root {
        process,
        nodes: vec!["process", "driver"],
        ..Root::default()
    }
}

/// Calls of a client, with what handlers on their way do.
fn calls(method: Method, count: u32, catalog: u8, plan: &[(Method, Behavior)]) -> Act {
    calls_of("client-1", method, count, ticket(catalog, plan))
}

fn calls_of(process: &'static str, method: Method, count: u32, ticket: Ticket) -> Act {
    let order = Order::Call {
        method,
        count,
        ticket,
    };
    Act::Order(process, order)
}

fn ticket(catalog: u8, plan: &[(Method, Behavior)]) -> Ticket {
    let steps = plan.iter().map(|&(at, behavior)| Step { at, behavior });
    Ticket {
        catalog,
        plan: steps.collect(),
        ..Ticket::default()
    }
}

fn pinned(ticket: Ticket, pins: &[(Method, u32)]) -> Ticket {
    let pins = pins.iter().map(|&(method, link)| Pin { method, link });
    Ticket {
        pins: pins.collect(),
        ..ticket
    }
}

fn reached(process: &'static str, method: Method, behavior: Behavior, count: u32) -> Act {
    Act::Await(process, Report::Reached { method, behavior }, count)
}

fn ended(method: Method, count: u32) -> Act {
    Act::Await("client-1", Report::Ended { method, ok: true }, count)
}

fn repeat(process: &'static str, method: Method, ticket: Ticket) -> Act {
    let order = Order::Repeat {
        method,
        pause_ms: 100,
        ticket,
    };
    Act::Order(process, order)
}

/// All incidents.
pub(crate) fn incidents() -> Vec<Incident> {
    let mut all = stopped_and_blocked();
    all.extend(handlers());
    all.extend(links());
    all
}

/// Processes that do not run.
fn stopped_and_blocked() -> Vec<Incident> {
    use Method::{
        CatalogFind, DbGet, GatewayOrder, GatewayPage, GatewayStatus, GatewaySubscribe,
        NotifierPoll,
    };
    let find_at_gate = [(CatalogFind, Gate)];
    vec![
        Incident {
            name: "gateway-blocked",
            about: "every worker of the gateway is blocked; catalog-1 has answered 20 calls",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(GatewayPage, 20, 1, &find_at_gate),
                reached("catalog-1", CatalogFind, Gate, 20),
                Act::Order("gateway", Order::BlockWorkers),
                Act::Await("gateway", Report::Blocked, 1),
                Act::Order("catalog-1", Order::OpenGate),
                calls(GatewayPage, 8, 0, &[]),
            ],
            truth: Truth {
                roots: vec![process("gateway")],
                blocked: vec!["gateway"],
                ..Truth::default()
            },
        },
        Incident {
            name: "catalog-stopped",
            about: "catalog-2 is stopped by a signal, with 8 handlers and 8 more calls",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(GatewayPage, 8, 2, &find_at_gate),
                reached("catalog-2", CatalogFind, Gate, 8),
                Act::Stop("catalog-2"),
                calls(GatewayPage, 8, 2, &[]),
            ],
            truth: Truth {
                roots: vec![process("catalog-2")],
                ..Truth::default()
            },
        },
        Incident {
            name: "other-user-stopped",
            about: "the notifier, a process of another user, is stopped",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(GatewaySubscribe, 3, 0, &[(NotifierPoll, Gate)]),
                reached("notifier", NotifierPoll, Gate, 3),
                Act::Stop("notifier"),
            ],
            truth: Truth {
                roots: vec![process("notifier")],
                ..Truth::default()
            },
        },
        Incident {
            name: "db-killed",
            about: "db is killed; every call that needs it fails and is made again",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                repeat("client-1", GatewayOrder, Ticket::default()),
                repeat("client-1", GatewayPage, Ticket::default()),
                Act::Kill("db"),
            ],
            truth: Truth {
                roots: ["db", "orders", "catalog-1", "catalog-2", "auth"]
                    .map(process)
                    .into(),
                retrying: vec!["orders", "catalog-1", "catalog-2", "auth"],
                ..Truth::default()
            },
        },
        Incident {
            name: "one-of-pool",
            about: "db drives one of the four connections from orders on a thread of its own, which is blocked",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                Act::Order("db", Order::BlockDedicated),
                Act::Await("db", Report::Blocked, 1),
                calls_of(
                    "client-1",
                    GatewayStatus,
                    3,
                    pinned(Ticket::default(), &[(DbGet, 4)]),
                ),
            ],
            truth: Truth {
                roots: vec![process("db")],
                blocked_links: vec![("db", "from orders/4")],
                ..Truth::default()
            },
        },
        Incident {
            name: "descriptors",
            about: "the gateway may open two more descriptors",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                Act::Order("gateway", Order::FillDescriptors { leave: 2 }),
                Act::Await(
                    "gateway",
                    Report::Descriptors {
                        open: 254,
                        limit: 256,
                    },
                    1,
                ),
            ],
            truth: Truth {
                roots: vec![process("gateway")],
                descriptors: vec!["gateway"],
                ..Truth::default()
            },
        },
    ]
}

/// Handlers that wait for something inside their process.
fn handlers() -> Vec<Incident> {
    use Method::{
        ArchiveFetch, AuthCheck, AuthRefresh, CatalogFind, CatalogItem, CatalogPrice, DbGet, DbPut,
        GatewayArchive, GatewayFan, GatewayOrder, GatewayPage, GatewayPrice, GatewayStatus,
        OrdersAudit, OrdersPlace, SessionRenew,
    };
    let root = |process, method| Truth {
        roots: vec![handler(process, method)],
        ..Truth::default()
    };
    vec![
        Incident {
            name: "handler-hangs",
            about: "one handler of catalog-2 never answers, beside healthy long polls",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(GatewayPrice, 1, 2, &[(CatalogPrice, Hang)]),
                reached("catalog-2", CatalogPrice, Hang, 1),
            ],
            truth: root("catalog-2", "Catalog.price"),
        },
        Incident {
            name: "chain",
            about: "a client waits for the gateway, that for orders, that for db, whose handler never answers",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(GatewayOrder, 2, 0, &[(DbPut, Hang)]),
                reached("db", DbPut, Hang, 2),
            ],
            truth: root("db", "Db.put"),
        },
        Incident {
            name: "db-lock",
            about: "a handler of db holds a lock, and 22 wait for it",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(GatewayStatus, 1, 0, &[(DbGet, Lock), (DbGet, Hang)]),
                reached("db", DbGet, Hang, 1),
                calls(GatewayStatus, 22, 0, &[(DbGet, Lock)]),
                reached("db", DbGet, Lock, 23),
            ],
            truth: root("db", "Db.get"),
        },
        Incident {
            name: "orders-lock",
            about: "a handler of orders holds a lock while its call to db hangs, and 22 wait for the lock",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(GatewayOrder, 1, 0, &[(OrdersPlace, Lock), (DbPut, Hang)]),
                reached("db", DbPut, Hang, 1),
                calls(GatewayOrder, 22, 0, &[(OrdersPlace, Lock)]),
                reached("orders", OrdersPlace, Lock, 23),
            ],
            truth: root("db", "Db.put"),
        },
        Incident {
            name: "overload",
            about: "2,000 calls of Orders.status queue for eight permits of db, and drain",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(
                    GatewayStatus,
                    2_000,
                    0,
                    &[(DbGet, Permit), (DbGet, Sleep(80))],
                ),
                reached("db", DbGet, Permit, 500),
            ],
            truth: root("db", "Db.get"),
        },
        Incident {
            name: "pool-exhausted",
            about: "four handlers of orders never gave their pooled resource back, and 30 wait for one",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(GatewayOrder, 4, 0, &[(OrdersPlace, Leak)]),
                ended(GatewayOrder, 4),
                calls(GatewayOrder, 30, 0, &[(OrdersPlace, Leak)]),
                reached("orders", OrdersPlace, Leak, 34),
            ],
            truth: root("orders", "Orders.place"),
        },
        Incident {
            name: "panic",
            about: "three handlers of catalog-1 panic: their callers get no answer",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(GatewayPage, 3, 1, &[(CatalogFind, Panic)]),
                reached("catalog-1", CatalogFind, Panic, 3),
            ],
            truth: root("catalog-1", "Catalog.find"),
        },
        Incident {
            name: "loopback",
            about: "orders calls itself over a TCP connection to itself, and that handler hangs",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(
                    GatewayOrder,
                    2,
                    0,
                    &[(OrdersPlace, Call(OrdersAudit)), (OrdersAudit, Hang)],
                ),
                reached("orders", OrdersAudit, Hang, 2),
            ],
            truth: root("orders", "Orders.audit"),
        },
        Incident {
            name: "deadlock",
            about: "orders and auth each hold a lock while they call the other, and each call needs the lock",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(
                    GatewayOrder,
                    1,
                    0,
                    &[(OrdersPlace, Lock), (OrdersPlace, Gate), (AuthCheck, Lock)],
                ),
                calls_of(
                    "gateway",
                    AuthRefresh,
                    1,
                    ticket(
                        0,
                        &[
                            (AuthRefresh, Lock),
                            (AuthRefresh, Gate),
                            (AuthRefresh, Call(OrdersAudit)),
                            (OrdersAudit, Lock),
                        ],
                    ),
                ),
                reached("orders", OrdersPlace, Gate, 1),
                reached("auth", AuthRefresh, Gate, 1),
                Act::Order("orders", Order::OpenGate),
                Act::Order("auth", Order::OpenGate),
                reached("auth", AuthCheck, Lock, 1),
                reached("orders", OrdersAudit, Lock, 1),
            ],
            truth: Truth {
                roots: ["orders", "auth"]
                    .map(|process| Root {
                        process,
                        ..Root::default()
                    })
                    .into(),
                deadlock: vec!["orders", "auth"],
                ..Truth::default()
            },
        },
        Incident {
            name: "slow-reverse",
            about: "handlers of catalog-1 wait for calls back to the gateway, which take long and are answered",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(
                    GatewayPrice,
                    2,
                    1,
                    &[
                        (CatalogPrice, Call(SessionRenew)),
                        (SessionRenew, Sleep(25_000)),
                    ],
                ),
                reached("gateway", SessionRenew, Sleep(25_000), 2),
            ],
            truth: root("gateway", "Session.renew"),
        },
        Incident {
            name: "proxy",
            about: "a call goes through a forwarding proxy, and the handler behind it never answers",
            worst: Condition::Quiet,
            plant: vec![
                calls(GatewayArchive, 1, 0, &[(ArchiveFetch, Hang)]),
                reached("catalog-1", ArchiveFetch, Hang, 1),
            ],
            truth: root("catalog-1", "Archive.fetch"),
        },
        Incident {
            name: "disk",
            about: "orders waits for auth, which waits for a disk",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(GatewayOrder, 6, 0, &[(AuthCheck, Disk(60_000))]),
                reached("auth", AuthCheck, Disk(60_000), 6),
            ],
            truth: root("auth", "Auth.check"),
        },
        Incident {
            name: "straggler",
            about: "one of 200 calls of a fan-out hangs",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(GatewayFan, 1, 2, &[(CatalogItem, Hang)]),
                reached("catalog-2", CatalogItem, Hang, 1),
            ],
            truth: root("catalog-2", "Catalog.item"),
        },
        Incident {
            name: "dropped",
            about: "the gateway gave five calls up, and their handlers in catalog-1 run on",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(
                    GatewayPrice,
                    5,
                    1,
                    &[(GatewayPrice, GiveUpAfter(300)), (CatalogPrice, Hang)],
                ),
                ended(GatewayPrice, 5),
            ],
            truth: root("catalog-1", "Catalog.price"),
        },
    ]
}

/// Links and channels.
fn links() -> Vec<Incident> {
    use Method::{
        CatalogExport, CatalogImport, CatalogItem, GatewayExport, GatewayPrice, GatewayUpload,
        NotifierPublish, SessionRenew,
    };
    let link_of = |method, number, ticket| pinned(ticket, &[(method, number)]);
    let node = |process, nodes: &[&'static str], methods: &[&'static str]| Root {
        process,
        methods: methods.into(),
        nodes: nodes.into(),
    };
    let padded = Ticket {
        catalog: 1,
        padding: vec![1; 64 << 10],
        ..Ticket::default()
    };
    vec![
        Incident {
            name: "stream-unread",
            about: "a task of the gateway does not read a stream of catalog-1: its driver waits, and five calls with it",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls_of(
                    "client-1",
                    GatewayExport,
                    1,
                    link_of(CatalogExport, 2, ticket(1, &[(GatewayExport, StopReading)])),
                ),
                reached("gateway", GatewayExport, StopReading, 1),
                Act::Await("catalog-1", Report::Filled, 1),
                calls_of(
                    "gateway",
                    CatalogItem,
                    5,
                    link_of(CatalogItem, 2, ticket(1, &[])),
                ),
            ],
            truth: Truth {
                roots: vec![
                    process("gateway"),
                    node(
                        "gateway",
                        &["call", "handler"],
                        &["Catalog.export", "Gateway.export"],
                    ),
                ],
                full: vec![("gateway", "Gateway.export")],
                ..Truth::default()
            },
        },
        Incident {
            name: "peer-does-not-read",
            about: "catalog-1 does not read an upload: its driver waits, the socket fills, and the gateway's write waits",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls_of(
                    "client-1",
                    GatewayUpload,
                    1,
                    link_of(CatalogImport, 3, ticket(1, &[(CatalogImport, StopReading)])),
                ),
                reached("catalog-1", CatalogImport, StopReading, 1),
                Act::Await("gateway", Report::Filled, 1),
                calls_of("gateway", CatalogItem, 8, link_of(CatalogItem, 3, padded)),
            ],
            truth: Truth {
                roots: vec![
                    process("catalog-1"),
                    node("catalog-1", &["handler"], &["Catalog.import"]),
                ],
                full: vec![("catalog-1", "Catalog.import")],
                write_blocked: vec!["gateway"],
                ..Truth::default()
            },
        },
        Incident {
            name: "deadlock-by-channel",
            about: "a handler of catalog-1 reads its full channel only after a call back over the link that the channel blocks",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls_of(
                    "client-1",
                    GatewayUpload,
                    1,
                    pinned(
                        ticket(
                            1,
                            &[(CatalogImport, Gate), (CatalogImport, Call(SessionRenew))],
                        ),
                        &[(CatalogImport, 1), (SessionRenew, 1)],
                    ),
                ),
                reached("catalog-1", CatalogImport, Gate, 1),
                Act::Await("gateway", Report::Filled, 1),
                Act::Order("catalog-1", Order::OpenGate),
                reached("catalog-1", CatalogImport, Call(SessionRenew), 1),
            ],
            truth: Truth {
                roots: vec![
                    process("catalog-1"),
                    node(
                        "catalog-1",
                        &["handler", "call"],
                        &["Catalog.import", "Session.renew"],
                    ),
                ],
                full: vec![("catalog-1", "Catalog.import")],
                deadlock: vec!["catalog-1", "gateway"],
                ..Truth::default()
            },
        },
        Incident {
            name: "writer-gone",
            about: "a handler of catalog-1 has closed its stream and never answers",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                calls(GatewayExport, 1, 1, &[(CatalogExport, CloseChannel)]),
                reached("catalog-1", CatalogExport, CloseChannel, 1),
            ],
            truth: Truth {
                roots: vec![handler("catalog-1", "Catalog.export")],
                writer_gone: vec!["gateway"],
                ..Truth::default()
            },
        },
        Incident {
            name: "reconnect-loop",
            about: "the notifier is killed, and catalog-1 tries for ever to connect to it",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                repeat("catalog-1", NotifierPublish, Ticket::default()),
                Act::Kill("notifier"),
            ],
            truth: Truth {
                roots: ["catalog-1", "notifier"].map(process).into(),
                retrying: vec!["catalog-1"],
                ..Truth::default()
            },
        },
        Incident {
            name: "churn",
            about: "68 connections to the gateway were closed while their handlers run on",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                Act::Order(
                    "client-1",
                    Order::Churn {
                        count: 68,
                        method: GatewayPrice,
                        ticket: ticket(1, &[(GatewayPrice, Hang)]),
                    },
                ),
                reached("gateway", GatewayPrice, Hang, 68),
                Act::Order("client-1", Order::OpenGate),
                Act::Await("client-1", Report::Churned, 1),
            ],
            truth: Truth {
                roots: vec![handler("gateway", "Gateway.price")],
                ..Truth::default()
            },
        },
    ]
}
