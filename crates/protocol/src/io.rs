//! What enters the core and what leaves it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::message::Envelope;
use crate::types::{
    ClusterTime, Entry, GroupId, HardState, Incarnation, Index, LogPosition, NodeId, Origin, Proposal, Reign,
    SnapshotMeta, Term, WriteId,
};

/// A read's number, chosen by the node, unique while the read waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReadId(pub u64);

/// How a read is made safe. (A stale read asks nothing of the protocol.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadLevel {
    /// Leadership is confirmed by a quorum after the read arrived (Raft thesis section 6.4).
    Strong,
    /// The leader's lease is trusted: no round, but safety rests on the bound of clock drift (section 6.4.1).
    Lease,
}

/// Everything that can happen to a group.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed; due when [`deadline`](crate::raft::Raft::deadline) is reached.
    Wake,
    /// A peer's message arrived.
    Receive(Envelope),
    /// Commands to put into the log, here or at the leader. A leader that [gathers](crate::Config::gather_us) appends
    /// them in the [`Wake`](Self::Wake) that its deadline then asks for.
    Propose(Vec<Proposal>),
    /// The state machine waits for cluster time to pass: append a [`Payload::Tick`](crate::Payload::Tick).
    /// Ignored unless this node leads and its no-op is committed.
    ProposeTick,
    /// Reads that wait to be made safe.
    Read {
        /// Their numbers.
        ids: Vec<ReadId>,
        /// How.
        level: ReadLevel,
    },
    /// Everything up to and with this write is durable.
    Persisted(WriteId),
    /// The state machine has applied up to and with this index.
    Applied(Index),
    /// The connection to a peer broke. A hint only: a follower starts its pre-vote early if it was the leader.
    PeerLost(NodeId),
    /// The answer to [`Effect::LoadEntries`].
    EntriesLoaded {
        /// The follower they are for.
        to: NodeId,
        /// Consecutive entries from the asked index on; empty if the log no longer holds it, which makes
        /// the core ask for a snapshot.
        entries: Vec<Entry>,
    },
    /// The answer to [`Effect::SendSnapshot`], when the transfer ended.
    SnapshotSent {
        /// The follower it went to.
        to: NodeId,
        /// What the follower now has, or `None` if the transfer failed.
        position: Option<LogPosition>,
    },
    /// A whole snapshot came from a peer; its file is verified and durable on this node.
    SnapshotReceived {
        /// Who sent it.
        from: NodeId,
        /// The term of the envelopes that it came in.
        term: Term,
        /// What it stands for.
        meta: SnapshotMeta,
    },
    /// Whether this replica's state differs from a peer's and no majority has decided which of them is right. As long as it
    /// is so it neither leads nor votes nor serves reads: one of the two would give wrong answers, and nobody knows which.
    Suspect(bool),
    /// The durable log now begins behind this snapshot of this node's own state: entries up to and with
    /// it are no longer available from [`Effect::LoadEntries`].
    Compacted(SnapshotMeta),
}

