//! One replica of one group, synchronous: the protocol core, the log, the snapshots and the state machine
//! put together. It has no thread and no clock; production's driver and the simulator both feed it.
//!
//! A turn is: [`handle`](Replica::handle) any number of events, send the messages in the outputs,
//! [`apply`](Replica::apply) what is committed, [`flush`](Replica::flush) what must be durable; again until
//! [`is_settled`](Replica::is_settled). Messages leave before the sync, so that followers write while the
//! leader does; what may only be said after the sync is held back by the core until `flush` tells it.

mod apply;
mod effects;
mod error;
mod event;
mod hashes;
mod loads;
mod open;
mod origins;
mod pace;
mod pending;
mod planted;
mod proposals;
mod reads;
mod snapshots;
mod transfer;

use std::collections::VecDeque;

use ruvector_protocol::{
    ClusterTime, Effect, Entry, GroupId, Incarnation, Index, Input, LogPosition, Membership, NodeId, Raft,
    Timestamp, WriteId,
};
use ruvector_state_machine::StateMachine;
use ruvector_storage::{SnapshotListing, SnapshotStore, StorageError};

pub use error::ReplicaError;
pub use event::{Event, JobDone, Output, ReadGrant, SnapshotJob, Ticket, Verdict};
pub use planted::PlantedBug;
pub use ruvector_transport::{
    PeerMessage, ReplicaEnvelope, ReplicaMessage, SnapshotChunk, SnapshotChunkResponse, StateHash,
};

pub(crate) use snapshots::contents::copy_machine_contents;

use crate::config::Tuning;
use crate::journal::GroupJournal;
use crate::log_record::LogRecord;
use hashes::checks::HashChecks;
use loads::wishes::Loads;
use origins::OriginWindow;
use pending::PendingProposals;
use reads::pending::PendingReads;
use snapshots::state::Snapshots;
use transfer::receiver::state::Receiver;
use transfer::sender::state::Sender;

/// What a replica is told once.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// The group.
    pub group: GroupId,
    /// This node.
    pub node: NodeId,
    /// Which start of this node it is: greater than at any start before.
    pub incarnation: Incarnation,
    /// The first membership, for an empty disk.
    pub membership: Membership,
    /// Intervals and limits.
    pub tuning: Tuning,
    /// Seeds the election jitter.
    pub seed: u64,
    /// A bug of the core to show, so that a test can see it found.
    #[cfg(feature = "planted-bugs")]
    pub core_bug: Option<ruvector_protocol::PlantedBug>,
    /// One of the replica's own.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<PlantedBug>,
}

impl ReplicaConfig {
    /// Whether this replica is to show a certain bug. Never without the feature `planted-bugs`.
    #[cfg(feature = "planted-bugs")]
    fn planted(&self, bug: PlantedBug) -> bool {
        self.planted_bug == Some(bug)
    }

    /// Whether this replica is to show a certain bug. Never without the feature `planted-bugs`.
    #[cfg(not(feature = "planted-bugs"))]
    #[allow(clippy::unused_self)]
    const fn planted(&self, _bug: PlantedBug) -> bool {
        false
    }
}

/// One replica of one group. It owns no file and no thread: the log and the store of snapshots are its host's.
///
/// Invariants, asserted where they could break:
/// - `applied.index` never falls and is never above what the core calls committed;
/// - entries reach the machine in index order, each exactly once: `committed` continues from `applied` without a gap;
/// - the cluster times of the entries that are applied never fall;
/// - the log's base is never above the newest durable snapshot, unless that was found to be damaged;
/// - the newest snapshot is of a state that is applied;
/// - `unsynced` is the newest write that the core asked for, until the core was told that it is durable;
/// - a read that was made safe and waits, waits for an index that is not applied;
/// - no transfer goes to this node itself.
#[derive(Debug)]
pub struct Replica<M: StateMachine> {
    config: ReplicaConfig,
    /// The other members.
    peers: Vec<NodeId>,
    raft: Raft,
    journal: GroupJournal,
    store: SnapshotStore,
    machine: M,
    /// Where the machine's state is in the log, and that entry's cluster time.
    applied: LogPosition,
    applied_time: ClusterTime,
    /// Committed and not yet applied.
    committed: VecDeque<Entry>,
    /// The newest write that is not yet known to be durable.
    unsynced: Option<WriteId>,
    origins: OriginWindow,
    proposals: PendingProposals,
    reads: PendingReads,
    snapshots: Snapshots,
    sender: Sender,
    receiver: Receiver,
    loads: Loads,
    hashes: HashChecks,
    /// A tick was proposed; no other until this index is applied.
    tick_awaited: Option<Index>,
    leader_changes: u64,
    /// Kept to save an allocation a step.
    effects: Vec<Effect>,
}

