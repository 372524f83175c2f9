//! What a replica is told when it starts.

use std::collections::BTreeMap;

use super::planted::PlantedBug;
use crate::log::Unread;
use crate::types::{Entry, GroupId, HardState, Incarnation, Index, NodeId, SnapshotMeta, WriteId};

/// What a group's replica is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// The group.
    pub group: GroupId,
    /// This node.
    pub node: NodeId,
    /// Which start of the node this is: greater at every start, also on an empty disk.
    pub incarnation: Incarnation,
    /// How often a leader makes itself heard, in microseconds.
    pub heartbeat_interval_us: u64,
    /// How far apart the moments of the node's clock are at which its leaders make themselves heard, in microseconds;
    /// a heartbeat may come so much early. With an interval, the leaders of all groups of a node are woken together once
    /// an interval. 0: each is an interval after its last, on its own.
    pub beat_us: u64,
    /// The minimum election timeout, in microseconds; the actual one is drawn between this and twice this.
    /// No vote is given while a leader was heard within it, and a leader that hears no quorum for as long
    /// steps down. Nodes may differ in it: each promises by its own, and a leader counts what it was promised.
    pub election_timeout_us: u64,
    /// The bound of clock drift between two nodes, in parts per million; shortens the leader's lease.
    pub clock_drift_ppm: u64,
    /// How many bytes of entries are kept in memory behind what is applied and acknowledged.
    pub tail_bytes_max: usize,
    /// How many bytes of uncommitted entries a leader takes before it refuses proposals.
    pub uncommitted_bytes_max: usize,
    /// How long proposals may wait for earlier ones to be committed, so that more of them are appended together, in
    /// microseconds; 0 appends each at once.
    pub gather_us: u64,
    /// How many bytes of entries may be under way to one follower.
    pub inflight_bytes_max: usize,
    /// How many bytes of entries one append carries at most (at least one entry always fits).
    pub append_bytes_max: usize,
    /// Seeds the election jitter. Differs between nodes and starts.
    pub seed: u64,
    /// A bug that this replica shows, so that a test can see it found.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<PlantedBug>,
}

impl Config {
    /// A configuration for a local network: heartbeats every 50 ms, a minimum election timeout of 300 ms,
    /// 500 ppm of clock drift, 16 MiB of tail, 64 MiB uncommitted, 4 MiB under way in appends of 1 MiB,
    /// each proposal appended at once, and each leader heard for itself.
    #[must_use]
    pub fn new(group: GroupId, node: NodeId, incarnation: Incarnation, seed: u64) -> Self {
        Self {
            group,
            node,
            incarnation,
            heartbeat_interval_us: 50_000,
            beat_us: 0,
            election_timeout_us: 300_000,
            clock_drift_ppm: 500,
            tail_bytes_max: 16 << 20,
            uncommitted_bytes_max: 64 << 20,
            gather_us: 0,
            inflight_bytes_max: 4 << 20,
            append_bytes_max: 1 << 20,
            seed,
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }

    /// Whether this replica is to show a certain bug. Never without the feature `planted-bugs`.
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn planted(&self, bug: PlantedBug) -> bool {
        self.planted_bug == Some(bug)
    }

    /// Whether this replica is to show a certain bug. Never without the feature `planted-bugs`.
    #[cfg(not(feature = "planted-bugs"))]
    #[allow(clippy::unused_self)]
    pub(crate) const fn planted(&self, _bug: PlantedBug) -> bool {
        false
    }
}

/// What a replica starts from: what the durable log held.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The durable hard state.
    pub hard_state: HardState,
    /// What each replica had acknowledged, and was committed, as far as this one had heard: only ever too little.
    pub remembered: BTreeMap<NodeId, Index>,
    /// The snapshot that the log begins behind; at index 0 it only carries the first membership.
    pub base: SnapshotMeta,
    /// The first entries behind it, if they were not read: they are applied, and the core needs no more than their terms.
    pub unread: Unread,
    /// All other entries.
    pub entries: Vec<Entry>,
    /// What the state machine has applied already (a snapshot's index, or 0).
    pub applied: Index,
    /// The number of the last write given out before, if numbering continues; 0 otherwise.
    pub last_write: WriteId,
}
