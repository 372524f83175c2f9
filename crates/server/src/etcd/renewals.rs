//! Renewals of leases, collected so that many of them cost one entry of the log.

use std::collections::HashMap;
use std::time::Duration;

use ruvector_node::Handle;
use ruvector_node::state_machine::kv::{Command, KvMachine, LeaseId, Outcome};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::error::{EtcdError, node_status, store_status};
use crate::context::mismatched;

/// How long renewals wait for others. Nobody notices it: a lease lives for seconds.
const COLLECT_FOR: Duration = Duration::from_millis(1);
/// How many leases one command renews at most.
const BATCH_MAX: usize = 8_192;

/// The seconds that a lease now has to live, or `None` if it does not exist.
pub(crate) type Renewed = Result<Option<i64>, Status>;

struct Renewal {
    id: LeaseId,
    answer: oneshot::Sender<Renewed>,
}

/// Takes renewals from all streams. One batch is on its way at a time; what comes meanwhile is the next.
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
    pub(crate) async fn renew(&self, id: LeaseId) -> Renewed {
        let (answer, answered) = oneshot::channel();
        let stopped = || Status::from(EtcdError::Stopped);
        self.0.send(Renewal { id, answer }).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

async fn propose_batches(handle: Handle<KvMachine>, mut receiver: mpsc::Receiver<Renewal>) {
    let mut batch = Vec::new();
    while receiver.recv_many(&mut batch, BATCH_MAX).await > 0 {
        tokio::time::sleep(COLLECT_FOR).await;
        while batch.len() < BATCH_MAX
            && let Ok(renewal) = receiver.try_recv()
        {
            batch.push(renewal);
        }
        renew_all(&handle, &mut batch).await;
    }
}

/// Renews and answers a batch. Two renewals of one lease are one.
async fn renew_all(handle: &Handle<KvMachine>, batch: &mut Vec<Renewal>) {
    let mut ids: Vec<LeaseId> = batch.iter().map(|renewal| renewal.id).collect();
    ids.sort_unstable();
    ids.dedup();
    match propose(handle, &ids).await {
        Ok(seconds) => {
            let by_id: HashMap<_, _> = ids.into_iter().zip(seconds).collect();
            for renewal in batch.drain(..) {
                // A stream that has ended meanwhile needs no answer.
                let _ = renewal.answer.send(Ok(by_id.get(&renewal.id).copied().flatten()));
            }
        }
        Err(status) => {
            for renewal in batch.drain(..) {
                let _ = renewal.answer.send(Err(status.clone()));
            }
        }
    }
}

async fn propose(handle: &Handle<KvMachine>, ids: &[LeaseId]) -> Result<Vec<Option<i64>>, Status> {
    let command = Command::LeaseRenew { ids: ids.to_vec() };
    let response = handle.propose(command.encode()).await.map_err(node_status)?.response;
    let outcome = response.result.map_err(store_status)?;
    let Outcome::LeaseRenew(seconds) = outcome else {
        return Err(mismatched("renewal of leases", &outcome));
    };
    assert_eq!(seconds.len(), ids.len(), "the store answers every renewal of a command");
    Ok(seconds)
}
