//! The nouns of the protocol: identifiers, log entries and the state that must be durable.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The value one above this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A leader's period of office. Starts at 0 before any election; at most one leader a term.
    Term
}
number! {
    /// A position in the log. The first entry has index 1; index 0 stands for the empty log.
    Index
}
number! {
    /// A replica's identity within its cluster, the same in every group it takes part in. Never reused.
    NodeId
}
number! {
    /// A consensus group: one log, one leader, one state machine.
    GroupId
}
number! {
    /// The number of a request to persist, rising by one with every [`Write`](crate::Write) of a group.
    /// Completions name it, so that a late one can't be taken for a newer one.
    WriteId
}
number! {
    /// Microseconds on this node's own monotonic clock, which must keep running while the machine is
    /// suspended. Meaningful only on the node that read it.
    Timestamp
}
number! {
    /// Milliseconds of replicated time: stamped on every entry by its leader, never going back along
    /// the log, continued by the next leader. Leases are counted in it.
    ClusterTime
}
number! {
    /// Which start of a node a proposal came from: greater at every start of the process.
    Incarnation
}

impl GroupId {
    /// The group that every cluster has: keys, leases and the cluster's own metadata.
    pub const METADATA: Self = Self(1);
}

impl Index {
    /// The index one below, or `None` at 0.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
}

impl Timestamp {
    /// This time moved on by `micros` microseconds.
    #[must_use]
    pub fn after_micros(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds from `earlier` to this time; 0 if `earlier` is later.
    #[must_use]
    pub fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Where a log ends, or the point that a message speaks of. Ordered as Raft compares logs: by term,
/// then by index (Raft thesis section 3.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogPosition {
    /// Term of the entry there; 0 for the empty log.
    pub term: Term,
    /// Index of the entry there; 0 for the empty log.
    pub index: Index,
}

/// Where a proposal came from. Names it across retries, so that it is applied at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The node that a client gave the command to.
    pub node: NodeId,
    /// Which start of that node.
    pub incarnation: Incarnation,
    /// Rises by one with every new command of this start; a retry keeps it.
    pub sequence: u64,
    /// Every sequence below this is settled at the origin: it will not be proposed again, and what is
    /// remembered of it can be forgotten.
    pub settled_below: u64,
}

/// A command on its way into the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Names the command across retries.
    pub origin: Origin,
    /// What the state machine is to do; opaque here.
    pub command: Bytes,
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Opens a leader's term, so that entries of older terms can be committed (Raft thesis section 3.6.2).
    Noop,
    /// Nothing but the passing of cluster time, when something waits for it.
    Tick,
    /// A command for the state machine.
    Command(Proposal),
}

impl Payload {
    /// Bytes of the command inside; 0 for the others.
    #[must_use]
    pub fn command_bytes(&self) -> usize {
        match self {
            Self::Noop | Self::Tick => 0,
            Self::Command(proposal) => proposal.command.len(),
        }
    }
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
    /// The leader's cluster time when it was appended; never less than its predecessor's.
    pub time: ClusterTime,
    /// What it carries.
    pub payload: Payload,
}

impl Entry {
    /// Term and index of this entry.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        LogPosition { term: self.term, index: self.index }
    }

    /// An upper estimate of what the entry takes in memory and in a message, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        ENTRY_OVERHEAD_BYTES + self.payload.command_bytes()
    }
}

/// What [`Entry::weight`] counts for everything but the command.
pub const ENTRY_OVERHEAD_BYTES: usize = 64;

/// What must be durable before a node speaks of it (Raft thesis figure 3.1, "persistent state").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// The highest term seen.
    pub term: Term,
    /// Who got this node's vote in that term.
    pub voted_for: Option<NodeId>,
    /// An index known to be committed. Only a help for a quick start: written along with other things,
    /// never on its own, and allowed to be behind.
    pub commit: Index,
    /// Nothing is known of earlier starts under this node's identity, so that it neither votes nor counts until
    /// it has made good for whatever they may have promised. True of a new data directory.
    pub is_newcomer: bool,
    /// The longest that this node may have promised a leader to elect nobody else, in microseconds. Durable
    /// before it is promised; a node that starts keeps to it, whatever it is set to by then.
    pub promised_us: u64,
    /// Whose reign `term` is, once that was heard. Written along with other things, as `commit` is.
    pub reign: Option<Reign>,
}

/// A leader's time in office. There is one a term at most: whoever sees another one knows that a disk has forgotten a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    /// Who leads.
    pub leader: NodeId,
    /// The leader's own clock when it was elected: tells two reigns of one node in one term apart.
    pub since: Timestamp,
}

/// Who takes part in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The nodes whose votes and acknowledgements count.
    pub voters: BTreeSet<NodeId>,
}

/// What a snapshot stands for: all entries up to and with `position`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The last entry that the snapshot holds the effect of.
    pub position: LogPosition,
    /// That entry's cluster time.
    pub time: ClusterTime,
    /// The membership in force at that entry.
    pub membership: Membership,
}
