//! The command line; types only.

use clap::{Parser, Subcommand};

/// Attacks a tracer as an unprivileged user, until standard input ends.
#[derive(Parser)]
pub(crate) struct Cli {
    /// Let go after this many seconds, whatever happens
    #[arg(long, global = true, default_value_t = 180)]
    pub(crate) seconds: u32,
    #[command(subcommand)]
    pub(crate) attack: Attack,
}

#[derive(Subcommand)]
pub(crate) enum Attack {
    /// Processes with many registries, and as many more with one
    Registries {
        #[arg(long, default_value_t = 15)]
        processes: u32,
        #[arg(long, default_value_t = 64)]
        each: u32,
        #[arg(long, default_value_t = 60)]
        lone: u32,
    },
    /// Registries whose header stays zero
    Zeros {
        #[arg(long, default_value_t = 50)]
        processes: u32,
    },
    /// A call that never was, older than any other
    Forged {
        #[arg(long, default_value_t = 3_600)]
        age_seconds: u64,
    },
    /// Registries without a free row
    Full {
        #[arg(long, default_value_t = 20)]
        processes: u32,
    },
    /// Connections that could each be the other end of every other
    Alike {
        #[arg(long, default_value_t = 4)]
        processes: u32,
        #[arg(long, default_value_t = 4_096)]
        connections: u32,
    },
    /// Leases on registries and binaries: opening one waits until the lease is broken
    Leases {
        #[arg(long, default_value_t = 4)]
        processes: u32,
    },
    /// Files and pipes with the name of a registry
    Imitations {
        #[arg(long, default_value_t = 1_000)]
        files: u32,
    },
    /// Registries and memory with pages that are not there
    MissingPages,
    /// Names that steer a terminal, turn the direction of writing, or are no text
    Names {
        #[arg(long, default_value_t = 16)]
        processes: u32,
    },
    /// A file below many directories, mapped again and again
    Deep {
        #[arg(long, default_value_t = 560_000)]
        depth: u32,
        #[arg(long, default_value_t = 1)]
        mappings: u32,
    },
    /// Shared mappings inherited by processes with registries
    Shared {
        #[arg(long, default_value_t = 60)]
        processes: u32,
        #[arg(long, default_value_t = 60_000)]
        mappings: u32,
    },
    /// Code from many ELF files with many sections
    Binaries {
        #[arg(long, default_value_t = 10)]
        processes: u32,
        #[arg(long, default_value_t = 900)]
        files: u32,
        #[arg(long, default_value_t = 65_000)]
        sections: u16,
    },
    /// Enormous binaries at the other ends of a registered process's sockets
    Search {
        #[arg(long, default_value_t = 50)]
        processes: u32,
        #[arg(long, default_value_t = 1_024)]
        megabytes: u64,
    },
    /// Probes fired without a pause
    Probes {
        #[arg(long, default_value_t = 1)]
        threads: u32,
    },
    /// Processes with many sockets
    Sockets {
        #[arg(long, default_value_t = 20)]
        processes: u32,
        #[arg(long, default_value_t = 9_900)]
        pairs: u32,
    },
    /// Sockets that many processes hold
    Inherited {
        #[arg(long, default_value_t = 200)]
        processes: u32,
        #[arg(long, default_value_t = 1_000)]
        pairs: u32,
    },
    /// Registries in network namespaces of their own, with sockets
    Namespaces {
        #[arg(long, default_value_t = 60)]
        processes: u32,
        #[arg(long, default_value_t = 1_000)]
        pairs: u32,
    },
    /// Registries whose descriptor was closed, among many other descriptors
    Descriptors {
        #[arg(long, default_value_t = 25)]
        processes: u32,
        #[arg(long, default_value_t = 19_000)]
        each: u32,
    },
    /// Registered processes with many threads
    Threads {
        #[arg(long, default_value_t = 4)]
        processes: u32,
        #[arg(long, default_value_t = 5_000)]
        threads: u32,
    },
    /// Processes with registries that come and go
    Churn {
        #[arg(long, default_value_t = 2)]
        processes: u32,
    },
    /// Registered processes that are stopped, traced, not dumpable, or whose first thread ended
    States,
    /// A process in execve that closes a file on a file system that does not answer; only for virtual machines
    Flush,
    /// A process that holds the lock of its memory; only for virtual machines
    MemoryLock,
}
