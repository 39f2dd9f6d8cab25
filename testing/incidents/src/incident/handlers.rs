//! Handlers that wait for something inside their process.

use super::data::{Act, Condition, Incident, Root, Truth};
use super::plant::{calls, calls_of, ended, handler, pile, reached, ticket};
use crate::control::Order;
use crate::service::{Behavior, Method, Ticket};

use Behavior::{Call, Disk, Gate, GiveUpAfter, Hang, Leak, Lock, Panic, Permit, Sleep};
use Method::{
    ArchiveFetch, AuthCheck, AuthRefresh, CatalogFind, CatalogItem, CatalogPrice, DbGet, DbPut,
    GatewayArchive, GatewayFan, GatewayOrder, GatewayPage, GatewayPrice, GatewayStatus,
    OrdersAudit, OrdersPlace, SessionRenew,
};

pub(super) fn handlers() -> Vec<Incident> {
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
            // What waits for the lock waits inside of orders, and nobody records who holds it.
            truth: Truth {
                roots: vec![handler("db", "Db.put"), pile("orders", "Orders.place")],
                ..Truth::default()
            },
        },
        Incident {
            name: "overload",
            about: "after 6,000 short calls, 2,000 of Orders.status queue for eight permits of db, and drain",
            worst: Condition::LoadedLongpolls,
            plant: vec![
                Act::Order(
                    "client-1",
                    Order::Call {
                        method: GatewayStatus,
                        count: 6_000,
                        at_once: 50,
                        ticket: Ticket::default(),
                    },
                ),
                ended(GatewayStatus, 6_000),
                calls(
                    GatewayStatus,
                    2_000,
                    0,
                    &[(DbGet, Permit), (DbGet, Sleep(1_000))],
                ),
                reached("db", DbGet, Permit, 2_000),
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
            truth: Truth {
                is_alarm: false,
                ..root("catalog-1", "Catalog.price")
            },
        },
    ]
}
