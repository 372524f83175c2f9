//! The history of each key for itself, as the checker of linearizability takes it.

use std::collections::{BTreeMap, BTreeSet};

use ruvector_state_machine::kv::LeaseId;

use super::{End, History, MOMENTS, Moment, Recorded};
use crate::linearizability::{self, Action, Completion, Lease, Observation, Operation};
use crate::workload::{Freshness, Key, Reply, Request, Step, Txn};

/// Cluster time is counted in milliseconds, so a lease's begin and end are each rounded.
const CLUSTER_TIME_STEP_US: u64 = 2_000;

impl History {
    /// All operations on each key, among them the ends of leases that it may have been attached to.
    pub(super) fn by_key(&self, drift_ppm: u64) -> BTreeMap<Key, Vec<Operation>> {
        let mut keys: BTreeMap<Key, Vec<Operation>> = BTreeMap::new();
        for recorded in &self.operations {
            for (key, action, observation) in recorded.actions() {
                let completion = match &recorded.end {
                    End::Answered { at, .. } => Completion::Answered { at: at.0, observation },
                    End::Unknown => Completion::Unknown,
                    End::Refused => continue,
                };
                keys.entry(key).or_default().push(Operation {
                    action,
                    invoked_at: recorded.invoked.0,
                    completion,
                });
            }
        }
        for (key, end) in self.lease_ends(drift_ppm) {
            keys.entry(key).or_default().push(end);
        }
        keys
    }

    /// Leases end by themselves or are revoked; each end may delete any key that was ever attached to it.
    fn lease_ends(&self, drift_ppm: u64) -> Vec<(Key, Operation)> {
        let mut earliest_us: BTreeMap<LeaseId, u64> = BTreeMap::new();
        let mut ttl_us: BTreeMap<LeaseId, u64> = BTreeMap::new();
        let mut keys: BTreeMap<LeaseId, BTreeSet<Key>> = BTreeMap::new();
        let mut revocations = Vec::new();
        for recorded in &self.operations {
            let lives = matches!(&recorded.end, End::Answered { reply, .. } if reply.lease_lives);
            match &recorded.request {
                Request::Grant { lease, ttl_seconds } => {
                    let ttl = ttl_seconds.cast_unsigned() * 1_000_000;
                    let shortest_us = ttl - ttl / 1_000_000 * drift_ppm - CLUSTER_TIME_STEP_US;
                    ttl_us.insert(*lease, shortest_us);
                    earliest_us.insert(*lease, recorded.invoked_us + shortest_us);
                }
                Request::Renew(lease) if lives => {
                    let renewed_us = recorded.invoked_us + ttl_us[lease];
                    let earliest = earliest_us.entry(*lease).or_default();
                    *earliest = renewed_us.max(*earliest);
                }
                Request::Write(txn) => {
                    for step in txn.then.iter().chain(&txn.otherwise) {
                        if let Step::Put { key, lease: Some(lease), .. } = step {
                            keys.entry(*lease).or_default().insert(*key);
                        }
                    }
                }
                Request::Revoke(lease) => revocations.push((*lease, recorded)),
                Request::Renew(_) | Request::Get { .. } | Request::Recall { .. } | Request::Compact(_) => {}
            }
        }
        let mut ends = Vec::new();
        for (lease, keys) in keys {
            let action = Action::EndLease { lease: lease_of(lease) };
            for key in keys {
                let invoked_at = Moment::at(earliest_us[&lease]).0;
                ends.push((key, Operation { action, invoked_at, completion: Completion::Unknown }));
                for (_, revoked) in revocations.iter().filter(|(revoked, _)| *revoked == lease) {
                    let completion = match revoked.end {
                        End::Answered { at, .. } => {
                            Completion::Answered { at: at.0, observation: Observation::Nothing }
                        }
                        End::Unknown => Completion::Unknown,
                        End::Refused => continue,
                    };
                    ends.push((key, Operation { action, invoked_at: revoked.invoked.0, completion }));
                }
            }
        }
        ends
    }
}

impl Recorded {
    /// What the operation does to each key, and what its answer says of it.
    fn actions(&self) -> Vec<(Key, Action, Observation)> {
        let reply = if let End::Answered { reply, .. } = &self.end { Some(reply) } else { None };
        let action = |key: Key, action: Action| {
            (key, action, reply.map_or(Observation::Nothing, |reply| reply.held(key)))
        };
        match &self.request {
            Request::Write(txn) => {
                if let Some((key, expected, new)) = txn.as_swap() {
                    return vec![action(key, Action::CompareAndSwap { expected, new })];
                }
                done_or_possible(txn, reply).map(|step| action(step.key(), action_of(step))).collect()
            }
            Request::Get { level: Freshness::Strong | Freshness::Lease, keys } => {
                keys.iter().map(|key| action(*key, Action::Get)).collect()
            }
            Request::Get { level: Freshness::Stale(_), .. }
            | Request::Recall { .. }
            | Request::Grant { .. }
            | Request::Renew(_)
            | Request::Revoke(_)
            | Request::Compact(_) => Vec::new(),
        }
    }
}

/// The steps that were done, or of an unknown outcome all that may have been.
fn done_or_possible<'txn>(txn: &'txn Txn, reply: Option<&Reply>) -> impl Iterator<Item = &'txn Step> {
    let (done, possible) = match reply {
        Some(reply) => (txn.branch(reply.succeeded), &[][..]),
        None => (txn.then.as_slice(), txn.otherwise.as_slice()),
    };
    done.iter().chain(possible)
}

fn action_of(step: &Step) -> Action {
    match *step {
        Step::Put { value, lease, .. } => Action::Put { value, lease: lease.map(lease_of) },
        Step::Delete(_) => Action::Delete,
        Step::Get(_) => Action::Get,
    }
}

fn lease_of(lease: LeaseId) -> Lease {
    Lease(lease.0.cast_unsigned())
}

/// The operations around the one that can't be explained.
pub(super) fn explain(key: Key, operations: &[Operation], violation: &linearizability::Violation) -> String {
    let culprit = operations[violation.operation];
    let mut near: Vec<_> = operations
        .iter()
        .filter(|operation| match operation.completion {
            Completion::Unknown => operation.invoked_at <= culprit.invoked_at,
            Completion::Answered { at, .. } => at + EXPLAINED_MOMENTS >= culprit.invoked_at,
        })
        .collect();
    near.sort_by_key(|operation| operation.invoked_at);
    let near: Vec<_> =
        near.into_iter().take(EXPLAINED_MAX).map(|operation| format!("  {operation:?}")).collect();
    format!(
        "of {key:?} no order explains {culprit:?}; possible was {:?}; around it:\n{}",
        violation.possible,
        near.join("\n")
    )
}

/// How far back an explanation goes.
const EXPLAINED_MOMENTS: u64 = 100_000 * MOMENTS;
/// How many operations an explanation shows.
const EXPLAINED_MAX: usize = 60;
