//! What the clients asked for and were told, and whether a register could have answered so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ruvector_client::Protocol;
use ruvector_simulator::linearizability::{
    Action, Completion, Observation, Operation, Value, Verdict, check,
};

use crate::key::Key;
use crate::network::Place;
use crate::watch::Change;

/// How large the search for an order may become for one answer.
const CONFIGURATIONS_MAX: usize = 500_000;

/// One operation of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Who.
    pub client: usize,
    /// Where.
    pub key: Key,
    /// What. No two operations write the same value.
    pub action: Action,
    /// How, if it is a read.
    pub read: Option<Read>,
    /// When, on the one clock of the run.
    pub invoked: Duration,
    /// When its client learned how it ended.
    pub ended: Duration,
    /// How.
    pub outcome: Outcome,
}

/// How a read was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// What its client speaks.
    pub protocol: Protocol,
    /// The only node that its client asks; `None` if it asks any.
    pub place: Option<Place>,
    /// What it asked for.
    pub way: Way,
}

/// What can be asked for to have the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// The key itself, linearizably.
    Get,
    /// A transaction that does nothing but read the key.
    Transaction,
    /// The key under the leader's lease. That is of no dialect: all ask for it by the administrative API.
    Lease,
}

/// How an operation ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// What the answer said of the key before it.
        observation: Observation,
        /// The revision that was answered.
        revision: i64,
    },
    /// It certainly did nothing.
    Failed,
    /// It did something, or not, or will.
    Unknown,
}

impl fmt::Display for Read {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, place, way } = self;
        let what = match (way, protocol) {
            (Way::Lease, _) => "lease read",
            (Way::Get, Protocol::Etcd) => "get by etcd's API",
            (Way::Get, Protocol::Native) => "get by the native protocol",
            (Way::Transaction, Protocol::Etcd) => "transaction by etcd's API",
            (Way::Transaction, Protocol::Native) => "transaction by the native protocol",
        };
        match place {
            Some(place) => write!(formatter, "{what} through {place}"),
            None => write!(formatter, "{what} through any node"),
        }
    }
}

impl Recorded {
    /// The value that it would write.
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        match self.action {
            Action::Put { value, .. } => Some(value),
            Action::CompareAndSwap { new, .. } => new,
            Action::Get | Action::Delete | Action::EndLease { .. } => None,
        }
    }

    /// The value that was acknowledged as written, and at which revision.
    #[must_use]
    pub fn acknowledged(&self) -> Option<(Value, i64)> {
        let Outcome::Answered { observation, revision } = self.outcome else { return None };
        let swapped = match self.action {
            Action::CompareAndSwap { expected, .. } => observation == Observation::Held(expected),
            Action::Put { .. } | Action::Get | Action::Delete | Action::EndLease { .. } => true,
        };
        self.value().filter(|_| swapped).map(|value| (value, revision))
    }

    fn operation(&self) -> Option<Operation> {
        let completion = match self.outcome {
            Outcome::Answered { observation, .. } => {
                Completion::Answered { at: nanoseconds(self.ended), observation }
            }
            Outcome::Unknown => Completion::Unknown,
            Outcome::Failed => return None,
        };
        Some(Operation { action: self.action, invoked_at: nanoseconds(self.invoked), completion })
    }
}

/// What judging found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What contradicts a promise.
    pub violations: Vec<String>,
    /// Keys whose history was too entangled to decide.
    pub undecided: usize,
}

/// Holds each key's history against a register.
#[must_use]
pub fn judge(history: &[Recorded]) -> Judgement {
    let mut keys: BTreeMap<Key, Vec<Operation>> = BTreeMap::new();
    for recorded in history {
        if let Some(operation) = recorded.operation() {
            keys.entry(recorded.key).or_default().push(operation);
        }
    }
    let mut judgement = Judgement::default();
    for (key, operations) in keys {
        match check(&operations, CONFIGURATIONS_MAX) {
            Verdict::Linearizable => {}
            Verdict::Undecided => judgement.undecided += 1,
            Verdict::Violation(violation) => judgement.violations.push(format!(
                "linearizability: {key}: {:?} can't be explained; the key can have held {:?}{}",
                operations[violation.operation],
                violation.possible,
                read_by(history, key, &operations[violation.operation])
            )),
        }
    }
    judgement
}

/// How a read was made that can't be explained: it tells where to look.
fn read_by(history: &[Recorded], key: Key, operation: &Operation) -> String {
    let is_same =
        |recorded: &&Recorded| recorded.key == key && recorded.operation().as_ref() == Some(operation);
    let read = history.iter().find(is_same).and_then(|recorded| recorded.read);
    read.map_or_else(String::new, |read| format!("; {read}"))
}

/// Holds all changes that a watch reported, from the first revision on, against what clients were told: every
/// acknowledged write is there at its revision, nothing that failed is, and nothing twice.
#[must_use]
pub fn judge_changes(history: &[Recorded], changes: &[Change]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut writes: BTreeMap<u64, &Recorded> = BTreeMap::new();
    for recorded in history {
        writes.extend(recorded.value().map(|value| (value.0, recorded)));
    }
    let mut made: BTreeMap<i64, &Change> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for change in changes {
        made.insert(change.revision, change);
        let write = change.value.as_deref().and_then(|value| value.parse().ok()).and_then(|value: u64| {
            writes.get(&value).filter(|write| write.key.to_string() == change.key).copied()
        });
        match write {
            None => violations.push(format!("changes: nobody wrote {change:?}")),
            Some(write) if write.outcome == Outcome::Failed => {
                violations
                    .push(format!("changes: {change:?} was made although its client was told it failed"));
            }
            Some(_) if !seen.insert(change.value.clone()) => {
                violations.push(format!("changes: {change:?} was made twice"));
            }
            Some(_) => {}
        }
    }
    for recorded in history {
        let Some((value, revision)) = recorded.acknowledged() else { continue };
        let change = made.get(&revision);
        if change.is_none_or(|change| change.value.as_deref() != Some(value.0.to_string().as_str())) {
            violations.push(format!(
                "changes: {recorded:?} was acknowledged, but revision {revision} is {change:?}"
            ));
        }
    }
    violations
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("a run is shorter than five hundred years")
}

#[cfg(test)]
mod tests;
