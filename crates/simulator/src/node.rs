//! A simulated machine: its disk, its clock, and the replica that runs on it when it runs.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use ruvector_node::host::{Host as Groups, HostConfig};
use ruvector_node::replica::{Event, Output, Replica, ReplicaError};
use ruvector_node::{Flushed, Tuning};
use ruvector_protocol::{GroupId, Incarnation, Index, Membership, NodeId, Term, Timestamp};
use ruvector_state_machine::kv::PlantedBug as MachineBug;
use ruvector_state_machine::kv::{KvMachine, KvView, StoreLimits};
use ruvector_storage::Disk;
use ruvector_storage::disk::simulated::{Crash, Operation, SimulatedDisk};

use crate::clock::NodeClock;
use crate::planted::PlantedBug;
use crate::planted_disk::disk_for;

/// A simulated machine.
#[derive(Debug)]
pub struct Host {
    /// The node's id: its place in the cluster counted from 1.
    pub id: NodeId,
    /// Its disk, which outlives its crashes.
    pub disk: SimulatedDisk,
    /// Its clock.
    pub clock: NodeClock,
    /// What it is set to since it was last started.
    pub tuning: Tuning,
    /// The process, if it runs.
    pub process: Option<Process>,
    /// How often it was started. What was planned for an earlier life is void.
    pub life: u64,
    /// A mistake that only this node's state machine makes, so that its state becomes another.
    pub machine_bug: Option<MachineBug>,
    /// It gets no time to run before this.
    pub paused_until_us: u64,
    /// It is not started before this.
    pub down_until_us: u64,
    /// Its disk syncs this much slower than usual.
    pub sync_slowdown: u64,
    /// The machine goes down at this operation of its disk.
    pub halt_at_operation: Option<u64>,
    /// Its disk was made to fail or to be full: it may stop.
    pub disk_in_trouble: bool,
    /// A bit of its disk was flipped: it may stop and may refuse to start.
    pub damaged: bool,
    /// It has never taken part since its disk was empty: at the beginning, or because it was replaced.
    pub newcomer: bool,
    /// Its disk was replaced, and it has not taken part since.
    pub disk_replaced: bool,
    /// The last few writes to its log, the newest last.
    last_log_writes: VecDeque<(String, Range<u64>)>,
    /// What files of the log are called that were opened by another name in this life.
    renamed: BTreeMap<String, String>,
    /// It refused to start on damaged data and stays down.
    pub retired: bool,
}

/// How many writes count as the end of a log: one batch may be under way behind the last durable one, and a new
/// segment takes one more.
const REMEMBERED_WRITES: usize = 3;

/// The id of every simulated cluster.
const CLUSTER_ID: u64 = 1;

/// Where the log's files are.
const LOG: &str = "log/";
/// Where the snapshots' files are.
const SNAPSHOTS: &str = "snapshots";

/// Whether of what was written a part is left that shows, and a part is not.
fn is_torn(written: &[u8], left: &[u8]) -> bool {
    let is_left = |(written, left): (&[u8], &[u8])| written == left && written.iter().any(|byte| *byte != 0);
    let mut sectors = written.chunks(TORN_PIECE_BYTES).zip(left.chunks(TORN_PIECE_BYTES));
    written != left && sectors.any(is_left)
}

/// The pieces in which it is looked for what is left of a write.
const TORN_PIECE_BYTES: usize = 16;

/// Running replicas and what is planned for them.
#[derive(Debug)]
pub struct Process {
    /// The code that production runs.
    pub groups: Groups<KvMachine>,
    /// The version that readers see.
    pub published: KvView,
    /// A flush is under way.
    pub flushing: bool,
    /// How often a group's entries had been written once more.
    pub rewrites: u64,
    /// A turn of applying is planned.
    pub applying: bool,
    /// What each group had applied when it last had a turn, and for how many turns it has waited since.
    pub waited: BTreeMap<GroupId, (Index, u32)>,
    /// As a leader of this term it has not applied all that is committed since this time.
    pub backlog_since: Option<(Term, u64)>,
    /// When the next wake-up is planned.
    pub wake_at_us: Option<u64>,
    /// How often in a row it was woken without time passing.
    pub idle_wakes: u32,
}

/// What all nodes of a simulation are told alike.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// The groups with their members.
    pub groups: BTreeMap<GroupId, Membership>,
    /// The bug that all nodes have.
    pub planted_bug: Option<PlantedBug>,
    /// What bounds the store.
    pub limits: StoreLimits,
}

