//! What the rest of a program holds of a running node.

pub(crate) mod server_side;

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::TrySendError;
use ruvector_protocol::{ClusterTime, GroupId, Index, NodeId, Term};
use ruvector_state_machine::StateMachine;
use ruvector_status::{GroupStatus, NodeStatus};
use ruvector_storage::{SnapshotInfo, SnapshotListing};
use tokio::sync::oneshot;

use crate::answer::Courier;
use crate::budget::Permit;
use crate::config::Member;
use crate::log_record::LogRecord;
use crate::mailbox::Mailbox;
use crate::outcome::{Applied, NodeError, ReadLevel, ReadResult};
use crate::publication::Published;
use crate::request::{Administration, Ask, Request};
use crate::shared::GroupShared;

/// A cheap, cloneable way to use a group of a running node from any thread.
///
/// Its futures run on any executor; [`block_on`](crate::block_on) waits for one without.
#[derive(Debug)]
pub struct Handle<M: StateMachine> {
    shared: Arc<GroupShared<M::View>>,
    requests: Mailbox<M>,
    courier: Arc<Courier<M>>,
}

impl<M: StateMachine> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            requests: self.requests.clone(),
            courier: Arc::clone(&self.courier),
        }
    }
}

impl<M: StateMachine> Handle<M> {
    pub(crate) fn new(
        shared: Arc<GroupShared<M::View>>,
        requests: Mailbox<M>,
        courier: Arc<Courier<M>>,
    ) -> Self {
        Self { shared, requests, courier }
    }

    /// Has a command committed and applied, through the leader, wherever it is. Proposes again by itself
    /// when the leader changes; applied at most once.
    ///
    /// # Errors
    /// Any [`NodeError`]; only [`NodeError::OutcomeUnknown`] and [`NodeError::Stopped`] leave it open whether
    /// the command was or will be applied.
    pub async fn propose(&self, command: Bytes) -> Result<Applied<M::Response>, NodeError> {
        self.propose_with(command, None).await
    }

    /// A version of the state that is as fresh as asked.
    ///
    /// # Errors
    /// [`NodeError::NoLeader`], [`NodeError::TooStale`], [`NodeError::TooBusy`], [`NodeError::Stopped`].
    pub async fn read(&self, level: ReadLevel) -> Result<ReadResult<M::View>, NodeError> {
        self.ask(|reply| Ask::Read { level, reply }).await
    }

    /// The newest version of this node's own state: at once if it was read of late, otherwise as soon as the
    /// node comes to it. It includes everything that any caller of this node was told before.
    ///
    /// # Errors
    /// [`NodeError::TooBusy`], [`NodeError::Stopped`].
    pub async fn published(&self) -> Result<Arc<Published<M::View>>, NodeError> {
        match self.shared.publication.newest() {
            Some(published) => Ok(published),
            None => self.ask(|reply| Ask::Publish { reply }).await,
        }
    }

