//! One replica of one group.

use crate::io::{Effect, Input};
use crate::types::{
    ClusterTime, Entry, GroupId, HardState, Index, LogPosition, Membership, NodeId, SnapshotMeta, Term,
    Timestamp, WriteId,
};

/// What a group's replica is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// The group.
    pub group: GroupId,
    /// This node.
    pub node: NodeId,
    /// How often a leader makes itself heard, in microseconds.
    pub heartbeat_interval_us: u64,
    /// The minimum election timeout, in microseconds; the actual one is drawn between this and twice this.
    /// No vote is given while a leader was heard within it, and a leader that hears no quorum for as long
    /// steps down.
    pub election_timeout_us: u64,
    /// The bound of clock drift between two nodes, in parts per million; shortens the leader's lease.
    pub clock_drift_ppm: u64,
    /// How many bytes of entries are kept in memory behind what is applied and acknowledged.
    pub tail_bytes_max: usize,
    /// How many bytes of uncommitted entries a leader takes before it refuses proposals.
    pub uncommitted_bytes_max: usize,
    /// How many bytes of entries may be under way to one follower.
    pub inflight_bytes_max: usize,
    /// How many bytes of entries one append carries at most (at least one entry always fits).
    pub append_bytes_max: usize,
    /// Seeds the election jitter. Differs between nodes and starts.
    pub seed: u64,
}

/// What a replica starts from: what the durable log held.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The durable hard state.
    pub hard_state: HardState,
    /// The snapshot that the log begins behind; at index 0 it only carries the first membership.
    pub base: SnapshotMeta,
    /// All entries behind it.
    pub entries: Vec<Entry>,
    /// What the state machine has applied already (a snapshot's index, or 0).
    pub applied: Index,
    /// The number of the last write given out before, if numbering continues; 0 otherwise.
    pub last_write: WriteId,
}

/// What a replica does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// A leader's view of one follower, for status displays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// The follower.
    pub node: NodeId,
    /// The last index known to match.
    pub matched: Index,
    /// `probe`, `replicate` or `snapshot`.
    pub state: &'static str,
    /// When it was last heard.
    pub heard_at: Option<Timestamp>,
}

/// A copy of what there is to know of a replica, for status displays and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftStatus {
    /// What it does.
    pub role: RoleName,
    /// The current term.
    pub term: Term,
    /// The leader it knows of.
    pub leader: Option<NodeId>,
    /// Who got its vote in this term.
    pub voted_for: Option<NodeId>,
    /// The committed index.
    pub commit: Index,
    /// Handed to the state machine and answered.
    pub applied: Index,
    /// Where the log ends.
    pub last: LogPosition,
    /// Where the log begins: the snapshot it lies behind.
    pub base: LogPosition,
    /// Who takes part.
    pub membership: Membership,
    /// The followers, if it leads.
    pub followers: Vec<FollowerStatus>,
}

/// One replica of one group: a state machine over [`Input`]s that answers with [`Effect`]s.
#[derive(Debug)]
pub struct Raft {}

impl Raft {
    /// A replica that continues from what was durable. It starts as a follower.
    #[must_use]
    pub fn new(config: Config, restored: Restored, now: Timestamp) -> Self {
        let _ = (config, restored, now);
        todo!()
    }

    /// Takes one input and appends what follows from it to `effects`, to be done in order.
    pub fn step(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) {
        let _ = (now, input, effects);
        todo!()
    }

    /// When [`Input::Wake`] is due next.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        todo!()
    }

    /// The leader this replica knows of.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        todo!()
    }

    /// The current term.
    #[must_use]
    pub fn term(&self) -> Term {
        todo!()
    }

    /// Whether this replica leads and has committed an entry of its own term, so that what it has
    /// committed is all that anyone has.
    #[must_use]
    pub fn is_established_leader(&self) -> bool {
        todo!()
    }

    /// The cluster time that a leader would stamp on an entry now; a follower's is an estimate.
    #[must_use]
    pub fn cluster_time(&self, now: Timestamp) -> ClusterTime {
        let _ = now;
        todo!()
    }

    /// The end of the leader's lease, if this replica leads and holds one that ends after `now`.
    #[must_use]
    pub fn lease_until(&self, now: Timestamp) -> Option<Timestamp> {
        let _ = now;
        todo!()
    }

    /// How old the applied state is at most, in microseconds: 0 on an established leader with a lease;
    /// on a follower, the time since it sent the message that the leader answered with a commit index
    /// that is applied by now; `None` if it never heard a leader.
    #[must_use]
    pub fn staleness_us(&self, now: Timestamp) -> Option<u64> {
        let _ = now;
        todo!()
    }

    /// A copy of everything there is to know.
    #[must_use]
    pub fn status(&self) -> RaftStatus {
        todo!()
    }
}
