//! A node that holds many keys is killed and started: how long until it serves?

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::{FutureExt, LocalBoxFuture};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;
use crate::figure::Figure;
use crate::load::{Ground, Load, Settings};
use crate::recording::Outcome;
use crate::session::Consistency;
use crate::system::System;

const LIMIT: Duration = Duration::from_secs(300);
const ATTEMPT_LIMIT: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Kills a follower, so that no election is in the figure, and reads the newest key from it.
#[derive(Debug)]
pub(super) struct Restart;

impl Load for Restart {
    fn name(&self) -> &'static str {
        "restart"
    }

    fn description(&self) -> String {
        "a follower with many keys is killed and started, until it serves a serializable get of the newest"
            .to_owned()
    }

    fn runs_on(&self, system: System) -> bool {
        system.is_etcd_like()
    }

    fn ground(&self) -> Ground {
        Ground::Filled
    }

    fn measure<'a>(
        &'a self,
        cluster: &'a mut Cluster,
        settings: &'a Settings,
    ) -> LocalBoxFuture<'a, Result<Outcome>> {
        async move {
            let follower = (cluster.leader().await? + 1) % cluster.node_count();
            cluster.kill(follower)?;
            let begun = Instant::now();
            cluster.start_again(follower)?;
            let newest = settings.many_keys.saturating_sub(1);
            while !serves(cluster, follower, newest).await {
                ensure!(begun.elapsed() < LIMIT, "it does not serve within {LIMIT:?}");
                sleep(POLL_INTERVAL).await;
            }
            let seconds = begun.elapsed().as_secs_f64();
            Ok(Outcome {
                operations: 1,
                figures: [(Figure::RestartSeconds, seconds)].into(),
                ..Outcome::default()
            })
        }
        .boxed_local()
    }
}

/// Whether the node has a key, asked on a connection of its own.
async fn serves(cluster: &Cluster, node: usize, key: u64) -> bool {
    let Ok(mut session) = cluster.session(node).await else { return false };
    matches!(timeout(ATTEMPT_LIMIT, session.get(key, Consistency::Local)).await, Ok(Ok(_)))
}
