//! Puts while a follower that lacks what the leader's log no longer holds is sent a snapshot.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::{FutureExt, LocalBoxFuture};
use ruvector_api::ruvector::v1::admin_client::AdminClient;
use ruvector_api::ruvector::v1::{CompactLogRequest, SnapshotCreateRequest, StatusRequest};
use ruvector_client::NodeStatus;
use tokio::time::{sleep, timeout};

use super::stress::{Phase, Victim, compare};
use crate::cluster::Cluster;
use crate::load::{Load, Settings};
use crate::recording::Outcome;
use crate::system::System;
use crate::wire::Wire;

/// Keys that are there, for a snapshot that is worth the name; fewer if loads run on fewer.
const KEYS_BY_LOAD_KEYS: u64 = 10;
/// What the follower misses, in bytes of values: several times what a leader keeps in memory for those who are a little late,
/// whatever its log holds.
const MISSED_BYTES: usize = 32 << 20;

/// Within which a follower that was started must have told the leader that it lacks entries.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Puts twice as long as other loads, by clients of the other nodes: quiet at first, then from when the follower, started
/// again, begins to be sent a snapshot. Only this project's log is compacted on request.
#[derive(Debug)]
pub(super) struct SnapshotTransfer;

impl Load for SnapshotTransfer {
    fn name(&self) -> &'static str {
        "snapshot-transfer"
    }

    fn description(&self) -> String {
        "put to the leader and a follower while the other one, started again, is sent a snapshot".to_owned()
    }

    fn runs_on(&self, system: System) -> bool {
        system == System::Ruvector
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
    let victim = Victim::choose(cluster, settings).await?;
    let quiet = Phase::run(victim.workers(settings), settings, &cluster.processes()).await?;

    let mut follower = AdminClient::new(cluster.wire(victim.follower).await?);
    let known = status(&mut follower).await?.group.last_index;
    cluster.kill(victim.follower)?;
    let value = Bytes::from(vec![b'v'; settings.value_bytes]);
    let missed = u64::try_from(MISSED_BYTES.div_ceil(settings.value_bytes.max(1)))?;
    cluster.session(victim.leader).await?.fill(0..missed, value).await?;
    compact_log(AdminClient::new(cluster.wire(victim.leader).await?)).await?;
    cluster.start_again(victim.follower)?;
    wait_until_sending(AdminClient::new(cluster.wire(victim.leader).await?)).await?;
    let stressed = Phase::run(victim.workers(settings), settings, &cluster.processes()).await?;

    let mut outcome = compare(&quiet, &stressed);
    victim.catch_up(cluster, &mut outcome).await?;
    let mut follower = AdminClient::new(cluster.wire(victim.follower).await?);
    let first_index = status(&mut follower).await?.group.first_index;
    ensure!(
        first_index > known,
        "the follower, which had {known}, has its log from {first_index}: it got no snapshot"
    );
    Ok(outcome)
}

/// Waits until the leader sends a snapshot. What comes before is a node's start, which is measured elsewhere, and which here takes
/// the longer the more other loads have left in its log.
async fn wait_until_sending(mut leader: AdminClient<Wire>) -> Result<()> {
    let is_sending = async {
        loop {
            let status = status(&mut leader).await?;
            let mut sent_to =
                status.group.peers.iter().filter(|peer| peer.state.as_deref() == Some("snapshot"));
            if sent_to.any(|peer| status.connection(peer.peer.id).is_some_and(|to| to.connected)) {
                return Ok(());
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(START_LIMIT, is_sending).await.context("no snapshot is sent")?
}

async fn status(node: &mut AdminClient<Wire>) -> Result<NodeStatus> {
    let told = node.status(StatusRequest {}).await?.into_inner();
    serde_json::from_str(&told.status).context("a status that is not understood")
}

/// Leaves nothing in a node's log that a snapshot may hold in its place.
async fn compact_log(mut node: AdminClient<Wire>) -> Result<()> {
    let request = SnapshotCreateRequest { name: "bench-transfer".to_owned() };
    let snapshot =
        node.snapshot_create(request).await?.into_inner().snapshot.context("no snapshot is told")?;
    node.compact_log(CompactLogRequest { before_index: snapshot.index }).await?;
    Ok(())
}
