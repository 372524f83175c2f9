//! Renewals of leases, collected so that many of them cost one entry of the log.

use std::collections::HashMap;
use std::sync::Arc;

use ruvector_node::Handle;
use ruvector_node::state_machine::kv::{Command, KvMachine, LeaseId, Outcome, Revision};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::error::ServiceError;

/// How many batches may be on their way at a time. What comes while they are is the next one, so that it is the
/// larger the more there is to do, and nobody waits when there is little.
const BATCHES_MAX: usize = 2;
/// How many leases one command renews at most.
const BATCH_MAX: usize = 8_192;

/// A lease after its renewal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewed {
    /// The seconds that it now has to live, or `None` if it does not exist.
    pub(crate) seconds: Option<i64>,
    /// The store's revision then.
    pub(crate) revision: Revision,
}

struct Renewal {
    id: LeaseId,
    answer: oneshot::Sender<Result<Renewed, ServiceError>>,
}

/// Takes renewals from all streams.
pub(crate) struct Renewals(mpsc::Sender<Renewal>);

impl Renewals {
    /// A collector and the task that must run for it. The task ends when the collector is dropped.
    pub(crate) fn new(
        handle: Handle<KvMachine>,
        pending_max: usize,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = mpsc::channel(pending_max);
        (Self(sender), propose_batches(handle, receiver))
    }

    /// Renews a lease. Waits while too many renewals wait already.
    pub(crate) async fn renew(&self, id: LeaseId) -> Result<Renewed, ServiceError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Renewal { id, answer }).await.map_err(|_| ServiceError::Stopping)?;
        answered.await.map_err(|_| ServiceError::Stopping)?
    }
}

async fn propose_batches(handle: Handle<KvMachine>, mut receiver: mpsc::Receiver<Renewal>) {
    let ways = Arc::new(Semaphore::new(BATCHES_MAX));
    loop {
        let Ok(way) = Arc::clone(&ways).acquire_owned().await else { return };
        let mut batch = Vec::new();
        if receiver.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return;
        }
        let handle = handle.clone();
        tokio::spawn(async move {
            renew_all(&handle, batch).await;
            drop(way);
        });
    }
}

/// Renews and answers a batch. Two renewals of one lease are one.
async fn renew_all(handle: &Handle<KvMachine>, batch: Vec<Renewal>) {
    let mut ids: Vec<LeaseId> = batch.iter().map(|renewal| renewal.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let answered = propose(handle, &ids).await.map(|(seconds, revision)| {
        let by_id: HashMap<_, _> = ids.into_iter().zip(seconds).collect();
        (by_id, revision)
    });
    for Renewal { id, answer } in batch {
        let renewed = answered.as_ref().map(|(by_id, revision)| {
            let seconds = by_id.get(&id).copied().flatten();
            Renewed { seconds, revision: *revision }
        });
        // A stream that has ended meanwhile needs no answer.
        let _ = answer.send(renewed.map_err(ServiceError::clone));
    }
}

async fn propose(
    handle: &Handle<KvMachine>,
    ids: &[LeaseId],
) -> Result<(Vec<Option<i64>>, Revision), ServiceError> {
    let command = Command::LeaseRenew { ids: ids.to_vec() };
    let response = handle.propose(command.encode()).await?.response;
    let outcome = response.result?;
    let Outcome::LeaseRenew(seconds) = outcome else {
        return Err(ServiceError::mismatched("renewal of leases", &outcome));
    };
    assert_eq!(seconds.len(), ids.len(), "the store answers every renewal of a command");
    Ok((seconds, response.revision))
}
