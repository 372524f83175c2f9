//! What reaches the driver from this node; what peers say comes by the transport.

use std::sync::Arc;

use bytes::Bytes;
use ruvector_protocol::{ClusterTime, GroupId, Index};
use ruvector_state_machine::StateMachine;
use ruvector_status::{GroupStatus, NodeStatus};
use ruvector_storage::{SnapshotInfo, SnapshotListing};

use crate::answer::Reply;
use crate::batch::Batch;
use crate::budget::Permit;
use crate::flusher::FlushOutcome;
use crate::log_record::LogRecord;
use crate::outcome::{Applied, ReadLevel, ReadResult};
use crate::publication::Published;
use crate::replica::Event;

/// What reaches the driver from this node.
#[derive(Debug)]
pub(crate) enum Request<M: StateMachine> {
    /// Somebody asks something of a group.
    Ask(GroupId, Ask<M>),
    /// A job of a group has ended.
    Job(GroupId, Event),
    /// The log's thread has written and synced.
    Flushed(FlushOutcome),
    /// The node is to stop.
    Stop,
}

/// What is asked of a group.
#[derive(Debug)]
pub(crate) enum Ask<M: StateMachine> {
    Propose { command: Bytes, permit: Option<Permit>, reply: Reply<Applied<M::Response>> },
    ProposeBatch(Batch<M::Response>),
    Read { level: ReadLevel, reply: Reply<ReadResult<M::View>> },
    Publish { reply: Reply<Arc<Published<M::View>>> },
    Administration(Administration),
}

/// What operators ask.
#[derive(Debug)]
pub(crate) enum Administration {
    Status { reply: Reply<NodeStatus> },
    GroupStatus { reply: Reply<GroupStatus> },
    ClusterTime { reply: Reply<ClusterTime> },
    LogTail { count: usize, reply: Reply<Vec<LogRecord>> },
    CompactLog { before: Index, reply: Reply<Index> },
    CreateSnapshot { name: String, reply: Reply<SnapshotInfo> },
    ListSnapshots { reply: Reply<SnapshotListing> },
}
