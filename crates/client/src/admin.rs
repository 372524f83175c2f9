//! What one node tells of itself, and what it can be told to do.

mod types;

use std::future::Future;
use std::time::Duration;

use crate::group::Channel;
use bytes::Bytes;
use ruvector_api::ruvector::v1 as pb;
use ruvector_api::ruvector::v1::admin_client::AdminClient;
use tokio::time::timeout;
use tonic::{Response, Status};

use crate::client::Client;
use crate::connection::{Connection, service};
use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::verdict::{Effect, judge, timeout_status};

use ruvector_status::NodeStatus;
pub use types::{LogEntry, ReadAnswer, ReadLevel, Snapshot};

/// One node. What is asked here is answered by this node and no other.
#[derive(Clone, Debug)]
pub struct NodeClient {
    connection: Connection,
    request_timeout: Duration,
}

impl NodeClient {
    /// Where the node is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.connection.endpoint
    }

    /// Everything the node knows of itself, with the group that this client asks first.
    ///
    /// # Errors
    /// Any [`ClientError`] but [`ClientError::OutcomeUnknown`].
    pub async fn status(&self) -> Result<NodeStatus, ClientError> {
        let request = pb::StatusRequest {};
        let response =
            self.call(Effect::Read, |mut admin| async move { admin.status(request).await }).await?;
        let malformed = |reason: String| ClientError::Malformed { reason };
        let status: NodeStatus = serde_json::from_str(&response.status)
            .map_err(|error| malformed(format!("the status is not understood: {error}")))?;
        // Every other field has a default for nodes that don't send it.
        if status.group.name.is_empty() {
            return Err(malformed("the status tells of no group".to_owned()));
        }
        Ok(status)
    }

    /// The newest entries of the node's log, oldest first.
    ///
    /// # Errors
    /// Any [`ClientError`] but [`ClientError::OutcomeUnknown`].
    pub async fn log_tail(&self, count: u32) -> Result<Vec<LogEntry>, ClientError> {
        let request = pb::LogTailRequest { count };
        let response =
            self.call(Effect::Read, |mut admin| async move { admin.log_tail(request).await }).await?;
        Ok(response.entries.into_iter().map(Into::into).collect())
    }

    /// Drops the node's log entries below an index; gives the first index then held.
    ///
    /// # Errors
    /// Any [`ClientError`]; [`ClientError::Refused`] if the index is not applied yet.
    pub async fn compact_log(&self, before_index: u64) -> Result<u64, ClientError> {
        let request = pb::CompactLogRequest { before_index };
        let response =
            self.call(Effect::Write, |mut admin| async move { admin.compact_log(request).await }).await?;
        Ok(response.first_index)
    }

    /// Takes a snapshot of the node's state.
    ///
    /// # Errors
    /// Any [`ClientError`]; [`ClientError::Refused`] if the name is taken or no plain file name.
    pub async fn create_snapshot(&self, name: &str) -> Result<Snapshot, ClientError> {
        let request = pb::SnapshotCreateRequest { name: name.to_owned() };
        let response =
            self.call(Effect::Write, |mut admin| async move { admin.snapshot_create(request).await }).await?;
        let missing = || ClientError::Malformed { reason: "the snapshot is missing".to_owned() };
        response.snapshot.map(Into::into).ok_or_else(missing)
    }

    /// The node's snapshots.
    ///
    /// # Errors
    /// Any [`ClientError`] but [`ClientError::OutcomeUnknown`].
    pub async fn list_snapshots(&self) -> Result<Vec<Snapshot>, ClientError> {
        let request = pb::SnapshotListRequest {};
        let response =
            self.call(Effect::Read, |mut admin| async move { admin.snapshot_list(request).await }).await?;
        Ok(response.snapshots.into_iter().map(Into::into).collect())
    }

    async fn call<T, F>(
        &self,
        effect: Effect,
        attempt: impl FnOnce(AdminClient<Channel>) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let admin = admin(self.connection.channel.clone());
        let status = match timeout(self.request_timeout, attempt(admin)).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => timeout_status(&self.connection.endpoint),
        };
        Err(judge(&status, &self.connection.endpoint, effect).error)
    }
}

impl Client {
    /// One node at a time: what is asked there is answered by that node about itself, and not repeated elsewhere.
    pub fn nodes(&self) -> impl Iterator<Item = NodeClient> + '_ {
        let request_timeout = self.options().request_timeout;
        self.connections()
            .iter()
            .map(move |connection| NodeClient { connection: connection.clone(), request_timeout })
    }

    /// Reads one key at a chosen level; the answer tells the level that was served.
    ///
    /// # Errors
    /// Any [`ClientError`] but [`ClientError::OutcomeUnknown`]; [`ClientError::Refused`] if a stale read would be
    /// older than allowed.
    pub async fn read(&self, key: impl Into<Bytes>, level: ReadLevel) -> Result<ReadAnswer, ClientError> {
        let max_staleness_ms = match level {
            ReadLevel::Stale(Some(bound)) => Some(u64::try_from(bound.as_millis()).unwrap_or(u64::MAX)),
            ReadLevel::Stale(None) | ReadLevel::Strong | ReadLevel::Lease => None,
        };
        let wire_level = match level {
            ReadLevel::Strong => pb::ReadLevel::Strong,
            ReadLevel::Lease => pb::ReadLevel::Lease,
            ReadLevel::Stale(_) => pb::ReadLevel::Stale,
        };
        let request = pb::ReadRequest { key: key.into(), level: wire_level.into(), max_staleness_ms };
        let response = self
            .call(Effect::Read, |channel| {
                let request = request.clone();
                async move { admin(channel).read(request).await }
            })
            .await?;
        ReadAnswer::try_from(response)
    }
}

fn admin(channel: Channel) -> AdminClient<Channel> {
    service!(AdminClient<Channel>, channel)
}