/// What the node must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make durable, then answer [`Input::Persisted`].
    Persist(Write),
    /// Send; may be lost.
    Send(Envelope),
    /// Apply these committed entries, consecutive, then answer [`Input::Applied`].
    Apply(Vec<Entry>),
    /// The reads may be served once `index` is applied.
    ServeRead {
        /// The reads.
        ids: Vec<ReadId>,
        /// What must be applied first.
        index: Index,
        /// For lease reads on the leader: the read is only good if, after it was made, the clock still
        /// is before this. `None` where no clock matters.
        lease_until: Option<crate::types::Timestamp>,
    },
    /// The reads can't be made safe now; the node may ask again.
    RejectReads {
        /// The reads.
        ids: Vec<ReadId>,
        /// Why.
        reason: RejectReason,
    },
    /// The proposals were not taken; the node may propose them again.
    RejectProposals {
        /// The proposals.
        origins: Vec<Origin>,
        /// Why.
        reason: RejectReason,
    },
    /// Read entries of the durable log for a follower that is behind the tail in memory.
    LoadEntries {
        /// The follower.
        to: NodeId,
        /// The first index wanted.
        from: Index,
        /// The last index wanted.
        through: Index,
        /// How much at most; at least one entry is always wanted.
        bytes_max: usize,
    },
    /// Send the newest snapshot to a follower that is behind the durable log.
    SendSnapshot {
        /// The follower.
        to: NodeId,
    },
    /// Replace the state machine's state by this snapshot, which [`Input::SnapshotReceived`] told of. The
    /// [`Effect::Persist`] right before it carries the same snapshot.
    InstallSnapshot(SnapshotMeta),
    /// This replica is a newcomer, and a leader has heard a start of this node with a higher number. What that one promised
    /// still counts, and this one can't make good for it: it must not go on under its number. The wall clock, which
    /// numbers are drawn from on an empty disk, was set back.
    IncarnationSuperseded {
        /// This start's number.
        own: Incarnation,
        /// That of the later start.
        by: Incarnation,
    },
    /// This replica's log lacks entries that it had acknowledged to the leader of this term: its disk lost writes
    /// that it had called durable, or was replaced by an older copy. They may have been committed by that
    /// acknowledgement, so the replica must not go on: another leader could be elected without them.
    ///
    /// A heartbeat's commit index is never above what the follower acknowledged in this term, and in a term no
    /// follower's log becomes shorter than that. A newcomer is no case of this: it says that it has forgotten everything.
    EntriesLost {
        /// What it had acknowledged, at least.
        acknowledged: Index,
        /// Where its log ends.
        last: Index,
    },
    /// This replica has committed what the leader of its term does not have. One of the two rests on a disk that has lost
    /// durable writes, and nobody can say which: this replica must not go on, for what it holds may be all that is
    /// left of acknowledged writes.
    ///
    /// It can't come about otherwise, nor by a message that is late. A leader has everything that was committed before its
    /// term (Raft thesis section 3.6.3), and never takes back what it says of its own log: an entry and the one
    /// before it, where its log ended when it was elected, since when it leads. So each of these contradicts what is
    /// committed here for good or not at all, and all come from the leader of the current term or are not looked at. A
    /// term has two reigns only if a voter has forgotten its vote; a newcomer, which may have, does not vote.
    Contradicted {
        /// Who leads.
        leader: NodeId,
        /// What can't both be true.
        contradiction: Contradiction,
    },
    /// A follower says that it has committed what this leader's log does not hold: see [`Contradicted`](Self::Contradicted).
    /// The follower counts for nothing any more. Told once for each follower, until that says something else.
    FollowerContradicts {
        /// The follower.
        follower: NodeId,
        /// What it has committed.
        committed: LogPosition,
    },
    /// The leader this node knows of, or its term, changed.
    LeaderChanged {
        /// The leader, if known.
        leader: Option<NodeId>,
        /// The term.
        term: Term,
    },
}

/// What a replica knows and what its leader says, of which only one can be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// The leader has another entry in the place of a committed one.
    #[error("entry {} of term {} is committed here, and the leader's is of term {theirs}", own.index, own.term)]
    Entry {
        /// What is committed here.
        own: LogPosition,
        /// The term of the leader's entry.
        theirs: Term,
    },
    /// The leader was elected with a log that ended before a committed entry.
    #[error(
        "entry {} of term {} is committed here, and the leader was elected with a log that ended at entry {} of term {}",
        own.index, own.term, leader_last.index, leader_last.term
    )]
    Missing {
        /// What is committed here.
        own: LogPosition,
        /// Where the leader's log ended.
        leader_last: LogPosition,
    },
    /// The leader's entries continue an entry that is here, and their cluster time goes back from this one's: it is another one of
    /// the same term, which two replicas led then.
    #[error(
        "entry {} of term {} is another one here than at the leader, though each term has one leader: its time is {}, \
         and the leader's next entry is of time {}",
        own.index, own.term, own_time.0, next_time.0
    )]
    Time {
        /// The entry.
        own: LogPosition,
        /// Its time here.
        own_time: ClusterTime,
        /// The time of the leader's next entry.
        next_time: ClusterTime,
    },
    /// The term is another reign's.
    #[error("this term was led before: by {:x}, and not since the same election", known.leader.0)]
    Reign {
        /// Whose it is.
        known: Reign,
        /// Who speaks as its leader now.
        claimed: Reign,
    },
}

/// Why something was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectReason {
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// Leadership was lost before the answer was certain.
    #[error("leadership lost")]
    LeadershipLost,
    /// The bound on what is in memory and not yet committed is reached.
    #[error("too many uncommitted entries")]
    TooBusy,
    /// The leader holds no lease at the moment.
    #[error("no lease")]
    NoLease,
}

/// A request to make something durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its number within the group.
    pub id: WriteId,
    /// The group.
    pub group: GroupId,
    /// The new hard state, if it changed.
    pub hard_state: Option<HardState>,
    /// How far each replica is known to have come, if that is news: see [`Restored::remembered`](crate::Restored::remembered).
    pub remembered: Option<BTreeMap<NodeId, Index>>,
    /// The log now begins behind this snapshot: what was in it before is dropped.
    pub snapshot: Option<SnapshotMeta>,
    /// Consecutive entries; they replace everything from the first one's index on.
    pub entries: Vec<Entry>,
}
