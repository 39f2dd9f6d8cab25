//! The shared-memory hubs that processes map: reads them, finds which process is which peer, and looks into the
//! doorbells between them. Makes no system call in these processes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use roam_dump::explain_hubs;
use roam_dump::model::{
    self, Doorbell, Hub, HubContent, HubFile, HubPeer, HubRole, HubState, HubUser, PeerState,
    ProcessState,
};
use roam_dump::shm::{HubBudget, HubDetail, read_hub};

use super::deadline::within_deadline;
use super::descriptors::{Descriptors, socket_inode};
use super::doorbell::waiting_thread;
use super::guest::GuestArguments;
use super::hub_file::{MappedHub, has_open, mapped_hubs};
use super::proc::{self, Process};
use super::sockets::{ConnectedSocket, SocketEnd, SocketLister};
use super::target::Target;

/// Hubs of a dump, and processes of one hub that are no targets.
const HUBS: usize = 64;
const OTHERS: usize = 512;
/// Parents and children of the processes of one hub that are looked at.
const RELATIVES: usize = 4_096;
/// Time that one reading of all hubs spends on descriptors and threads: processes choose how many they have.
const TIME: Duration = Duration::from_secs(2);
/// Descriptors of a host among which its doorbells are looked for.
const DESCRIPTORS: usize = 16_384;
/// The inode of the other end of a socket, if that is closed.
const CLOSED: u64 = 0;
/// Pauses between the first reading of a hub and further ones, while these show the same: for most readers the first is
/// enough, and for a reader on a machine that has more to do, the second.
const READER_PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(250)];

/// What is left of [`TIME`].
struct TimeLeft(Duration);

impl TimeLeft {
    /// Does something as long as there is time; else `None`.
    fn spend<T>(&mut self, work: impl FnOnce() -> T) -> Option<T> {
        if self.0.is_zero() {
            return None;
        }
        let began = Instant::now();
        let done = work();
        self.0 = self.0.saturating_sub(began.elapsed());
        Some(done)
    }
}

/// The hubs that some processes map.
#[derive(Debug, Default)]
pub struct Hubs<'a>(Vec<FoundHub<'a>>);

/// A hub, and the processes that are known to use it.
#[derive(Debug)]
struct FoundHub<'a> {
    mapped: MappedHub,
    members: Vec<Member<'a>>,
}

/// A process that uses a hub.
#[derive(Debug)]
struct Member<'a> {
    process: Handle<'a>,
    label: model::Process,
    /// Its arguments, if they name the hub.
    guest: Option<GuestArguments>,
    /// Its sockets, if it may be the host.
    sockets: Vec<(i32, u64)>,
}

#[derive(Debug)]
enum Handle<'a> {
    Target(&'a Target),
    Other(Process),
}

impl Handle<'_> {
    fn get(&self) -> &Process {
        match self {
            Self::Target(target) => &target.process,
            Self::Other(process) => process,
        }
    }
}

