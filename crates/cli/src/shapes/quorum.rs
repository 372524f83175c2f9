//! A quorum, as `--json` prints it.

use serde::Serialize;

use crate::nodes::{ClusterView, QuorumView};

/// Whether the group that is asked about can decide anything.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct QuorumReport {
    /// Whether enough voters answer and follow the leader.
    holds: bool,
    /// The names of the nodes whose votes count.
    voters: Vec<String>,
    /// How many of them must agree.
    needed: usize,
    /// Those that answer, follow the leader and count.
    present: Vec<String>,
    /// The others.
    absent: Vec<String>,
    /// How many more may fail; null without a quorum.
    may_fail: Option<usize>,
    /// What must never be: replicas that contradict each other.
    troubles: Vec<String>,
}

impl QuorumReport {
    pub(crate) fn of(view: &ClusterView, quorum: &QuorumView) -> Self {
        Self {
            holds: quorum.holds(),
            voters: quorum.voters.clone(),
            needed: quorum.needed,
            present: quorum.present.clone(),
            absent: quorum.absent.clone(),
            may_fail: quorum.holds().then(|| quorum.present.len() - quorum.needed),
            troubles: view.troubles().into_iter().map(|trouble| trouble.text).collect(),
        }
    }
}