impl ClusterSettings {
    /// The groups that a node is a member of.
    fn groups_of(&self, node: NodeId) -> BTreeMap<GroupId, Membership> {
        let is_in = |(_, membership): &(&GroupId, &Membership)| membership.voters.contains(&node);
        self.groups.iter().filter(is_in).map(|(group, membership)| (*group, membership.clone())).collect()
    }
}

impl Host {
    /// A machine that was never started.
    #[must_use]
    pub fn new(id: NodeId, clock: NodeClock, tuning: Tuning) -> Self {
        Self {
            id,
            disk: SimulatedDisk::new(),
            clock,
            tuning,
            process: None,
            life: 0,
            machine_bug: None,
            paused_until_us: 0,
            down_until_us: 0,
            sync_slowdown: 1,
            halt_at_operation: None,
            disk_in_trouble: false,
            damaged: false,
            newcomer: true,
            disk_replaced: false,
            last_log_writes: VecDeque::new(),
            renamed: BTreeMap::new(),
            retired: false,
        }
    }

    /// What its clock shows.
    #[must_use]
    pub fn now(&self, now_us: u64) -> Timestamp {
        self.clock.reading(now_us)
    }

    /// Starts the process on what the disk holds.
    ///
    /// # Errors
    /// Those of the replica; the machine is then still down.
    pub fn start(&mut self, now_us: u64, cluster: &ClusterSettings, seed: u64) -> Result<(), ReplicaError> {
        self.life += 1;
        let bug = cluster.planted_bug;
        let config = HostConfig {
            cluster_id: CLUSTER_ID,
            node: self.id,
            incarnation: Incarnation(self.life),
            groups: cluster.groups_of(self.id),
            tuning: self.tuning.clone(),
            seed,
            core_bug: bug.and_then(PlantedBug::of_core),
            planted_bug: bug.and_then(PlantedBug::of_replica),
        };
        let now = self.now(now_us);
        let machine_bug = self.machine_bug.or(bug.and_then(PlantedBug::of_machine));
        let machine = |_| KvMachine::with_planted_bug(machine_bug).with_limits(cluster.limits);
        let disk = disk_for(&self.disk, bug.and_then(PlantedBug::of_disk));
        let groups = Groups::open(config, disk, machine, now)?;
        let published = metadata(&groups).view();
        self.process = Some(Process {
            groups,
            published,
            flushing: false,
            rewrites: 0,
            applying: false,
            waited: BTreeMap::new(),
            backlog_since: None,
            wake_at_us: None,
            idle_wakes: 0,
        });
        Ok(())
    }

    /// How many of its groups have written what is not known to be durable.
    #[must_use]
    pub fn unsynced_groups(&self) -> usize {
        self.process.as_ref().map_or(0, |process| process.groups.unsynced_count())
    }

    /// The process ends, and perhaps the machine with it. Returns whether a part of the last write to the log was
    /// lost and a part was not.
    pub fn crash(&mut self, crash: Crash) -> bool {
        self.process = None;
        self.life += 1;
        self.paused_until_us = 0;
        self.halt_at_operation = None;
        self.note_log_writes();
        let written = self.last_log_write();
        self.disk.crash(crash);
        self.renamed.clear();
        let left = self.last_log_write();
        written.zip(left).is_some_and(|(written, left)| is_torn(&written, &left))
    }

    /// The machine, which is down, gets an empty disk.
    pub fn replace_disk(&mut self) {
        self.disk = SimulatedDisk::new();
        self.last_log_writes.clear();
        self.damaged = false;
        self.disk_in_trouble = false;
        self.newcomer = true;
        self.disk_replaced = true;
    }

    /// Remembers where the log was written last, and lets the disk forget all else that was done to it.
    pub fn note_log_writes(&mut self) {
        for operation in self.disk.take_trace() {
            match operation {
                Operation::Write { file, offset, bytes } if file.starts_with(LOG) => {
                    let file = self.renamed.get(&file).cloned().unwrap_or(file);
                    self.last_log_writes.push_back((file, offset..offset + bytes as u64));
                }
                Operation::Rename { from, to } if from.starts_with(LOG) => self.log_file_renamed(from, to),
                Operation::Write { .. }
                | Operation::Rename { .. }
                | Operation::Create(_)
                | Operation::SetSize { .. }
                | Operation::Sync(_)
                | Operation::CreateDirectory(_)
                | Operation::Remove(_)
                | Operation::SyncDirectory(_) => {}
            }
        }
        let surplus = self.last_log_writes.len().saturating_sub(REMEMBERED_WRITES);
        self.last_log_writes.drain(..surplus);
    }

    /// The log writes on to a file by the name that it was opened with, whatever it is called by now.
    fn log_file_renamed(&mut self, from: String, to: String) {
        for (file, _) in self.last_log_writes.iter_mut().filter(|(file, _)| *file == from) {
            file.clone_from(&to);
        }
        self.renamed.remove(&to);
        self.renamed.insert(from, to);
    }

