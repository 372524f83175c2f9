//! What the simulated clients ask for, and what their answers tell.

use bytes::Bytes;
use ruvector_node::ReadLevel;
use ruvector_state_machine::kv::{Command, LeaseId, Outcome, Response, Revision};

use crate::encoding;
use crate::events::{Change, Counters};
use crate::linearizability::{Observation, Value};

/// One of the few keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub usize);

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Change keys, or read them where they are changed.
    Write(Txn),
    /// Read keys as they are.
    Get {
        /// Which.
        keys: Vec<Key>,
        /// How fresh.
        level: Freshness,
    },
    /// Read keys as they were at a revision.
    Recall {
        /// Which.
        keys: Vec<Key>,
        /// When.
        at: Revision,
    },
    /// Make a lease.
    Grant {
        /// Its id.
        lease: LeaseId,
        /// How long it lives without renewal.
        ttl_seconds: i64,
    },
    /// Renew a lease.
    Renew(LeaseId),
    /// End a lease.
    Revoke(LeaseId),
    /// Forget history.
    Compact(Revision),
}

/// One branch of steps or another, all at one revision.
///
/// Within a branch no key occurs twice, so that what its answer tells of a key is what the key held before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Txn {
    /// What keys must hold for the first branch.
    pub compare: Vec<(Key, Option<Value>)>,
    /// Done if they do.
    pub then: Vec<Step>,
    /// Done otherwise.
    pub otherwise: Vec<Step>,
}

/// One step of a [`Txn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Write a value.
    Put {
        /// Where.
        key: Key,
        /// What.
        value: Value,
        /// The lease that the key is then attached to.
        lease: Option<LeaseId>,
    },
    /// Delete a key.
    Delete(Key),
    /// Read a key.
    Get(Key),
}

/// What a request asks of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make a read safe.
    Read(Freshness),
    /// Have a command applied.
    Propose(Bytes),
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Confirmed by a quorum.
    Strong,
    /// As long as clocks are within their bound.
    Lease,
    /// However old up to this many milliseconds.
    Stale(Option<u64>),
}

impl From<Freshness> for ReadLevel {
    fn from(freshness: Freshness) -> Self {
        match freshness {
            Freshness::Strong => Self::Strong,
            Freshness::Lease => Self::Lease,
            Freshness::Stale(max_staleness_ms) => Self::Stale { max_staleness_ms },
        }
    }
}

/// What an answer tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The store's revision after the command, or that was read.
    pub revision: Revision,
    /// Whether the store refused the command, so that it changed nothing.
    pub refused: bool,
    /// Of a write: whether all comparisons held.
    pub succeeded: bool,
    /// What each key held before.
    pub observations: Vec<(Key, Observation)>,
    /// Of a read: the counters of the keys that exist.
    pub counters: Vec<(Key, Counters)>,
    /// Of a renewal or a grant: whether the lease then lived.
    pub lease_lives: bool,
}

impl Request {
    /// Writes values to keys, all at once.
    #[must_use]
    pub fn put(writes: &[(Key, Value)], lease: Option<LeaseId>) -> Self {
        let then = writes.iter().map(|&(key, value)| Step::Put { key, value, lease }).collect();
        Self::Write(Txn { then, ..Txn::default() })
    }

    /// Writes or deletes a key if it holds what is expected, and tells what it held otherwise.
    #[must_use]
    pub fn swap(key: Key, expected: Option<Value>, new: Option<Value>) -> Self {
        let step = new.map_or(Step::Delete(key), |value| Step::Put { key, value, lease: None });
        Self::Write(Txn { compare: vec![(key, expected)], then: vec![step], otherwise: vec![Step::Get(key)] })
    }

    /// If it only reads: which keys, and as of which revision if not as they are.
    #[must_use]
    pub fn as_read(&self) -> Option<(&[Key], Option<Revision>)> {
        match self {
            Self::Get { keys, .. } => Some((keys, None)),
            Self::Recall { keys, at } => Some((keys, Some(*at))),
            Self::Write(_) | Self::Grant { .. } | Self::Renew(_) | Self::Revoke(_) | Self::Compact(_) => None,
        }
    }

    /// Every value that it may write.
    pub fn values(&self) -> impl Iterator<Item = Value> {
        let txn = if let Self::Write(txn) = self { Some(txn) } else { None };
        let steps = txn.into_iter().flat_map(|txn| txn.then.iter().chain(&txn.otherwise));
        steps.filter_map(|step| if let Step::Put { value, .. } = step { Some(*value) } else { None })
    }

