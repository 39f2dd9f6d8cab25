//! The attacks of `testing/attackers`, and what a dump beside each may take.

/// An attack, as the table of docs/reliability.md has it.
pub(super) struct Attack {
    /// The subcommand of the attacker, or [`EVERY`].
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// Sizes for a quick try; without them the attack has its full size.
    pub(super) small: &'static str,
    /// Whether a thousand processes or more are looked at, which may take twice the time.
    pub(super) is_crowd: bool,
}

/// All of them at once.
pub(super) const EVERY: &str = "every";

const fn attack(name: &'static str, what: &'static str, small: &'static str) -> Attack {
    Attack {
        name,
        what,
        small,
        is_crowd: false,
    }
}

pub(super) const ATTACKS: [Attack; 22] = [
    attack(
        "registries",
        "15 processes × 64 registries and 60 × 1, 1,024 descriptors for the tracer",
        "registries --processes 3 --lone 5",
    ),
    attack(
        "deep",
        "a file mapped 560,000 directories deep",
        "deep --depth 5000",
    ),
    attack(
        "deep --depth 4000 --mappings 3000",
        "a file mapped 4,000 directories deep, 3,000 times",
        "deep --depth 400 --mappings 300",
    ),
    attack(
        "shared",
        "60,000 shared mappings inherited by 60 processes with registries",
        "shared --processes 6 --mappings 600",
    ),
    attack(
        "sockets",
        "20 processes × 9,900 pairs of sockets",
        "sockets --processes 2 --pairs 200",
    ),
    attack(
        "inherited",
        "1,000 pairs of sockets inherited by 200 processes with registries",
        "inherited --processes 10 --pairs 50",
    ),
    attack(
        "zeros",
        "50 processes with a registry whose header is zero",
        "zeros --processes 3",
    ),
    attack("forged", "a forged call, running for 1 h", "forged"),
    attack("full", "20 full registries", "full --processes 1"),
    attack(
        "alike",
        "4 processes × 4,096 connections that look alike",
        "alike --connections 64",
    ),
    attack(
        "leases",
        "4 processes with a lease on their registry and on a binary",
        "leases --processes 1",
    ),
    attack(
        "imitations",
        "1,000 files and pipes named like a registry",
        "imitations --files 20",
    ),
    attack(
        "missing-pages",
        "registries on huge pages and on pages that their process provides (userfaultfd)",
        "missing-pages",
    ),
    attack(
        "names",
        "16 processes with malicious names",
        "names --processes 8",
    ),
    attack(
        "binaries",
        "10 processes × 900 binaries with 65,000 sections",
        "binaries --processes 1 --files 20",
    ),
    attack(
        "search",
        "50 binaries of 1 GiB behind the sockets of a registered process",
        "search --processes 2 --megabytes 16",
    ),
    attack("probes", "probes fired without a pause", "probes"),
    attack(
        "namespaces",
        "60 network namespaces with a registry and 1,000 pairs of sockets",
        "namespaces --processes 3 --pairs 20",
    ),
    attack(
        "descriptors",
        "25 registries without a descriptor among 19,000 others",
        "descriptors --processes 1 --each 1000",
    ),
    attack(
        "threads",
        "4 registered processes with 5,000 threads",
        "threads --processes 1 --threads 100",
    ),
    attack(
        "churn",
        "registered processes that come and go without a pause",
        "churn",
    ),
    attack(
        "states",
        "registered processes that are stopped, traced, not dumpable, or without a first thread",
        "states",
    ),
];

/// Attacks that keep others waiting in the kernel. Beside one of them, whoever looks at `/proc` can wait: each is for
/// virtual machines only.
pub(super) const HELD: [Attack; 2] = [
    attack(
        "flush",
        "a process in `execve` that closes a file on a file system that does not answer",
        "flush",
    ),
    attack(
        "memory-lock",
        "a process that holds the lock of its memory",
        "memory-lock",
    ),
];