    /// What the file holds where the log was written last.
    fn last_log_write(&self) -> Option<Vec<u8>> {
        let (file, range) = self.last_log_writes.back()?;
        let contents = self.disk.contents(file)?;
        let place = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
        Some(contents.get(place)?.to_vec())
    }

    /// The index of the newest snapshot file that the node made or received for its own use.
    #[must_use]
    pub fn newest_snapshot_file(&self) -> Option<Index> {
        let files = self.disk.list(SNAPSHOTS).ok()?;
        let index = |file: &String| {
            let name = file.strip_suffix(".snapshot")?.strip_prefix("auto-")?;
            name.rsplit('-').next()?.parse().ok().map(Index)
        };
        files.iter().filter_map(index).max()
    }

    /// How large its largest snapshot file is.
    #[must_use]
    pub fn largest_snapshot_bytes(&self) -> u64 {
        let files = self.disk.list(SNAPSHOTS).unwrap_or_default();
        let bytes = |file: &String| self.disk.open(&format!("{SNAPSHOTS}/{file}"), false)?.size();
        files.iter().filter_map(|file| bytes(file).ok()).max().unwrap_or(0)
    }

    /// Whether a byte of a file belongs to the end of the log. Damage there can't be told from a write that was
    /// torn by a crash, by nobody: a log promises to notice damage only of what more was written behind.
    #[must_use]
    pub fn is_end_of_log(&self, file: &str, offset: u64) -> bool {
        self.last_log_writes.iter().any(|(written, range)| written == file && range.contains(&offset))
    }

    /// Whether the disk has reached the operation at which the machine goes down.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halt_at_operation.is_some_and(|at| self.disk.operations() >= at)
    }

    /// From now on the disk works, and the machine is never short of time.
    pub fn heal(&mut self) {
        self.disk.set_space_limit(None);
        self.sync_slowdown = 1;
        self.paused_until_us = 0;
        self.down_until_us = 0;
    }
}

/// What a replica is asked to do in one turn.
pub enum Turn {
    /// Take an event of a group.
    Handle(GroupId, Event),
    /// Wake the groups whose time has come.
    Wake,
    /// Take note of a connection that broke.
    PeerLost(NodeId),
    /// Make durable what waits.
    Flush,
    /// Take note of what was made durable beside it.
    Flushed(Flushed),
    /// Apply what is committed, so many entries at most.
    Apply {
        /// At least one.
        entries_max: u64,
    },
}

fn metadata(groups: &Groups<KvMachine>) -> &Replica<KvMachine> {
    groups.replica(GroupId::METADATA).expect("every node is a member of it")
}

impl Process {
    /// The replica of the group that every node is a member of.
    #[must_use]
    pub fn replica(&self) -> &Replica<KvMachine> {
        metadata(&self.groups)
    }

    /// Whether it takes part in all of its groups: it is no newcomer in any.
    #[must_use]
    pub fn has_joined(&self) -> bool {
        let mut replicas = self.groups.groups().filter_map(|group| self.groups.replica(group));
        replicas.all(|replica| !replica.raft().is_newcomer())
    }

    /// How many entries the logs of its groups have had, all together.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        let replicas = self.groups.groups().filter_map(|group| self.groups.replica(group));
        replicas.map(|replica| replica.raft().last().index.0).sum()
    }

    /// How many entries its groups have applied, all together, or were given as snapshots.
    #[must_use]
    pub fn applied_count(&self) -> u64 {
        let replicas = self.groups.groups().filter_map(|group| self.groups.replica(group));
        replicas.map(|replica| replica.applied().index.0).sum()
    }

    /// Gives the replicas one turn.
    ///
    /// # Errors
    /// Those of the replicas: the node must stop.
    pub fn take_turn(
        &mut self,
        now: Timestamp,
        turn: Turn,
        outputs: &mut Vec<Output<KvMachine>>,
    ) -> Result<(), ReplicaError> {
        match turn {
            Turn::Handle(group, event) => self.groups.handle(now, group, event, outputs),
            Turn::Wake => self.groups.wake(now, outputs),
            Turn::PeerLost(peer) => self.groups.peer_lost(now, peer, outputs),
            Turn::Flush => self.groups.flush(now, outputs),
            Turn::Flushed(flushed) => self.groups.flushed(now, flushed, outputs),
            Turn::Apply { entries_max } => {
                let mut applied = 0;
                let is_enough = || {
                    applied += 1;
                    applied >= entries_max
                };
                self.groups.apply(now, is_enough, outputs)
            }
        }
    }
}
