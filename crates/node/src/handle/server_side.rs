//! What a server does with a group beside what every embedder does.

use bytes::Bytes;
use crossbeam_channel::TrySendError;
use prometheus_client::registry::Registry;
use ruvector_protocol::Index;
use ruvector_state_machine::StateMachine;
use tokio::sync::watch;

use super::Handle;
use crate::answer;
use crate::batch::Batch;
use crate::budget::Permit;
use crate::outcome::{Applied, NodeError};
use crate::request::{Ask, Request};

/// A group, as a server uses it that runs on tokio and is measured by prometheus.
#[derive(Debug)]
pub struct ServerSide<'handle, M: StateMachine>(&'handle Handle<M>);

impl<M: StateMachine> Handle<M> {
    /// What only servers want of the group: batches, subscriptions, metrics.
    #[must_use]
    pub fn server_side(&self) -> ServerSide<'_, M> {
        ServerSide(self)
    }
}

impl<M: StateMachine> ServerSide<'_, M> {
    /// As [`Handle::propose`], for a command that is counted: the permit is let go when the node has done with the
    /// command, whether or not its caller still waits.
    ///
    /// # Errors
    /// As [`Handle::propose`].
    pub async fn propose_held(
        &self,
        command: Bytes,
        permit: Option<Permit>,
    ) -> Result<Applied<M::Response>, NodeError> {
        self.0.propose_with(command, permit).await
    }

    /// Has many commands committed and applied, as [`Handle::propose`] has one. Returns at once; every command is
    /// answered through the batch's channel.
    pub fn propose_batch(&self, mut batch: Batch<M::Response>) {
        let Handle { shared, requests, .. } = self.0;
        batch.refuse_larger_than(shared.command_bytes_max);
        if batch.commands.is_empty() {
            return;
        }
        match requests.try_send(Request::Ask(shared.group, Ask::ProposeBatch(batch))) {
            Err(TrySendError::Full(Request::Ask(_, Ask::ProposeBatch(batch)))) => {
                batch.refuse(&NodeError::TooBusy);
            }
            Err(TrySendError::Disconnected(Request::Ask(_, Ask::ProposeBatch(batch)))) => {
                batch.refuse(&shared.node.stopped_error());
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Takes proposals and reads to the node and their answers back, many at a time, until no handle of the node is
    /// left. Works without; with this future spawned on the runtime whose tasks propose and read, waking the node and
    /// them costs much less. Only the first one does anything.
    pub fn carry_many(&self) -> impl Future<Output = ()> + use<M> {
        // Nothing here keeps the node's queue open.
        let ringer = self.0.requests.ringer();
        let courier = std::sync::Arc::clone(&self.0.courier);
        async move {
            let Some(answers) = courier.take_over() else { return };
            drop(courier);
            tokio::select! {
                () = answer::deliver(answers) => {}
                () = ringer.ring_for_many() => {}
            }
        }
    }

    /// Changes whenever there is a newer version; the value is the applied index.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Index> {
        self.0.shared.publication.subscribe()
    }

    /// Registers the node's own histograms, under etcd's names where those exist.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.0.shared.node.metrics.register(registry);
    }
}

/// The same without [`server_side`](Handle::server_side), for callers of before there was that.
#[doc(hidden)]
impl<M: StateMachine> Handle<M> {
    pub fn propose_held(
        &self,
        command: Bytes,
        permit: Option<Permit>,
    ) -> impl Future<Output = Result<Applied<M::Response>, NodeError>> {
        self.propose_with(command, permit)
    }

    pub fn propose_batch(&self, batch: Batch<M::Response>) {
        self.server_side().propose_batch(batch);
    }

    pub fn carry_many(self) -> impl Future<Output = ()> {
        self.server_side().carry_many()
    }

    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Index> {
        self.server_side().subscribe()
    }

    pub fn register_metrics(&self, registry: &mut Registry) {
        self.server_side().register_metrics(registry);
    }
}
