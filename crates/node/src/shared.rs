//! What the driver publishes and everyone reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use ruvector_protocol::{NodeId, Term};
use ruvector_storage::Identity;
use tokio::sync::watch;

use crate::config::Member;
use crate::handle::NodeError;
use crate::metrics::Metrics;
use crate::publication::{Publication, Published};

/// Why a node stopped: `None` if it was asked to.
type StopReason = Option<String>;

/// Written by the driver, read without it.
#[derive(Debug)]
pub(crate) struct Shared<V> {
    pub(crate) identity: Identity,
    pub(crate) publication: Publication<V>,
    pub(crate) metrics: Metrics,
    pub(crate) command_bytes_max: usize,
    term: AtomicU64,
    /// The leader's id, 0 if none is known.
    leader: AtomicU64,
    client_addresses: ArcSwap<BTreeMap<NodeId, String>>,
    stopped: watch::Sender<Option<StopReason>>,
}

impl<V> Shared<V> {
    pub(crate) fn new(
        identity: Identity,
        published: Published<V>,
        client_address: &str,
        command_bytes_max: usize,
    ) -> Self {
        let mut client_addresses = BTreeMap::new();
        if !client_address.is_empty() {
            client_addresses.insert(identity.node_id, client_address.to_owned());
        }
        Self {
            identity,
            publication: Publication::new(published),
            metrics: Metrics::new(),
            command_bytes_max,
            term: AtomicU64::new(0),
            leader: AtomicU64::new(0),
            client_addresses: ArcSwap::from_pointee(client_addresses),
            stopped: watch::Sender::new(None),
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
