//! Puts while some watch all keys and don't read what they are sent: nobody else must suffer for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use futures::future::{FutureExt, LocalBoxFuture};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::key_value::{KeyValueWorker, Operation};
use super::stress::{Phase, compare};
use super::watch::{Events, open};
use crate::cluster::Cluster;
use crate::drive::Worker;
use crate::load::{Load, Settings};
use crate::recording::Outcome;
use crate::system::System;
use crate::wire::Wire;

/// Watchers that don't read, on all nodes in turn.
const UNREAD: usize = 12;
/// Small, so that what nobody reads piles up in the server and not on its way: the smallest that HTTP/2 has at first.
const UNREAD_WINDOW_BYTES: u32 = 65_535;
/// Within which the watcher that reads has got the last event after the last put.
const DELIVERY_LIMIT: Duration = Duration::from_secs(30);

/// Puts twice as long as other loads, told to a watcher at each node: quiet at first, then with watchers that don't read.
#[derive(Debug)]
pub(super) struct UnreadWatch;

impl Load for UnreadWatch {
    fn name(&self) -> &'static str {
        "unread-watch"
    }

    fn description(&self) -> String {
        format!(
            "put while one watches all keys at each node, and {UNREAD} more that never read what they are sent"
        )
    }

    fn runs_on(&self, system: System) -> bool {
        system.is_etcd_like()
    }

    fn measure<'a>(
        &'a self,
        cluster: &'a mut Cluster,
        settings: &'a Settings,
    ) -> LocalBoxFuture<'a, Result<Outcome>> {
        run(cluster, settings).boxed_local()
    }
}

async fn run(cluster: &Cluster, settings: &Settings) -> Result<Outcome> {
    let nodes = cluster.processes();
    let acknowledged = Arc::new(AtomicU64::new(0));
    // They read in both phases, so that what watching costs anyway is not part of the difference.
    let mut readers = Vec::new();
    for wire in cluster.wires(cluster.node_count()).await? {
        readers.push(Reader::start(open(wire).await?));
    }
    let quiet = Phase::run(workers(cluster, settings, &acknowledged).await?, settings, &nodes).await?;
    let mut unread = Vec::new();
    for address in cluster.addresses().iter().cycle().take(UNREAD) {
        unread.push(open(Wire::connect(address, UNREAD_WINDOW_BYTES).await?).await?);
    }
    let mut stressed = Phase::run(workers(cluster, settings, &acknowledged).await?, settings, &nodes).await?;
    for reader in readers {
        if let Err(error) = reader.receive(acknowledged.load(Ordering::Relaxed)).await {
            stressed.recording.failed(&error);
        }
    }
    drop(unread);
    Ok(compare(&quiet, &stressed))
}

async fn workers(
    cluster: &Cluster,
    settings: &Settings,
    acknowledged: &Arc<AtomicU64>,
) -> Result<Vec<Counted>> {
    let workers = KeyValueWorker::many(Operation::Put, settings.clients, cluster, settings).await?;
    let counted = |worker| Counted { worker, acknowledged: Arc::clone(acknowledged) };
    Ok(workers.into_iter().map(counted).collect())
}

/// A client whose puts are counted from the first on, also those before the measured time.
struct Counted {
    worker: KeyValueWorker,
    acknowledged: Arc<AtomicU64>,
}

impl Worker for Counted {
    async fn perform(&mut self) -> Result<()> {
        self.worker.perform().await?;
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A watcher that reads.
struct Reader {
    received: Arc<AtomicU64>,
    /// Ends only with an error.
    task: JoinHandle<Result<()>>,
}

impl Reader {
    fn start(events: Events) -> Self {
        let received = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(count(events, Arc::clone(&received)));
        Self { received, task }
    }

    /// Waits for so many events.
    async fn receive(mut self, expected: u64) -> Result<()> {
        let received = Arc::clone(&self.received);
        let complete = async {
            while received.load(Ordering::Relaxed) < expected {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let outcome = tokio::select! {
            complete = timeout(DELIVERY_LIMIT, complete) => complete.map_err(|_| {
                let missing = expected.saturating_sub(self.received.load(Ordering::Relaxed));
                anyhow!("{missing} of {expected} events did not reach the watcher that reads")
            }),
            ended = &mut self.task => ended?,
        };
        self.task.abort();
        outcome
    }
}

async fn count(mut events: Events, received: Arc<AtomicU64>) -> Result<()> {
    loop {
        let answer = events.answers.message().await?.context("the server has ended the stream")?;
        ensure!(!answer.canceled, "the watch was cancelled: {}", answer.cancel_reason);
        received.fetch_add(u64::try_from(answer.events.len())?, Ordering::Relaxed);
    }
}
