//! Processes that do not run.

use super::data::{Act, Condition, Incident, Truth};
use super::plant::{calls, calls_of, pinned, process, reached, repeat, ticket};
use crate::control::{Order, Report};
use crate::service::{Behavior, Method, Ticket};

use Behavior::Gate;
use Method::{CatalogFind, DbGet, GatewayOrder, GatewayPage, GatewayStatus, NotifierPublish};

pub(super) fn processes() -> Vec<Incident> {
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
                calls_of(
                    "catalog-1",
                    NotifierPublish,
                    3,
                    ticket(0, &[(NotifierPublish, Gate)]),
                ),
                reached("notifier", NotifierPublish, Gate, 3),
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
                is_alarm: false,
                ..Truth::default()
            },
        },
    ]
}
