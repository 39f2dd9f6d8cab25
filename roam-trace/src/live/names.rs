//! The names that go with the ids in events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};
use roam_dump::decode;
use roam_dump::model::Process;
use roam_dump::read::Budget;
use roam_trace_common::limits;

use crate::process::Share;

/// The least time between two readings of the names of a process: what has no name at all must not have it read all
/// the time.
const PAUSE: Duration = Duration::from_millis(200);

/// The names of processes, of their methods and of their connections.
pub(crate) struct Names<'a>(HashMap<u32, ProcessNames<'a>>);

struct ProcessNames<'a> {
    share: &'a Share<'a>,
    label: Arc<Process>,
    names: decode::Names,
    read_at: Instant,
}

impl<'a> Names<'a> {
    /// Reads the names of processes.
    pub(crate) fn read(shares: &[&'a Share<'a>]) -> Self {
        let mut names = HashMap::with_capacity(shares.len());
        for &share in shares {
            let mut process = ProcessNames {
                share,
                label: Arc::new(share.target.label()),
                names: decode::Names::default(),
                read_at: Instant::now(),
            };
            process.read();
            names.insert(share.target.pid(), process);
        }
        Self(names)
    }

    /// Reads all names again.
    pub(crate) fn read_again(&mut self) {
        self.0.values_mut().for_each(ProcessNames::read);
    }

    /// Returns a process.
    pub(crate) fn process(&self, tgid: u32) -> Option<&Arc<Process>> {
        self.0.get(&tgid).map(|names| &names.label)
    }

    /// Returns the name of a method, if the process has registered it.
    pub(crate) fn method(&mut self, tgid: u32, method_id: u64) -> Option<Arc<str>> {
        self.find(tgid, |names| names.methods.get(&method_id))
    }

    /// Returns the name of a connection; it may be empty.
    pub(crate) fn connection(&mut self, tgid: u32, serial: u64) -> Option<Arc<str>> {
        self.find(tgid, |names| names.connections.get(&serial))
    }

    /// Returns the names of all methods that are known by now.
    pub(crate) fn methods(&self) -> impl Iterator<Item = (u32, u64, &str)> {
        self.0.iter().flat_map(|(&tgid, process)| {
            let methods = process.names.methods.iter();
            methods.map(move |(&id, name)| (tgid, id, &**name))
        })
    }

    /// Reads the names of a process again if one is not known.
    fn find(
        &mut self,
        tgid: u32,
        find: impl Fn(&decode::Names) -> Option<&Arc<str>>,
    ) -> Option<Arc<str>> {
        let process = self.0.get_mut(&tgid)?;
        if find(&process.names).is_none() && process.read_at.elapsed() >= PAUSE {
            process.read();
        }
        find(&process.names).cloned()
    }
}

impl ProcessNames<'_> {
    /// A process that cannot be read keeps the names that it had.
    fn read(&mut self) {
        let Share { target, budget } = *self.share;
        let only_names = Budget {
            statistics: 0,
            methods: 0,
            ..budget
        };
        match target.read_methods(only_names) {
            Ok(mut reading) => {
                let connections = target.read_connections(budget).unwrap_or_default();
                for (image, connections) in reading.images.iter_mut().zip(connections) {
                    image.connections = connections;
                }
                self.add(decode::Names::of_all(&reading.images));
            }
            Err(error) => log::info!("{error}"),
        }
        self.read_at = Instant::now();
    }

    /// What was closed meanwhile may still be in events to come. A process can give its methods other ids at any time.
    fn add(&mut self, names: decode::Names) {
        if self.names.connections.len() > limits::CONNECTIONS as usize {
            self.names.connections.clear();
        }
        if self.names.methods.len() > limits::METHODS as usize {
            self.names.methods.clear();
        }
        self.names.methods.extend(names.methods);
        self.names.connections.extend(names.connections);
    }
}