    /// Whether it is something that clients do in their session, if they have one.
    #[must_use]
    pub fn is_for_session(&self) -> bool {
        match self {
            Self::Write(_) | Self::Compact(_) => true,
            Self::Get { .. }
            | Self::Recall { .. }
            | Self::Grant { .. }
            | Self::Renew(_)
            | Self::Revoke(_) => false,
        }
    }

    /// What its node is asked to do.
    #[must_use]
    pub fn action(&self) -> Action {
        match (self.command(), self) {
            (Some(command), _) => Action::Propose(command.encode()),
            (None, Self::Get { level, .. }) => Action::Read(*level),
            (None, _) => Action::Read(Freshness::Stale(None)),
        }
    }

    /// The command that it is, unless it only reads.
    #[must_use]
    pub fn command(&self) -> Option<Command> {
        Some(match self {
            Self::Get { .. } | Self::Recall { .. } => return None,
            Self::Write(txn) => encoding::command(txn),
            Self::Grant { lease, ttl_seconds } => {
                Command::LeaseGrant { id: *lease, ttl_seconds: *ttl_seconds }
            }
            Self::Renew(lease) => Command::LeaseRenew { ids: vec![*lease] },
            Self::Revoke(lease) => Command::LeaseRevoke { id: *lease },
            Self::Compact(revision) => Command::Compact { revision: *revision },
        })
    }

    /// Reads a command's answer. `None` if it is no answer to this request.
    #[must_use]
    pub fn reply(&self, response: &Response) -> Option<Reply> {
        let mut reply = Reply { revision: response.revision, ..Reply::default() };
        let Ok(outcome) = &response.result else {
            reply.refused = true;
            return Some(reply);
        };
        match (self, outcome) {
            (Self::Write(txn), outcome) => {
                (reply.succeeded, reply.observations) = encoding::observations(txn, outcome)?;
            }
            (Self::Grant { .. }, Outcome::LeaseGrant { .. }) => reply.lease_lives = true,
            (Self::Renew(_), Outcome::LeaseRenew(ttls)) => {
                reply.lease_lives = ttls.first()?.is_some();
            }
            (Self::Revoke(_), Outcome::LeaseRevoke) | (Self::Compact(_), Outcome::Compact) => {}
            _ => return None,
        }
        Some(reply)
    }
}

impl Txn {
    /// The steps of one branch.
    #[must_use]
    pub fn branch(&self, succeeded: bool) -> &[Step] {
        if succeeded { &self.then } else { &self.otherwise }
    }

    /// If it writes or deletes one key by what that key holds: the key, what it must hold and what it then holds.
    #[must_use]
    pub fn as_swap(&self) -> Option<(Key, Option<Value>, Option<Value>)> {
        let (&[(key, expected)], [step], &[Step::Get(other)]) =
            (self.compare.as_slice(), self.then.as_slice(), self.otherwise.as_slice())
        else {
            return None;
        };
        let new = match *step {
            Step::Put { value, lease: None, .. } => Some(value),
            Step::Delete(_) => None,
            Step::Put { lease: Some(_), .. } | Step::Get(_) => return None,
        };
        (step.key() == key && other == key).then_some((key, expected, new))
    }
}

impl Step {
    /// The key that it is about.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Put { key, .. } | Self::Delete(key) | Self::Get(key) => *key,
        }
    }
}

impl Reply {
    /// What a key held before, if the reply tells.
    #[must_use]
    pub fn held(&self, key: Key) -> Observation {
        let told = self.observations.iter().find(|(told, _)| *told == key);
        told.map_or(Observation::Nothing, |(_, held)| *held)
    }

    /// The changes that the store must have made at the reply's revision. `None` if the reply does not tell.
    #[must_use]
    pub fn changes(&self, request: &Request) -> Option<Vec<Change>> {
        if self.refused {
            return Some(Vec::new());
        }
        match request {
            Request::Write(txn) => {
                let change = |step: &Step| match *step {
                    Step::Put { key, value, .. } => Some(Change { key, value: Some(value) }),
                    Step::Delete(key) if self.held(key) == Observation::Held(None) => None,
                    Step::Delete(key) => Some(Change { key, value: None }),
                    Step::Get(_) => None,
                };
                Some(txn.branch(self.succeeded).iter().filter_map(change).collect())
            }
            Request::Get { .. }
            | Request::Recall { .. }
            | Request::Grant { .. }
            | Request::Renew(_)
            | Request::Compact(_) => Some(Vec::new()),
            Request::Revoke(_) => None,
        }
    }
}
