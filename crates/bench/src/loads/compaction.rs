//! Puts while history is compacted and snapshots are taken: what does that do to the slowest of them?

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cluster::Cluster;
use crate::load::{Load, Settings};
use crate::system::System;
use crate::wire::Wire;
use anyhow::{Context, Result};
use futures::future::{FutureExt, LocalBoxFuture};
use prost::Message;
use ruvector_api::etcdserverpb::CompactionRequest;
use ruvector_api::etcdserverpb::RangeRequest;
use ruvector_api::etcdserverpb::kv_client::KvClient;
use ruvector_api::ruvector::v1::SnapshotCreateRequest;
use ruvector_api::ruvector::v1::admin_client::AdminClient;
use tokio::time::sleep;
use tonic::codegen::http::uri::PathAndQuery;

use super::key_value::{KeyValueWorker, Operation};
use super::stress::{Phase, compare};
use crate::figure::Figure;
use crate::recording::{Outcome, as_float};
use crate::session::key;

/// Between the end of one compaction and snapshot and the next.
const PAUSE: Duration = Duration::from_millis(500);
/// Keys that are there, for snapshots that are worth the name; fewer if loads run on fewer.
const KEYS_BY_LOAD_KEYS: u64 = 10;

/// Puts twice as long as other loads: quiet at first, then with compactions and snapshots of the leader.
#[derive(Debug)]
pub(super) struct Compaction;

impl Load for Compaction {
    fn name(&self) -> &'static str {
        "compaction"
    }

    fn description(&self) -> String {
        "put while the leader compacts its history and takes snapshots, again and again".to_owned()
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

async fn run(cluster: &mut Cluster, settings: &Settings) -> Result<Outcome> {
    cluster.fill(settings.keys * KEYS_BY_LOAD_KEYS, settings.value_bytes).await?;
    let workers = || KeyValueWorker::many(Operation::Put, settings.clients, cluster, settings);
    let nodes = cluster.processes();
    let quiet = Phase::run(workers().await?, settings, &nodes).await?;

    let leader = cluster.leader().await?;
    let wire = cluster.wire(leader).await?;
    let snapshots = Arc::new(Snapshots::default());
    let disturber = Disturber { wire, system: cluster.system, snapshots: Arc::clone(&snapshots) };
    let stressed = tokio::select! {
        stressed = Phase::run(workers().await?, settings, &nodes) => stressed?,
        never = disturber.disturb() => match never? {},
    };
    let mut outcome = compare(&quiet, &stressed);
    for (figure, count) in
        [(Figure::SnapshotsBegun, &snapshots.begun), (Figure::SnapshotsTaken, &snapshots.taken)]
    {
        outcome.figures.insert(figure, as_float(count.load(Ordering::Relaxed)));
    }
    Ok(outcome)
}

/// How many there were. One that is begun and not taken was under way until the time was over.
#[derive(Debug, Default)]
struct Snapshots {
    begun: AtomicU64,
    taken: AtomicU64,
}

struct Disturber {
    wire: Wire,
    system: System,
    snapshots: Arc<Snapshots>,
}

impl Disturber {
    /// Goes on until it is stopped or something fails.
    async fn disturb(self) -> Result<Infallible> {
        loop {
            self.compact().await.context("compaction fails")?;
            self.snapshots.begun.fetch_add(1, Ordering::Relaxed);
            self.snapshot().await.context("a snapshot fails")?;
            self.snapshots.taken.fetch_add(1, Ordering::Relaxed);
            sleep(PAUSE).await;
        }
    }

    /// Forgets all history but the present.
    async fn compact(&self) -> Result<()> {
        let mut client = KvClient::new(self.wire.clone());
        let request = RangeRequest { key: key(0), serializable: true, ..RangeRequest::default() };
        let header =
            client.range(request).await?.into_inner().header.context("an answer without a header")?;
        client.compact(CompactionRequest { revision: header.revision, physical: false }).await?;
        Ok(())
    }

    /// As the system's own command line does it.
    async fn snapshot(&self) -> Result<()> {
        match self.system {
            System::Etcd => self.receive_snapshot().await,
            System::Ruvector | System::ZooKeeper | System::Ceiling => {
                let name = format!("bench-{}", self.snapshots.begun.load(Ordering::Relaxed));
                let mut client = AdminClient::new(self.wire.clone());
                client.snapshot_create(SnapshotCreateRequest { name }).await?;
                Ok(())
            }
        }
    }

    /// etcd sends its snapshots to whoever asks.
    async fn receive_snapshot(&self) -> Result<()> {
        let mut client = tonic::client::Grpc::new(self.wire.clone());
        client.ready().await?;
        let path = PathAndQuery::from_static("/etcdserverpb.Maintenance/Snapshot");
        let codec = tonic_prost::ProstCodec::<SnapshotRequest, SnapshotResponse>::default();
        let request = tonic::Request::new(SnapshotRequest {});
        let mut parts = client.server_streaming(request, path, codec).await?.into_inner();
        while parts.message().await?.is_some() {}
        Ok(())
    }
}

/// etcd's request of a snapshot. This project's API has its own.
#[derive(Clone, PartialEq, Message)]
struct SnapshotRequest {}

/// A part of etcd's snapshot; what is in it is of no interest.
#[derive(Clone, PartialEq, Message)]
struct SnapshotResponse {}
