//! Puts of the same clients twice: quietly, and while something disturbs. What does it do to the slowest of them?

use std::time::Duration;

use anyhow::Result;
use tokio::time::timeout;

use super::key_value::{KeyValueWorker, Operation};
use crate::cluster::Cluster;
use crate::drive::{Worker, drive};
use crate::figure::Figure;
use crate::load::Settings;
use crate::process::ProcessGroup;
use crate::recording::{Outcome, Recording, as_float};
use crate::session::{Consistency, Session};

/// Within which a node that was disturbed has caught up when all is over.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(60);

/// One of the two times.
#[derive(Debug)]
pub(super) struct Phase {
    pub(super) recording: Recording,
    /// Of resident memory, by a node in the mean, from before the warm-up; it may have lost some.
    gained_bytes: f64,
}

impl Phase {
    /// Lets the workers work.
    ///
    /// # Errors
    /// Those of [`drive`].
    pub(super) async fn run<W: Worker>(
        workers: Vec<W>,
        settings: &Settings,
        nodes: &ProcessGroup,
    ) -> Result<Self> {
        let before = mean_resident_bytes(nodes);
        let recording = drive(workers, settings.pace, settings.span, nodes).await?;
        Ok(Self { recording, gained_bytes: mean_resident_bytes(nodes) - before })
    }

    fn gained_bytes_per_put(&self) -> f64 {
        self.gained_bytes / as_float(self.recording.latencies.count().max(1))
    }
}

/// The outcome of the time under stress, and how it compares with the quiet one. Errors of both count.
pub(super) fn compare(quiet: &Phase, stressed: &Phase) -> Outcome {
    let mut outcome = stressed.recording.outcome();
    outcome.errors += quiet.recording.errors;
    outcome.first_error = quiet.recording.first_error.clone().or(outcome.first_error);
    let quiet_outcome = quiet.recording.outcome();
    let figures = &mut outcome.figures;
    let quiet_p99 = quiet_outcome.figures[&Figure::P99Ms];
    if quiet_p99 > 0.0 {
        figures.insert(Figure::P99ByQuiet, figures[&Figure::P99Ms] / quiet_p99);
    }
    let quiet_throughput = quiet_outcome.figures[&Figure::OperationsPerSecond];
    if quiet_throughput > 0.0 {
        figures.insert(Figure::ThroughputByQuiet, figures[&Figure::OperationsPerSecond] / quiet_throughput);
    }
    figures.insert(Figure::QuietP99Ms, quiet_p99);
    figures.insert(Figure::QuietGainedBytes, quiet.gained_bytes_per_put());
    figures.insert(Figure::GainedBytes, stressed.gained_bytes_per_put());
    outcome
}

/// A follower that is to be disturbed, and what puts go through meanwhile.
#[derive(Debug)]
pub(super) struct Victim {
    pub(super) leader: usize,
    pub(super) follower: usize,
    /// To the other nodes.
    sessions: Vec<Session>,
}

impl Victim {
    /// Chooses a follower.
    ///
    /// # Errors
    /// If no node leads, or a node can't be reached.
    pub(super) async fn choose(cluster: &Cluster, settings: &Settings) -> Result<Self> {
        let leader = cluster.leader().await?;
        let follower = (leader + 1) % cluster.node_count();
        let others: Vec<usize> = (0..cluster.node_count()).filter(|node| *node != follower).collect();
        let mut sessions = Vec::new();
        for node in others.iter().cycle().take(settings.connections.max(others.len())) {
            sessions.push(cluster.session(*node).await?);
        }
        Ok(Self { leader, follower, sessions })
    }

    /// Clients of the other nodes.
    pub(super) fn workers(&self, settings: &Settings) -> Vec<KeyValueWorker> {
        KeyValueWorker::with(&self.sessions, Operation::Put, settings.clients, settings)
    }

    /// Waits for the follower. That it stays behind is an error of the load.
    pub(super) async fn catch_up(&self, cluster: &Cluster, outcome: &mut Outcome) -> Result<()> {
        let mut session = cluster.session(self.follower).await?;
        if timeout(CATCH_UP_LIMIT, session.get(0, Consistency::Linearizable)).await.is_err() {
            outcome.errors += 1;
            outcome.first_error.get_or_insert(format!("no answer of the follower within {CATCH_UP_LIMIT:?}"));
        }
        Ok(())
    }
}

fn mean_resident_bytes(nodes: &ProcessGroup) -> f64 {
    let bytes = nodes.resident_bytes();
    as_float(bytes.iter().sum()) / as_float(u64::try_from(bytes.len().max(1)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(latency_ms: u64, operations: u32, gained_bytes: f64) -> Phase {
        let mut recording = Recording::new();
        for _ in 0..operations {
            recording.succeeded(Duration::from_millis(latency_ms));
        }
        recording.elapsed = Duration::from_secs(1);
        Phase { recording, gained_bytes }
    }

    #[test]
    fn the_stressed_phase_is_set_against_the_quiet_one() {
        let outcome = compare(&phase(2, 1_000, 5e5), &phase(3, 500, -1e3));
        let rounded = |figure| (outcome.figures[&figure] * 100.0).round() / 100.0;
        assert_eq!(outcome.operations, 500);
        assert!((rounded(Figure::P99ByQuiet) - 1.5).abs() < 0.02);
        assert!((rounded(Figure::ThroughputByQuiet) - 0.5).abs() < 0.02);
        assert!((rounded(Figure::QuietGainedBytes) - 500.0).abs() < 0.02);
        assert!((rounded(Figure::GainedBytes) + 2.0).abs() < 0.02);
    }

    #[test]
    fn errors_of_the_quiet_phase_are_not_forgotten() {
        let mut quiet = phase(1, 10, 0.0);
        quiet.recording.failed(&anyhow::anyhow!("no leader"));
        let mut stressed = phase(1, 10, 0.0);
        stressed.recording.failed(&anyhow::anyhow!("too late"));
        let outcome = compare(&quiet, &stressed);
        assert_eq!((outcome.errors, outcome.first_error.as_deref()), (2, Some("no leader")));
    }

    #[test]
    fn a_phase_without_a_success_gives_no_ratio() {
        let outcome = compare(&phase(1, 0, 0.0), &phase(1, 10, 0.0));
        assert!(!outcome.figures.contains_key(&Figure::P99ByQuiet));
    }
}