impl<'a> Hubs<'a> {
    /// Finds the hubs that targets map, and the other processes that use these: the guests that a host started, and the
    /// process that started a guest.
    pub fn find(targets: &[&'a Target]) -> Self {
        let mut by_file: BTreeMap<HubFile, (MappedHub, Vec<&'a Target>)> = BTreeMap::new();
        for &target in targets {
            for hub in mapped_hubs(target) {
                if by_file.len() < HUBS || by_file.contains_key(&hub.file) {
                    let (_, users) = by_file.entry(hub.file).or_insert((hub, Vec::new()));
                    users.push(target);
                }
            }
        }
        let found = by_file.into_values();
        Self(
            found
                .map(|(mapped, users)| FoundHub::new(mapped, &users))
                .collect(),
        )
    }

    /// The hub of a file, whose users are not known.
    pub fn of_file(mapped: MappedHub) -> Self {
        let members = Vec::new();
        Self(vec![FoundHub { mapped, members }])
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the hubs and their doorbells.
    pub fn read(&self, detail: HubDetail) -> Vec<Hub> {
        let mut budget = HubBudget::default();
        let mut time = TimeLeft(TIME);
        let sockets = self.list_doorbells();
        let hubs = self.0.iter();
        hubs.map(|hub| hub.read(detail, &mut budget, &mut time, &sockets))
            .collect()
    }

    /// Reads the hubs twice if the first reading may show something wrong: a reader that runs has read by then what was
    /// in its ring. What both readings show are the findings.
    pub fn read_and_explain(&self, detail: HubDetail) -> Vec<Hub> {
        let before = self.read(detail);
        let mut after = before.clone();
        explain_hubs(&before, &mut after);
        for pause in READER_PAUSES {
            if after.iter().all(|hub| hub.findings.is_empty()) {
                break;
            }
            sleep(pause);
            after = self.read(detail);
            explain_hubs(&before, &mut after);
        }
        after
    }

    /// The sockets of guests' doorbells and those at the other ends, and those of hosts whose other end is closed, by
    /// inode.
    fn list_doorbells(&self) -> HashMap<u64, ConnectedSocket> {
        let members = || self.0.iter().flat_map(|hub| &hub.members);
        let wanted: HashSet<u64> = members().filter_map(Member::doorbell).collect();
        let of_hosts: HashSet<u64> = (members().flat_map(|member| &member.sockets))
            .map(|&(_, inode)| inode)
            .collect();
        let is_wanted = |socket: &ConnectedSocket| match socket.end {
            SocketEnd::Unix { peer: CLOSED } => {
                !socket.is_ordered && of_hosts.contains(&socket.inode)
            }
            SocketEnd::Unix { peer } => wanted.contains(&peer) || wanted.contains(&socket.inode),
            SocketEnd::Tcp { .. } => false,
        };
        let mut namespaces = HashSet::new();
        let mut found = HashMap::new();
        for member in members() {
            let process = member.process.get();
            let is_new = |namespace| namespaces.insert(namespace);
            if !process.read_link("ns/net").is_ok_and(is_new) {
                continue;
            }
            let own;
            let lister = match &member.process {
                Handle::Target(target) => target.socket_lister(),
                Handle::Other(process) => {
                    own = SocketLister::open_in(process);
                    own.as_ref().map_err(|error| error.kind().into())
                }
            };
            let listed = lister.and_then(|lister| lister.list_unix(is_wanted));
            match listed {
                Ok(sockets) => {
                    found.extend(sockets.into_iter().map(|socket| (socket.inode, socket)));
                }
                Err(error) => log::info!("cannot list the doorbells of hubs: {error}"),
            }
        }
        found
    }
}

impl<'a> FoundHub<'a> {
    fn new(mapped: MappedHub, users: &[&'a Target]) -> Self {
        let members = users.iter().map(|&target| {
            let process = &target.process;
            let guest = GuestArguments::of(process).filter(|guest| guest.name_hub(&mapped.path));
            Member::new(Handle::Target(target), target.label(), guest)
        });
        let mut hub = Self {
            members: members.collect(),
            mapped,
        };
        hub.add_others();
        hub
    }

    /// Adds the children of what may be the host, if they are guests, and the parents of guests.
    fn add_others(&mut self) {
        let mut known: HashSet<u32> = self.members.iter().map(|it| it.label.pid).collect();
        let mut pids = Vec::new();
        for member in &self.members {
            let process = member.process.get();
            match member.guest {
                None => pids.extend(process.children().into_iter().map(|pid| (pid, false))),
                Some(_) => pids.extend(process.parent().map(|pid| (pid, true))),
            }
        }
        for (pid, may_be_host) in pids.into_iter().take(RELATIVES) {
            if self.members.len() >= OTHERS || !known.insert(pid) {
                continue;
            }
            let Ok(process) = Process::open(pid) else {
                continue;
            };
            let guest = GuestArguments::of(&process);
            let guest = guest.filter(|guest| guest.name_hub(&self.mapped.path));
            if guest.is_some() || may_be_host {
                let label = model::Process::new(pid, process.name());
                let member = Member::new(Handle::Other(process), label, guest);
                self.members.push(member);
            }
        }
    }

    fn read(
        &self,
        detail: HubDetail,
        budget: &mut HubBudget,
        time: &mut TimeLeft,
        sockets: &HashMap<u64, ConnectedSocket>,
    ) -> Hub {
        let file = Arc::clone(&self.mapped.handle);
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix_ns = unix_ns.map_or(0, |since| since.as_nanos() as u64);
        let mut left = *budget;
        let read = within_deadline(move || {
            let state = read_hub(file.as_ref(), detail, &mut left, unix_ns);
            Ok((state, left))
        });
        let content = match read {
            Ok((Ok(mut state), left)) => {
                *budget = left;
                self.describe_peers(&mut state, time, sockets);
                HubContent::Content(Box::new(state))
            }
            Ok((Err(error), _)) => HubContent::Error(error.to_string().into()),
            Err(error) => HubContent::Error(format!("cannot read the file: {error}").into()),
        };
        let state = match &content {
            HubContent::Content(state) => Some(&**state),
            HubContent::Error(_) => None,
        };
        Hub {
            path: Arc::clone(&self.mapped.path),
            is_deleted: self.mapped.is_deleted,
            file: Some(self.mapped.file),
            users: self.users(state),
            findings: Vec::new(),
            content,
        }
    }

    fn describe_peers(
        &self,
        state: &mut HubState,
        time: &mut TimeLeft,
        sockets: &HashMap<u64, ConnectedSocket>,
    ) {
        for peer in &mut state.peers {
            if !matches!(peer.state, PeerState::Attached | PeerState::Reserved) {
                continue;
            }
            let is_peer = |member: &&Member<'_>| {
                let guest = member.guest.as_ref();
                guest.is_some_and(|guest| guest.peer == peer.peer)
            };
            let mut members = self.members.iter().filter(is_peer);
            // Where the host restarted a guest, the former one may be a zombie still, and has no arguments.
            let (Some(member), None) = (members.next(), members.next()) else {
                continue;
            };
            peer.process = Some(member.label.clone());
            peer.process_state = Some(member.process.get().state());
            peer.doorbell = self.doorbell(member, time, sockets);
        }
        let is_lost =
            |peer: &&mut HubPeer| peer.state == PeerState::Attached && peer.process.is_none();
        let mut lost: Vec<_> = state.peers.iter_mut().filter(is_lost).collect();
        let closed = (self.members.iter().flat_map(|member| &member.sockets))
            .filter_map(|(_, inode)| sockets.get(inode))
            .filter(|socket| socket.end == SocketEnd::Unix { peer: CLOSED });
        // A guest may be in the process of the host, and a process may attach without arguments.
        if !lost.is_empty() && closed.count() >= lost.len() && !self.has_other_users(time) {
            for peer in &mut lost {
                peer.process_state = Some(ProcessState::Dead);
            }
        }
    }

    /// Whether a process that is not known to use the hub has its file open, as every user of roam-shm has. Processes
    /// that cannot be read belong to others than the owner of the file, who alone may open it. Those for which no time is
    /// left may have.
    fn has_other_users(&self, time: &mut TimeLeft) -> bool {
        let mut known: HashSet<u32> = self.members.iter().map(|it| it.label.pid).collect();
        known.insert(std::process::id());
        let Ok(pids) = proc::pids() else {
            return true;
        };
        let mut others = pids.into_iter().filter(|pid| !known.contains(pid));
        others.any(|pid| {
            let is_user = || Process::open(pid).is_ok_and(|it| has_open(&it, self.mapped.file));
            time.spend(is_user).unwrap_or(true)
        })
    }

    /// The doorbell of a guest, if it can be found.
    fn doorbell(
        &self,
        member: &Member<'_>,
        time: &mut TimeLeft,
        sockets: &HashMap<u64, ConnectedSocket>,
    ) -> Option<Doorbell> {
        let descriptor = member.guest.as_ref()?.doorbell?;
        let of_peer = sockets.get(&member.doorbell()?)?;
        let SocketEnd::Unix { peer: host_end } = of_peer.end else {
            return None;
        };
        let host = self.members.iter().find_map(|host| {
            let mut sockets = host.sockets.iter();
            let &(descriptor, _) = sockets.find(|&&(_, inode)| inode == host_end)?;
            Some((host, descriptor))
        });
        let mut waiting = |process: &Process, descriptor| {
            time.spend(|| waiting_thread(process, descriptor)).flatten()
        };
        Some(Doorbell {
            host_is_signalled: sockets.get(&host_end).map(|it| it.unread_bytes > 0),
            peer_is_signalled: of_peer.unread_bytes > 0,
            host: host.map(|(host, _)| host.label.pid),
            host_waits_in: host
                .and_then(|(host, descriptor)| waiting(host.process.get(), descriptor)),
            peer_waits_in: waiting(member.process.get(), descriptor),
        })
    }

    /// The processes, and what each is to the hub. Those that have nothing to do with it are left out.
    fn users(&self, state: Option<&HubState>) -> Vec<HubUser> {
        let peers = state.map_or(&[][..], |state| &state.peers);
        let doorbells = peers
            .iter()
            .filter_map(|peer: &HubPeer| peer.doorbell.as_ref());
        let hosts: HashSet<u32> = doorbells.filter_map(|doorbell| doorbell.host).collect();
        let users = self.members.iter().filter_map(|member| {
            let role = match &member.guest {
                Some(guest) => HubRole::Guest { peer: guest.peer },
                None if hosts.contains(&member.label.pid) => HubRole::Host,
                None => match member.process {
                    Handle::Target(_) => HubRole::Unknown,
                    Handle::Other(_) => return None,
                },
            };
            let process = member.label.clone();
            Some(HubUser { process, role })
        });
        users.collect()
    }
}

impl<'a> Member<'a> {
    fn new(process: Handle<'a>, label: model::Process, guest: Option<GuestArguments>) -> Self {
        let sockets = match guest {
            Some(_) => Vec::new(),
            None => {
                Descriptors::of(process.get(), DESCRIPTORS)
                    .unwrap_or_default()
                    .sockets
            }
        };
        Self {
            process,
            label,
            guest,
            sockets,
        }
    }

    /// The inode of its doorbell's socket.
    fn doorbell(&self) -> Option<u64> {
        let descriptor = self.guest.as_ref()?.doorbell?;
        let link = self.process.get().read_link(&format!("fd/{descriptor}"));
        socket_inode(&link.ok()?)
    }
}
