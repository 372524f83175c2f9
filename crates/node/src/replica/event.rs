//! What happens to a replica and what it wants done.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use ruvector_protocol::{GroupId, Index, NodeId, SnapshotMeta, Term, Timestamp};
use ruvector_state_machine::StateMachine;
use ruvector_storage::{SnapshotInfo, SnapshotReceiver, StorageError};
use ruvector_transport::PeerMessage;

use super::origins::OriginWindow;
use crate::outcome::{Applied, NodeError, ReadLevel};

/// A caller's number for something it waits for; chosen by the caller, unique while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Everything that can happen to a replica.
#[derive(Debug)]
pub enum Event {
    /// Its [`deadline`](super::Replica::deadline) is reached.
    Wake,
    /// A peer's message arrived.
    Message(PeerMessage),
    /// The connection to a peer broke.
    PeerLost(NodeId),
    /// Commands of this node's clients, in the order in which they came.
    Propose(Vec<(Ticket, Bytes)>),
    /// Reads of this node's clients.
    Read(Vec<(Ticket, ReadLevel)>),
    /// A snapshot under a name is wanted.
    CreateSnapshot {
        /// Who waits for it.
        ticket: Ticket,
        /// Its name.
        name: String,
    },
    /// The log below an index is to be dropped.
    CompactLog {
        /// Who waits for it.
        ticket: Ticket,
        /// The first index that is kept.
        before: Index,
    },
    /// A [`SnapshotJob`] ended.
    JobDone(JobDone),
}

/// What a replica wants done, in this order.
#[derive(Debug)]
pub enum Output<M: StateMachine> {
    /// Send to a peer; may be lost.
    Send(PeerMessage),
    /// A command's fate.
    Proposed {
        /// Whose.
        ticket: Ticket,
        /// What became of it.
        result: Result<Applied<M::Response>, NodeError>,
    },
    /// A read may be made on the present version, or not at all.
    ReadReady {
        /// Whose.
        ticket: Ticket,
        /// How.
        result: Result<ReadGrant, NodeError>,
    },
    /// A snapshot was made.
    SnapshotCreated {
        /// Who waits for it.
        ticket: Ticket,
        /// The snapshot.
        result: Result<SnapshotInfo, NodeError>,
    },
    /// The log was compacted.
    LogCompacted {
        /// Who waits for it.
        ticket: Ticket,
        /// The first index held now.
        result: Result<Index, NodeError>,
    },
    /// Run this where it may take its time, then hand in [`Event::JobDone`].
    Run {
        /// Whose event that is.
        group: GroupId,
        /// What to run.
        job: SnapshotJob<M>,
    },
    /// The applied index moved: before going on, see that no reader gets an older
    /// [`view`](super::Replica::view).
    Published {
        /// Of which group.
        group: GroupId,
    },
}

/// On what condition a read may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadGrant {
    /// The read is good only if the clock is still before this after it was made. `None`: it is good.
    pub lease_until: Option<Timestamp>,
    /// How old the state is at most, in microseconds; `None` if that is not known (stale reads only).
    pub staleness_us: Option<u64>,
}

/// Work on snapshot files that takes long and touches no replica state. Its end must be told, whatever it is: a replica that
/// hears nothing of a job takes no other snapshot, and its log grows.
#[derive(Debug)]
pub enum SnapshotJob<M: StateMachine> {
    /// Write a version of the state to a file.
    Write {
        /// The group.
        group: GroupId,
        /// Its name.
        name: String,
        /// Who waits for it, if anyone.
        ticket: Option<Ticket>,
        /// What it stands for.
        meta: SnapshotMeta,
        /// The state.
        view: M::View,
        /// What is remembered of origins, which belongs to the state.
        origins: OriginWindow,
        /// The index that is applied by now: while it moves the replica is busy, and this takes its time.
        applied: Arc<AtomicU64>,
        /// Where it goes.
        store: ruvector_storage::SnapshotStore,
    },
    /// Verify a received file and give it its name.
    Complete {
        /// The group.
        group: GroupId,
        /// Who sent it.
        from: NodeId,
        /// The term it was sent in.
        term: Term,
        /// What it stands for.
        meta: SnapshotMeta,
        /// Which of this replica's transfers brought it.
        transfer: u64,
        /// The file.
        receiver: SnapshotReceiver,
    },
    /// Read a snapshot that a peer could not use, to see whether it is damaged here.
    Verify {
        /// Its name.
        name: String,
        /// Where it is.
        store: ruvector_storage::SnapshotStore,
    },
}

/// How a [`SnapshotJob`] ended.
#[derive(Debug)]
pub enum JobDone {
    /// A file was written.
    Written {
        /// Who waits for it, if anyone.
        ticket: Option<Ticket>,
        /// The file.
        result: Result<SnapshotInfo, StorageError>,
    },
    /// A received file was verified.
    Completed {
        /// Who sent it.
        from: NodeId,
        /// The term it was sent in.
        term: Term,
        /// What it stands for.
        meta: SnapshotMeta,
        /// Which of this replica's transfers brought it.
        transfer: u64,
        /// The file.
        result: Result<SnapshotInfo, StorageError>,
    },
    /// A snapshot was read from its beginning to its end.
    Verified {
        /// Its name.
        name: String,
        /// How it was found.
        verdict: Verdict,
    },
}

/// How a snapshot was found that was read from its beginning to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong with it.
    Sound,
    /// This is.
    Damaged(String),
    /// It could not be read to its end, for want of a thread: nothing is known of it.
    Unknown,
}
