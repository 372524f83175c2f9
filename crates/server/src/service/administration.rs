//! What is asked of the node itself rather than of its store.

use ruvector_node::{GroupStatus, Index, LogRecord, Member, NodeStatus, SnapshotInfo, SnapshotListing};

use super::caller::Caller;
use super::error::ServiceError;

impl Caller {
    /// How the node does.
    pub(crate) async fn status(&self) -> Result<NodeStatus, ServiceError> {
        self.principal.may_look()?;
        Ok(self.handle.status().await?)
    }

    /// How the group does.
    pub(crate) async fn group_status(&self) -> Result<GroupStatus, ServiceError> {
        self.principal.may_look()?;
        Ok(self.handle.group_status().await?)
    }

    /// The members. They don't change yet, but whoever wants a linearizable answer also wants to know whether there
    /// is a quorum.
    pub(crate) async fn cluster_members(&self, serializable: bool) -> Result<Vec<Member>, ServiceError> {
        self.principal.may_look()?;
        self.version(serializable).await?;
        Ok(self.members())
    }

    /// The newest entries of this node's log, oldest first.
    pub(crate) async fn log_tail(&self, count: usize) -> Result<Vec<LogRecord>, ServiceError> {
        self.principal.may_look()?;
        Ok(self.handle.log_tail(count).await?)
    }

    /// Drops this node's log entries below an index. Answers with the first index then held.
    pub(crate) async fn compact_log(&self, before: Index) -> Result<Index, ServiceError> {
        self.principal.may_administer()?;
        Ok(self.handle.compact_log(before).await?)
    }

    /// Takes a snapshot under a name.
    pub(crate) async fn create_snapshot(&self, name: &str) -> Result<SnapshotInfo, ServiceError> {
        self.principal.may_administer()?;
        Ok(self.handle.create_snapshot(name).await?)
    }

    /// This node's snapshots, those among them that can't be used.
    pub(crate) async fn list_snapshots(&self) -> Result<SnapshotListing, ServiceError> {
        self.principal.may_look()?;
        Ok(self.handle.list_snapshots().await?)
    }
}
