//! What all services of a group share.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use ruvector_api::etcdserverpb::ResponseHeader;
use ruvector_node::state_machine::kv::{Command, KvMachine, KvView, Outcome, Revision};
use ruvector_node::{Budget, Handle, Member, Permit, Published, ReadLevel, Share};
use tonic::Status;

use crate::config::Limits;
use crate::etcd::error::{EtcdError, node_status, store_status};
use crate::etcd::renewals::Renewals;
use crate::etcd::watch::hub::WatchHub;
use crate::metrics::Metrics;

/// A published version of the store.
pub(crate) type Version = Arc<Published<KvView>>;

/// What all services of a group share.
pub(crate) struct Context {
    pub(crate) handle: Handle<KvMachine>,
    pub(crate) limits: Limits,
    /// Of the whole node, as is all that follows but the watches and renewals.
    pub(crate) metrics: Arc<Metrics>,
    /// What clients may have the node hold.
    pub(crate) budget: Arc<Budget>,
    /// The same for those who look what is wrong, apart from the others.
    pub(crate) looks_budget: Arc<Budget>,
    pub(crate) watch_hub: Arc<WatchHub>,
    pub(crate) renewals: Renewals,
    /// Where clients reach this node, `host:port`.
    pub(crate) client_address: String,
    pub(crate) election_timeout: Duration,
}

impl Context {
    /// The header of an answer given at a revision of the store.
    pub(crate) fn header(&self, revision: Revision) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.handle.cluster_id(),
            member_id: self.handle.node_id().0,
            revision: revision.0,
            raft_term: self.handle.term().0,
        }
    }

    /// The newest version of this node's own, or one that is linearizable.
    pub(crate) async fn version(&self, serializable: bool) -> Result<Version, Status> {
        if serializable {
            return self.handle.published().await.map_err(node_status);
        }
        Ok(self.handle.read(ReadLevel::Strong).await.map_err(node_status)?.published)
    }

    /// The members. A node knows its own client address best.
    pub(crate) fn members(&self) -> Vec<Member> {
        let mut members = self.handle.members();
        if let Some(own) = members.iter_mut().find(|member| member.id == self.handle.node_id()) {
            own.client_address = Some(self.client_address.clone());
        }
        members
    }
}

/// What a command takes while it waits, beside its bytes.
const COMMAND_BYTES: usize = 512;

/// What the services of one connection have: what is shared, and the account of what is held for this client.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) context: Arc<Context>,
    /// Where it is.
    pub(crate) address: IpAddr,
    pub(crate) share: Arc<Share>,
    /// For calls that look what is wrong.
    pub(crate) looks_share: Arc<Share>,
}

impl Client {
    /// A client that nothing is held for.
    pub(crate) fn new(context: &Arc<Context>, address: IpAddr) -> Self {
        Self {
            address,
            share: context.budget.share(),
            looks_share: context.looks_budget.share(),
            context: Arc::clone(context),
        }
    }

    /// The same client, asking another group.
    pub(crate) fn of_group(&self, context: &Arc<Context>) -> Self {
        Self { context: Arc::clone(context), ..self.clone() }
    }

    /// Holds bytes on this client's account, or refuses what would take them.
    pub(crate) fn take(&self, bytes: usize) -> Result<Permit, Status> {
        self.share.take(bytes).map_err(|_| EtcdError::TooManyRequests.into())
    }

    /// Has a command committed and applied. It is held as long as the node needs it, even if the caller no longer waits.
    pub(crate) async fn propose(&self, command: Command) -> Result<(ResponseHeader, Outcome), Status> {
        let encoded = command.encode();
        drop(command);
        let permit = self.take(encoded.len() + COMMAND_BYTES)?;
        let applied = self.handle.propose_held(encoded, Some(permit)).await.inspect_err(|_| {
            self.metrics.proposals_failed.inc();
        });
        let response = applied.map_err(node_status)?.response;
        let outcome = response.result.map_err(store_status)?;
        Ok((self.header(response.revision), outcome))
    }
}

impl Deref for Client {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}
