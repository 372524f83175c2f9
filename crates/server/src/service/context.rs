//! What the service of a group consists of.

use std::sync::Arc;
use std::time::Duration;

use ruvector_node::daemon::Budget;
use ruvector_node::state_machine::kv::{KvMachine, KvView};
use ruvector_node::{Handle, Member, Published, ReadLevel};

use super::counters::Counters;
use super::error::ServiceError;
use super::renewals::Renewals;
use super::watch::hub::WatchHub;
use crate::config::Limits;

/// How many election timeouts in a row a stream may be without a leader.
const TIMEOUTS_WITHOUT_LEADER: u32 = 3;

/// A published version of the store.
pub(crate) type Version = Arc<Published<KvView>>;

/// What the service of a group consists of.
pub(crate) struct Context {
    pub(crate) handle: Handle<KvMachine>,
    pub(crate) limits: Limits,
    /// Of the whole node, as is all that follows but the watches and renewals.
    pub(crate) counters: Counters,
    /// What clients may have the node hold.
    pub(crate) budget: Arc<Budget>,
    pub(crate) watch_hub: Arc<WatchHub>,
    pub(crate) renewals: Renewals,
    /// Where clients reach this node, `host:port`.
    pub(crate) client_address: String,
    pub(crate) election_timeout: Duration,
}

impl Context {
    /// The newest version of this node's own, or one that is linearizable.
    pub(crate) async fn version(&self, serializable: bool) -> Result<Version, ServiceError> {
        if serializable {
            return Ok(self.handle.published().await?);
        }
        Ok(self.handle.read(ReadLevel::Strong).await?.published)
    }

    /// The members. A node knows its own client address best.
    pub(crate) fn members(&self) -> Vec<Member> {
        let mut members = self.handle.members();
        if let Some(own) = members.iter_mut().find(|member| member.id == self.handle.node_id()) {
            own.client_address = Some(self.client_address.clone());
        }
        members
    }

    /// Fails if there is no leader: for callers that would rather know than wait.
    pub(crate) fn require_leader(&self) -> Result<(), ServiceError> {
        if self.handle.leader().is_none() { Err(ServiceError::NoLeader) } else { Ok(()) }
    }

    /// Waits until there has been no leader for a while: for streams whose callers would rather know.
    pub(crate) fn leader_lost(&self) -> impl Future<Output = ServiceError> + Send + use<> {
        let (handle, election_timeout) = (self.handle.clone(), self.election_timeout);
        async move {
            let mut without = 0;
            while without < TIMEOUTS_WITHOUT_LEADER {
                tokio::time::sleep(election_timeout).await;
                without = if handle.leader().is_none() { without + 1 } else { 0 };
            }
            ServiceError::NoLeader
        }
    }
}