impl<M: StateMachine> Replica<M> {
    /// Takes one event. What follows is appended to `outputs`; what it wants durable waits for
    /// [`flush`](Self::flush), what it committed for [`apply`](Self::apply).
    ///
    /// # Errors
    /// Any error means that this replica must stop.
    pub fn handle(
        &mut self,
        now: Timestamp,
        event: Event,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        match event {
            Event::Wake => self.wake(now, outputs),
            Event::Message(envelope) => self.receive(now, envelope, outputs),
            Event::PeerLost(peer) => {
                self.transfer_peer_lost(now, peer, outputs)?;
                self.step(now, Input::PeerLost(peer), outputs)
            }
            Event::Propose(commands) => self.propose(now, commands, outputs),
            Event::Read(reads) => self.read(now, reads, outputs),
            Event::CreateSnapshot { ticket, name } => {
                self.create_snapshot(ticket, name, outputs);
                Ok(())
            }
            Event::CompactLog { ticket, before } => self.compact_log(now, ticket, before, outputs),
            Event::JobDone(done) => self.job_done(now, done, outputs),
        }
    }

    /// Writes and syncs everything that waits, then lets the core say what it may now say.
    ///
    /// # Errors
    /// Any error means that this replica must stop: what reached the disk is unknown.
    pub fn flush(&mut self, now: Timestamp, outputs: &mut Vec<Output<M>>) -> Result<(), ReplicaError> {
        if let Some(durable) = self.journal.flush()? {
            self.durable_through(now, durable, outputs)?;
        }
        self.load_waiting(now, outputs)
    }

    /// Everything of this group through a write is durable: lets the core say what it may now say.
    pub(crate) fn durable_through(
        &mut self,
        now: Timestamp,
        mut write: WriteId,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        if self.config.planted(PlantedBug::WaitingTakenForDurable) {
            write = self.unsynced.unwrap_or(write);
        } else {
            // It was asked for, and nothing as new was told before.
            assert!(
                self.unsynced.is_some_and(|newest| write <= newest),
                "write {} is durable, and {:?} is what waits",
                write.0,
                self.unsynced
            );
        }
        self.unsynced.take_if(|newest| *newest <= write);
        self.step(now, Input::Persisted(write), outputs)
    }

    /// Whether something waits for [`flush`](Self::flush).
    #[must_use]
    pub fn needs_flush(&self) -> bool {
        self.unsynced.is_some()
    }

    /// The newest write that is not known to be durable.
    pub(crate) fn unsynced(&self) -> Option<WriteId> {
        self.unsynced
    }

    /// Whether something waits for [`apply`](Self::apply).
    #[must_use]
    pub fn needs_apply(&self) -> bool {
        !self.committed.is_empty()
    }

