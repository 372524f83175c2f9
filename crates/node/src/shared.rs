//! What the driver publishes and everyone reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use ruvector_protocol::{GroupId, NodeId, Term};
use ruvector_storage::Identity;
use tokio::sync::watch;

use crate::config::Member;
use crate::metrics::Metrics;
use crate::outcome::NodeError;
use crate::publication::{Publication, Published};

/// Why a node stopped: `None` if it was asked to.
type StopReason = Option<String>;

/// What there is of a node beside its groups.
#[derive(Debug)]
pub(crate) struct NodeShared {
    pub(crate) identity: Identity,
    pub(crate) metrics: Metrics,
    client_addresses: ArcSwap<BTreeMap<NodeId, String>>,
    stopped: watch::Sender<Option<StopReason>>,
}

/// What there is of a group: written by the driver, read without it.
#[derive(Debug)]
pub(crate) struct GroupShared<V> {
    pub(crate) node: Arc<NodeShared>,
    pub(crate) group: GroupId,
    pub(crate) name: String,
    pub(crate) publication: Publication<V>,
    pub(crate) command_bytes_max: usize,
    term: AtomicU64,
    /// The leader's id, 0 if none is known.
    leader: AtomicU64,
}

impl<V> GroupShared<V> {
    pub(crate) fn new(
        node: Arc<NodeShared>,
        group: GroupId,
        name: String,
        published: Published<V>,
        command_bytes_max: usize,
    ) -> Self {
        Self {
            node,
            group,
            name,
            publication: Publication::new(published),
            command_bytes_max,
            term: AtomicU64::new(0),
            leader: AtomicU64::new(0),
        }
    }

    pub(crate) fn term(&self) -> Term {
        Term(self.term.load(Ordering::Relaxed))
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        match self.leader.load(Ordering::Relaxed) {
            0 => None,
            id => Some(NodeId(id)),
        }
    }

    pub(crate) fn set_leader(&self, term: Term, leader: Option<NodeId>) {
        self.term.store(term.0, Ordering::Relaxed);
        self.leader.store(leader.map_or(0, |id| id.0), Ordering::Relaxed);
    }
}

impl NodeShared {
    pub(crate) fn new(identity: Identity, client_address: &str) -> Self {
        let mut client_addresses = BTreeMap::new();
        if !client_address.is_empty() {
            client_addresses.insert(identity.node_id, client_address.to_owned());
        }
        Self {
            identity,
            metrics: Metrics::new(),
            client_addresses: ArcSwap::from_pointee(client_addresses),
            stopped: watch::Sender::new(None),
        }
    }

    pub(crate) fn learn_client_address(&self, node: NodeId, address: String) {
        let known = self.client_addresses.load();
        if !address.is_empty() && known.get(&node) != Some(&address) {
            let mut addresses = BTreeMap::clone(&known);
            addresses.insert(node, address);
            self.client_addresses.store(addresses.into());
        }
    }

    pub(crate) fn members(&self) -> Vec<Member> {
        let addresses = self.client_addresses.load();
        self.identity
            .members
            .iter()
            .map(|member| Member {
                id: member.id,
                name: member.name.clone(),
                peer_address: member.peer_address.clone(),
                client_address: addresses.get(&member.id).cloned(),
            })
            .collect()
    }

    pub(crate) fn set_stopped(&self, reason: StopReason) {
        self.stopped.send_replace(Some(reason));
    }

    pub(crate) async fn stopped(&self) -> StopReason {
        let mut receiver = self.stopped.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().flatten(),
            // The sender lives in `self`.
            Err(_) => None,
        }
    }

    pub(crate) fn stopped_error(&self) -> NodeError {
        let reason = self.stopped.borrow().clone().flatten();
        NodeError::Stopped(reason.unwrap_or_else(|| "it was asked to".to_owned()))
    }
}