    /// The group's id.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.shared.group
    }

    /// The group's name.
    #[must_use]
    pub fn group_name(&self) -> &str {
        &self.shared.name
    }

    /// The names of the members of any group of the cluster, also of one that this node is not in; `None` if there is no such
    /// group.
    #[must_use]
    pub fn members_of(&self, group: &str) -> Option<Vec<&str>> {
        let identity = &self.shared.node.identity;
        let found = identity.groups.iter().find(|known| known.name == group)?;
        let members = identity.members.iter().filter(|member| found.members.contains(&member.id));
        Some(members.map(|member| member.name.as_str()).collect())
    }

    /// This node's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.shared.node.identity.node_id
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.shared.node.identity.cluster_id
    }

    /// This node's name.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.shared.node.identity.node_name
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.shared.node.identity.cluster_name
    }

    /// The members, by name, with the client addresses known so far.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.shared.node.members()
    }

    /// The term, as last published.
    #[must_use]
    pub fn term(&self) -> Term {
        self.shared.term()
    }

    /// The leader this node knows of, as last published.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.shared.leader()
    }

    /// Everything there is to know of the node: of this group and of all others, without their stores.
    ///
    /// # Errors
    /// [`NodeError::Stopped`], [`NodeError::TooBusy`].
    pub async fn status(&self) -> Result<NodeStatus, NodeError> {
        self.administrate(|reply| Administration::Status { reply }).await
    }

    /// What there is to know of this group alone.
    ///
    /// # Errors
    /// [`NodeError::Stopped`], [`NodeError::TooBusy`].
    pub async fn group_status(&self) -> Result<GroupStatus, NodeError> {
        self.administrate(|reply| Administration::GroupStatus { reply }).await
    }

    /// The cluster time that this node would stamp now.
    ///
    /// # Errors
    /// [`NodeError::Stopped`], [`NodeError::TooBusy`].
    pub async fn cluster_time(&self) -> Result<ClusterTime, NodeError> {
        self.administrate(|reply| Administration::ClusterTime { reply }).await
    }

    /// The newest entries of this node's log, oldest first.
    ///
    /// # Errors
    /// [`NodeError::Stopped`], [`NodeError::TooBusy`].
    pub async fn log_tail(&self, count: usize) -> Result<Vec<LogRecord>, NodeError> {
        self.administrate(|reply| Administration::LogTail { count, reply }).await
    }

    /// Drops this node's log entries below an index, taking a snapshot first if none covers them. Answers
    /// with the first index then held.
    ///
    /// # Errors
    /// [`NodeError::Refused`] if the index is not applied yet.
    pub async fn compact_log(&self, before: Index) -> Result<Index, NodeError> {
        self.administrate(|reply| Administration::CompactLog { before, reply }).await
    }

    /// Takes a snapshot of this node's present state under a name that no snapshot has.
    ///
    /// # Errors
    /// [`NodeError::Refused`] if the name is taken or not a plain file name.
    pub async fn create_snapshot(&self, name: &str) -> Result<SnapshotInfo, NodeError> {
        let name = name.to_owned();
        self.administrate(|reply| Administration::CreateSnapshot { name, reply }).await
    }

    /// This node's snapshots, those among them that can't be used.
    ///
    /// # Errors
    /// [`NodeError::Refused`] with the disk's error.
    pub async fn list_snapshots(&self) -> Result<SnapshotListing, NodeError> {
        self.administrate(|reply| Administration::ListSnapshots { reply }).await
    }

    /// Waits until the node stops by itself, which it does only on a failed disk, corrupt data or a broken
    /// invariant, and says why; or after [`Node::stop`](crate::Node::stop), with `None`.
    pub async fn stopped(&self) -> Option<String> {
        self.shared.node.stopped().await
    }

    /// Proposes a command; the permit is let go when the node has done with it.
    async fn propose_with(
        &self,
        command: Bytes,
        permit: Option<Permit>,
    ) -> Result<Applied<M::Response>, NodeError> {
        let bytes_max = self.shared.command_bytes_max;
        if command.len() > bytes_max {
            return Err(NodeError::TooLarge { bytes: command.len(), bytes_max });
        }
        self.ask(|reply| Ask::Propose { command, permit, reply }).await
    }

    async fn administrate<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, NodeError>>) -> Administration,
    ) -> Result<T, NodeError> {
        self.ask(|reply| Ask::Administration(request(reply))).await
    }

    /// Queues a request for the driver and waits for its answer.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, NodeError>>) -> Ask<M>,
    ) -> Result<T, NodeError> {
        let (reply, answer) = oneshot::channel();
        match self.requests.try_send(Request::Ask(self.shared.group, request(reply))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(NodeError::TooBusy),
            Err(TrySendError::Disconnected(_)) => return Err(self.shared.node.stopped_error()),
        }
        answer.await.unwrap_or_else(|_| Err(self.shared.node.stopped_error()))
    }
}
