//! Three nodes, and what can be asked of them and done to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use ruvector_client::{Client, ClientOptions, GroupStatus, NodeStatus, PutOptions, Role};
use tokio::runtime::Runtime;

use crate::agreement::States;
use crate::disk::DiskKind;
use crate::group::{Group, METADATA};
use crate::network::{Network, Place};
use crate::node::Node;
use crate::patience::Patience;

/// Far longer than anything takes that works, on a busy machine too.
pub const LIMIT: Duration = Duration::from_secs(90);
/// What a node says that finds out that its disk has lost what it had acknowledged.
const LOST_WRITES: [&str; 3] = [
    "this node had acknowledged entries through index",
    "has lost what was durable",
    "holds a log but no identity file",
];
/// Large enough that a few of them need new files, small enough to be taken.
const PRESSURE_BYTES: usize = 64 << 10;

/// The running cluster. Dropped, the nodes are killed, then their disks unmounted, then the namespaces removed.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    /// Of each group one for each node, which asks no other.
    clients: BTreeMap<Group, Vec<Client>>,
    /// The network, to break it.
    pub network: Network,
    runtime: Arc<Runtime>,
    /// Every state that a node told of.
    pub states: States,
    /// Whose disk failed a moment ago.
    distrusted: Option<Place>,
    put_back_count: usize,
    patience: Patience,
}

impl Cluster {
    /// Starts the nodes, with disks, configuration and logs below a directory. The calling thread must be where the
    /// clients of the network are.
    ///
    /// # Errors
    /// If a disk can't be made or a process can't be started.
    pub fn start(
        program: &Path,
        directory: &Path,
        kind: DiskKind,
        network: Network,
        runtime: &Arc<Runtime>,
        patience: &Patience,
    ) -> Result<Self> {
        let _context = runtime.enter();
        let client =
            |place: Place, group| Ok(Client::new([endpoint(place).as_str()], client_options(group))?);
        let of_group =
            |group| Ok((group, Place::all().map(|place| client(place, group)).collect::<Result<_>>()?));
        let mut cluster = Self {
            nodes: Vec::new(),
            clients: Group::all().map(of_group).collect::<Result<_>>()?,
            network,
            runtime: Arc::clone(runtime),
            states: States::default(),
            distrusted: None,
            put_back_count: 0,
            patience: patience.clone(),
        };
        for place in Place::all() {
            cluster.nodes.push(Node::prepare(place, program, directory, kind)?);
        }
        cluster.start_missing()?;
        Ok(cluster)
    }

    /// Starts every node that does not run.
    ///
    /// # Errors
    /// If a process can't be started.
    pub fn start_missing(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(|node| node.start(&self.network))
    }

