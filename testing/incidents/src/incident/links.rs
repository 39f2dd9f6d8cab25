//! Links and channels.

use super::data::{Act, Condition, Incident, Root, Truth};
use super::plant::{calls, calls_of, handler, pinned, process, reached, repeat, ticket};
use crate::control::{Order, Report};
use crate::service::{Behavior, Method, Ticket};

use Behavior::{Call, CloseChannel, Gate, Hang, StopReading};
use Method::{
    CatalogExport, CatalogImport, CatalogItem, GatewayExport, GatewayPrice, GatewayUpload,
    NotifierPublish, SessionRenew,
};

pub(super) fn links() -> Vec<Incident> {
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
                write_blocked: vec!["catalog-1"],
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
                write_blocked: vec!["gateway"],
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
                is_alarm: false,
                ..Truth::default()
            },
        },
    ]
}
