//! The leader is killed under load: how long does nobody's put succeed?

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::future::{FutureExt, LocalBoxFuture};
use rand::rngs::SmallRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;
use crate::figure::Figure;
use crate::load::{Load, Settings, random_key, worker_random};
use crate::recording::{Outcome, as_ms};
use crate::session::Session;
use crate::system::System;

const WRITERS: usize = 16;
/// A client that has waited so long tries again, so that the outage is seen and not the client's patience.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(100);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(5);
/// How long all is well before the leader is killed.
const CALM: Duration = Duration::from_secs(1);
/// How long puts must go on after the outage, since another one may follow the first.
const AFTER: Duration = Duration::from_secs(2);
const OUTAGE_LIMIT: Duration = Duration::from_secs(60);

/// Puts to the nodes that stay.
#[derive(Debug)]
pub(super) struct Failover;

impl Load for Failover {
    fn name(&self) -> &'static str {
        "failover"
    }

    fn description(&self) -> String {
        format!("put by {WRITERS} clients to the followers while the leader is killed")
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
    let leader = cluster.leader().await?;
    let gaps = Arc::new(Mutex::new(Gaps::default()));
    let mut writers = JoinSet::new();
    let followers: Vec<usize> = (0..cluster.node_count()).filter(|node| *node != leader).collect();
    for (number, follower) in followers.iter().cycle().take(WRITERS).enumerate() {
        let writer = Writer {
            session: cluster.session(*follower).await?,
            random: worker_random(number),
            keys: settings.keys,
            value: Bytes::from(vec![b'v'; settings.value_bytes]),
        };
        writers.spawn(writer.put_until_stopped(Arc::clone(&gaps)));
    }
    sleep(CALM).await;
    ensure!(lock(&gaps).operations > 0, "no put succeeds although all is well");
    cluster.kill(leader)?;
    lock(&gaps).begin(Instant::now());
    wait_for_end(&gaps).await?;
    writers.shutdown().await;
    let gaps = lock(&gaps);
    Ok(Outcome {
        operations: gaps.operations,
        figures: [(Figure::OutageMs, as_ms(gaps.longest))].into(),
        ..Outcome::default()
    })
}

/// Until puts have succeeded again for a while.
async fn wait_for_end(gaps: &Mutex<Gaps>) -> Result<()> {
    let deadline = Instant::now() + OUTAGE_LIMIT;
    let operations_before = lock(gaps).operations;
    while lock(gaps).operations == operations_before {
        ensure!(Instant::now() < deadline, "no put succeeds within {OUTAGE_LIMIT:?} of the leader's end");
        sleep(Duration::from_millis(1)).await;
    }
    sleep(AFTER).await;
    lock(gaps).note_time(Instant::now());
    Ok(())
}

/// Times without a success, from when it began.
#[derive(Debug, Default)]
struct Gaps {
    operations: u64,
    /// The last success, or the beginning if there was none since.
    last: Option<Instant>,
    longest: Duration,
}

impl Gaps {
    fn begin(&mut self, now: Instant) {
        self.last = Some(now);
    }

    fn success(&mut self, now: Instant) {
        self.operations += 1;
        self.note_time(now);
    }

    fn note_time(&mut self, now: Instant) {
        if let Some(last) = &mut self.last {
            self.longest = self.longest.max(now.saturating_duration_since(*last));
            *last = now;
        }
    }
}

fn lock(gaps: &Mutex<Gaps>) -> std::sync::MutexGuard<'_, Gaps> {
    gaps.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Writer {
    session: Session,
    random: SmallRng,
    keys: u64,
    value: Bytes,
}

impl Writer {
    async fn put_until_stopped(mut self, gaps: Arc<Mutex<Gaps>>) {
        loop {
            let key = random_key(&mut self.random, self.keys);
            match timeout(ATTEMPT_LIMIT, self.session.put(key, self.value.clone())).await {
                Ok(Ok(())) => lock(&gaps).success(Instant::now()),
                Ok(Err(_)) | Err(_) => sleep(PAUSE_AFTER_FAILURE).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_counts_from_the_beginning_to_the_end() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut gaps = Gaps::default();
        gaps.success(at(0));
        gaps.begin(at(1_000));
        assert_eq!(gaps.longest, Duration::ZERO, "what was before does not count");
        gaps.success(at(1_300));
        gaps.success(at(1_310));
        gaps.success(at(1_900));
        assert_eq!(gaps.longest, Duration::from_millis(590), "a second outage may be the longer one");
        gaps.note_time(at(3_000));
        assert_eq!(gaps.longest, Duration::from_millis(1_100), "one that does not end counts as well");
        assert_eq!(gaps.operations, 4);
    }
}