    /// Whether nothing waits for [`flush`](Self::flush) or [`apply`](Self::apply).
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.needs_flush() && !self.needs_apply()
    }

    /// When [`Event::Wake`] is due next.
    #[must_use]
    pub fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        [
            self.raft.deadline(),
            self.tick_due(now),
            self.proposals.deadline(),
            self.reads.deadline(),
            self.sender.deadline(),
            self.snapshots.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The protocol core, to look at.
    #[must_use]
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Where the machine's state is in the log.
    #[must_use]
    pub fn applied(&self) -> LogPosition {
        self.applied
    }

    /// The machine's present version.
    #[must_use]
    pub fn view(&self) -> M::View {
        self.machine.view()
    }

    /// The hash of everything that was built from the log: the machine's contents and what is remembered of
    /// the proposals' origins.
    #[must_use]
    pub fn state_hash(&self) -> u128 {
        self.machine.state_hash().wrapping_add(u128::from(self.origins.hash()))
    }

    /// Commands of this node that wait for their answer.
    #[must_use]
    pub fn pending_proposals(&self) -> usize {
        self.proposals.len()
    }

    /// How often a leader became known since the start: another one, or the same in a later term.
    #[must_use]
    pub fn leader_changes(&self) -> u64 {
        self.leader_changes
    }

    /// The index of the newest snapshot the node made or installed.
    #[must_use]
    pub fn newest_snapshot(&self) -> Option<Index> {
        self.snapshots.newest()
    }

    /// This group's snapshots on this node's disk, and all that can't be used, whosever they are.
    ///
    /// # Errors
    /// If they can't be listed.
    pub fn snapshots(&self) -> Result<SnapshotListing, StorageError> {
        let mut listing = self.store.listing()?;
        listing.usable.retain(|info| info.group == self.config.group);
        Ok(listing)
    }

    /// Sees that what always holds between two calls does. Costs as much as there is that waits.
    ///
    /// # Panics
    /// If it does not.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub(crate) fn check_invariants(&self) {
        let applied = self.applied.index;
        let commit = self.raft.commit();
        assert!(applied <= commit, "applied through {applied}, committed through {commit}");
        let indexes = self.committed.iter().map(|entry| entry.index);
        assert!(
            indexes.eq((1..).zip(&self.committed).map(|(n, _)| Index(applied.0 + n))),
            "a gap behind {applied}"
        );
        assert!(!self.peers.contains(&self.config.node), "{:?} is its own peer", self.config.node);
        assert!(self.effects.is_empty(), "left undone: {:?}", self.effects);
        if let Some(newest) = self.snapshots.newest() {
            let first = self.first_index();
            assert!(newest <= applied, "a snapshot of index {newest}, applied through {applied}");
            assert!(
                first <= newest.next(),
                "the log begins at {first}, the newest snapshot is of index {newest}"
            );
        }
        self.origins.check_invariants();
        self.proposals.check_invariants();
        self.reads.check_invariants(applied);
        self.snapshots.check_invariants(applied);
        self.sender.check_invariants(&self.peers);
        self.receiver.check_invariants();
    }

    /// The first index the log still holds.
    #[must_use]
    pub fn first_index(&self) -> Index {
        self.journal.extent().first
    }

    /// Entries of the log, durable or not, from an index on, as many as fit in `bytes_max`.
    ///
    /// # Errors
    /// If what is read back is not what was written.
    pub fn log_entries(
        &self,
        from: Index,
        through: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        self.journal.read(from, through, bytes_max)
    }

    /// The newest entries of the log, durable or not, oldest first.
    ///
    /// # Errors
    /// If what is read back is not what was written.
    pub fn log_tail(&self, count: usize) -> Result<Vec<LogRecord>, StorageError> {
        let Some((first, last)) = self.journal.bounds()? else { return Ok(Vec::new()) };
        let count = u64::try_from(count.min(LOG_TAIL_MAX)).unwrap_or(u64::MAX);
        let mut from = Index(last.0.saturating_add(1).saturating_sub(count).max(first.0));
        let mut records = Vec::new();
        while from <= last {
            let entries = self.journal.read(from, last, LOG_TAIL_BYTES_MAX)?;
            let Some(end) = entries.last().map(|entry| entry.index) else { break };
            records.extend(entries.into_iter().map(LogRecord::from));
            from = end.next();
        }
        Ok(records)
    }
}

/// How many entries one look at the log's end gives at most.
const LOG_TAIL_MAX: usize = 10_000;
/// How many bytes of entries are read from the log at a time.
const LOG_TAIL_BYTES_MAX: usize = 1 << 20;