    /// Kills nodes as `kill -9` does, all before waiting for the end of any.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self, places: &[Place]) -> Result<()> {
        places.iter().try_for_each(|place| self.signal(*place, Signal::KILL))?;
        places.iter().try_for_each(|place| self.nodes[place.0].reap())
    }

    /// Stops a node in its tracks.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn pause(&mut self, place: Place) -> Result<()> {
        self.signal(place, Signal::STOP)
    }

    /// The opposite of [`Self::pause`].
    ///
    /// # Errors
    /// If the system refuses.
    pub fn resume(&mut self, place: Place) -> Result<()> {
        self.signal(place, Signal::CONT)
    }

    /// Fills a node's disk.
    ///
    /// # Errors
    /// See [`Disk::fill`](crate::disk::Disk::fill).
    pub fn fill_disk(&self, place: Place) -> Result<()> {
        self.nodes[place.0].disk.fill()
    }

    /// Makes room on a node's disk.
    ///
    /// # Errors
    /// See [`Disk::free`](crate::disk::Disk::free).
    pub fn free_disk(&self, place: Place) -> Result<()> {
        self.nodes[place.0].disk.free()
    }

    /// Makes the syncs of a node's disk fail. Until all is well again the disk is not trusted: if the node finds out
    /// that it has lost writes, it is put back without its data.
    ///
    /// # Errors
    /// See [`Disk::break_device`](crate::disk::Disk::break_device).
    pub fn break_disk(&mut self, place: Place) -> Result<()> {
        self.distrusted = Some(place);
        self.nodes[place.0].disk.break_device()
    }

    /// Repairs a node's disk. The node must have ended.
    ///
    /// # Errors
    /// See [`Disk::repair_device`](crate::disk::Disk::repair_device).
    pub fn repair_disk(&self, place: Place) -> Result<()> {
        self.nodes[place.0].disk.repair_device()
    }

    /// Writes so much that every node needs new files, until a node ends by itself. Whether it does in time.
    ///
    /// # Errors
    /// If the run is to end.
    pub fn press_until_end(&mut self, place: Place) -> Result<bool> {
        let value = "x".repeat(PRESSURE_BYTES);
        let (runtime, nodes, clients) = (&self.runtime, &mut self.nodes, &self.clients[&METADATA]);
        let mut turn = 0;
        let ended = self.patience.wait(LIMIT, || {
            turn += 1;
            let client = &clients[turn % clients.len()];
            // Whether it is written matters to nobody.
            let _ = runtime.block_on(client.put("pressure", value.clone(), PutOptions::default()));
            Ok(nodes[place.0].ended()?.map(|_| ()))
        })?;
        Ok(ended.is_some())
    }

    /// How often a node has said some words until now.
    #[must_use]
    pub fn count_said(&self, place: Place, words: &str) -> usize {
        self.nodes[place.0].log().matches(words).count()
    }

    /// The nodes that ended although nobody ended them, with their last words.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn ended_by_themselves(&mut self) -> Result<Vec<String>> {
        let mut ended = Vec::new();
        for place in Place::all() {
            let node = &mut self.nodes[place.0];
            if let Some(status) = node.ended()? {
                let words = node.last_words();
                ended.push(format!("{place} ended by itself ({status}); its last words: {words}"));
            }
        }
        Ok(ended)
    }

    /// Who leads, if a node that answers knows itself to.
    pub fn leader(&mut self) -> Option<Place> {
        let statuses = self.statuses();
        let leaders = statuses.iter().filter(|(_, status)| status.leads());
        leaders.max_by_key(|(_, status)| status.group.term).map(|(place, _)| *place)
    }

    /// What each node that answers says of itself.
    pub fn statuses(&mut self) -> Vec<(Place, NodeStatus)> {
        let mut statuses = Vec::new();
        for (place, client) in Place::all().zip(&self.clients[&METADATA]) {
            let node = client.nodes().next().expect("the client was given one endpoint");
            let Ok(status) = self.runtime.block_on(node.status()) else { continue };
            for group in status.groups() {
                self.states.observe(&status.node.name, &group.name, group.applied_index, &group.state_hash);
            }
            statuses.push((place, status));
        }
        statuses
    }

    /// Whether some node acknowledges a put of each group within the limit.
    ///
    /// # Errors
    /// If the run is to end.
    pub fn await_majority(&self) -> Result<bool> {
        for clients in self.clients.values() {
            let mut turn = 0;
            let done = self.patience.wait(LIMIT, || {
                turn += 1;
                Ok(self.put_at(&clients[turn % clients.len()]))
            })?;
            if done.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether, within the limit, all nodes agree on each group's leader and each acknowledges a put of each.
    ///
    /// # Errors
    /// If the run is to end.
    pub fn await_health(&mut self) -> Result<bool> {
        let patience = self.patience.clone();
        let agreed = patience.wait(LIMIT, || {
            self.put_back()?;
            Ok(self.agrees_on_leaders().then_some(()))
        })?;
        if agreed.is_none() {
            return Ok(false);
        }
        for client in self.clients.values().flatten() {
            if patience.wait(LIMIT, || Ok(self.put_at(client)))?.is_none() {
                return Ok(false);
            }
        }
        self.distrusted = None;
        Ok(true)
    }

    /// How often a node had to be put back without its data.
    #[must_use]
    pub fn put_back_count(&self) -> usize {
        self.put_back_count
    }

    /// A disk whose syncs fail may have lied before: file systems let a sync succeed and lose what was written when
    /// the device refuses it a moment later (ext4 on a loop device does so, as a trace of the calls shows). The node
    /// that finds out stops, as it must; then it does what it says: it is started again on an empty disk.
    fn put_back(&mut self) -> Result<()> {
        let Some(place) = self.distrusted else { return Ok(()) };
        let node = &mut self.nodes[place.0];
        let has_lost_writes = |words: String| LOST_WRITES.iter().any(|lost| words.contains(lost));
        if node.ended()?.is_none() || !has_lost_writes(node.last_words()) {
            return Ok(());
        }
        self.put_back_count += 1;
        node.reap()?;
        node.disk.empty()?;
        node.start(&self.network)
    }

    /// Whether, within the limit, all nodes tell the same hash for the same index. (That no two tell another hash
    /// for the same index is watched over by [`Self::states`] all the time.)
    ///
    /// # Errors
    /// If the run is to end.
    pub fn await_equal_states(&mut self) -> Result<bool> {
        let patience = self.patience.clone();
        let equal = patience.wait(LIMIT, || {
            let statuses = self.statuses();
            let are_equal = |group| {
                let mut states = of_group(&statuses, group)
                    .map(|(_, group)| (group.applied_index, group.state_hash.as_str()));
                let first = states.next();
                first.is_some() && states.all(|state| Some(state) == first)
            };
            let equal = statuses.len() == self.nodes.len() && Group::all().all(are_equal);
            Ok(equal.then_some(()))
        })?;
        Ok(equal.is_some())
    }

    /// Lines of logs that tell of a panic.
    #[must_use]
    pub fn panics(&self) -> Vec<String> {
        let mut panics = Vec::new();
        for (place, node) in Place::all().zip(&self.nodes) {
            let log = node.log();
            let lines = log.lines().filter(|line| line.contains("panicked"));
            panics.extend(lines.map(|line| format!("panic: {place}: {line}")));
        }
        panics
    }

    fn agrees_on_leaders(&mut self) -> bool {
        let statuses = self.statuses();
        let agrees = |group| {
            let leader = of_group(&statuses, group).find(|(_, group)| group.role == Role::Leader);
            leader.is_some_and(|(leader, led)| {
                of_group(&statuses, group)
                    .all(|(_, group)| group.leader_id() == Some(leader.node.id) && group.term == led.term)
            })
        };
        statuses.len() == self.nodes.len() && Group::all().all(agrees)
    }

    fn put_at(&self, client: &Client) -> Option<()> {
        self.runtime.block_on(client.put("probe", "", PutOptions::default())).ok().map(drop)
    }

    fn signal(&mut self, place: Place, signal: Signal) -> Result<()> {
        self.nodes[place.0].signal(signal)
    }
}

/// What the nodes say of a group.
fn of_group(
    statuses: &[(Place, NodeStatus)],
    group: Group,
) -> impl Iterator<Item = (&NodeStatus, &GroupStatus)> {
    let told = statuses.iter().flat_map(|(_, status)| status.groups().map(move |group| (status, group)));
    told.filter(move |(_, told)| told.name == group.name())
}

/// Where clients reach a node.
#[must_use]
pub fn endpoint(place: Place) -> String {
    Node::client_endpoint(place)
}

/// Short enough that a client that hangs at a broken node comes back within the fault.
#[must_use]
pub fn client_options(group: Group) -> ClientOptions {
    ClientOptions {
        group: group.of_clients(),
        request_timeout: Duration::from_secs(2),
        connect_timeout: Duration::from_millis(500),
        unreachable_timeout: Duration::from_secs(1),
        ..ClientOptions::default()
    }
}

/// The `ruvector` beside the running program, or beside the directory of a test.
///
/// # Errors
/// If there is none.
pub fn program_beside() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let candidates = own.ancestors().skip(1).take(2).map(|directory| directory.join("ruvector"));
    candidates.into_iter().find(|candidate| candidate.is_file()).context(
        "no program `ruvector` beside this one; `cargo build --profile checked -p ruvector-cli` makes it",
    )
}
