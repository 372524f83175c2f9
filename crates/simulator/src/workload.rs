//! What the simulated clients ask for, and how their answers are read.

use bytes::Bytes;
use ruvector_node::ReadLevel;
use ruvector_state_machine::kv::{
    Command, Compare, CompareOperator, CompareTarget, DeleteRequest, KeyRange, KeyValue, KvView, LeaseId,
    Outcome, PutRequest, RangeRequest, Response, Revision, TxnOp, TxnOpResponse, TxnRequest,
};

use crate::events::Change;
use crate::linearizability::{Observation, Value};

/// One of the few keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub usize);

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Write values to keys, all at once.
    Put {
        /// What and where.
        writes: Vec<(Key, Value)>,
        /// The lease they are attached to.
        lease: Option<LeaseId>,
    },
    /// Delete a key.
    Delete(Key),
    /// Write or delete a key if it holds what is expected.
    Swap {
        /// The key.
        key: Key,
        /// What it must hold.
        expected: Option<Value>,
        /// What it then holds.
        new: Option<Value>,
    },
    /// Read keys.
    Get {
        /// Which.
        keys: Vec<Key>,
        /// How fresh.
        level: Freshness,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The store's revision after the command, or that was read.
    pub revision: Revision,
    /// Whether the store refused the command, so that it changed nothing.
    pub refused: bool,
    /// What each key held before.
    pub observations: Vec<(Key, Observation)>,
    /// Of a renewal or a grant: whether the lease then lived.
    pub lease_lives: bool,
}

impl Request {
    /// What its node is asked to do.
    #[must_use]
    pub fn action(&self) -> Action {
        let command = match self {
            Self::Get { level, .. } => return Action::Read(*level),
            Self::Put { writes, lease } => match writes.as_slice() {
                [(key, value)] => Command::Put(put(*key, *value, *lease)),
                writes => Command::Txn(TxnRequest {
                    compare: Vec::new(),
                    success: writes
                        .iter()
                        .map(|(key, value)| TxnOp::Put(put(*key, *value, *lease)))
                        .collect(),
                    failure: Vec::new(),
                }),
            },
            Self::Delete(key) => Command::Delete(delete(*key)),
            Self::Swap { key, expected, new } => Command::Txn(swap(*key, *expected, *new)),
            Self::Grant { lease, ttl_seconds } => {
                Command::LeaseGrant { id: *lease, ttl_seconds: *ttl_seconds }
            }
            Self::Renew(lease) => Command::LeaseRenew { ids: vec![*lease] },
            Self::Revoke(lease) => Command::LeaseRevoke { id: *lease },
            Self::Compact(revision) => Command::Compact { revision: *revision },
        };
        Action::Propose(command.encode())
    }

    /// Reads a command's answer. `None` if it is no answer to this request.
    #[must_use]
    pub fn reply(&self, response: &Response) -> Option<Reply> {
        let mut reply = Reply {
            revision: response.revision,
            refused: false,
            observations: Vec::new(),
            lease_lives: false,
        };
        let Ok(outcome) = &response.result else {
            reply.refused = true;
            return Some(reply);
        };
        match (self, outcome) {
            (Self::Put { writes, .. }, Outcome::Put(put)) => {
                reply.observations.push((writes.first()?.0, held(put.prev_kv.as_deref())?));
            }
            (Self::Put { writes, .. }, Outcome::Txn(txn)) if txn.succeeded => {
                for ((key, _), answer) in writes.iter().zip(&txn.responses) {
                    reply.observations.push((*key, found(answer)?));
                }
                (reply.observations.len() == writes.len()).then_some(())?;
            }
            (Self::Delete(key), Outcome::Delete(delete)) => {
                let held = held(delete.prev_kvs.first().map(AsRef::as_ref))?;
                (delete.deleted == i64::from(held != Observation::Held(None))).then_some(())?;
                reply.observations.push((*key, held));
            }
            (Self::Swap { key, expected, .. }, Outcome::Txn(txn)) => {
                let held = found(txn.responses.first()?)?;
                (txn.succeeded == (held == Observation::Held(*expected))).then_some(())?;
                reply.observations.push((*key, held));
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

impl Reply {
    /// The changes that the store must have made at the reply's revision. `None` if the reply does not tell.
    #[must_use]
    pub fn changes(&self, request: &Request) -> Option<Vec<Change>> {
        if self.refused {
            return Some(Vec::new());
        }
        let held = |key: Key| self.observations.iter().find(|(k, _)| *k == key).map(|(_, held)| *held);
        match request {
            Request::Put { writes, .. } => {
                Some(writes.iter().map(|(key, value)| Change { key: *key, value: Some(*value) }).collect())
            }
            Request::Delete(key) if held(*key) == Some(Observation::Held(None)) => Some(Vec::new()),
            Request::Delete(key) => Some(vec![Change { key: *key, value: None }]),
            Request::Swap { key, expected, new } if held(*key) == Some(Observation::Held(*expected)) => {
                Some(vec![Change { key: *key, value: *new }])
            }
            Request::Swap { .. }
            | Request::Get { .. }
            | Request::Grant { .. }
            | Request::Renew(_)
            | Request::Compact(_) => Some(Vec::new()),
            Request::Revoke(_) => None,
        }
    }
}

fn held(kv: Option<&KeyValue>) -> Option<Observation> {
    match kv {
        None => Some(Observation::Held(None)),
        Some(kv) => Some(Observation::Held(Some(value_of(&kv.value)?))),
    }
}

fn found(answer: &TxnOpResponse) -> Option<Observation> {
    match answer {
        TxnOpResponse::Put(put) => held(put.prev_kv.as_deref()),
        TxnOpResponse::Range(range) => held(range.kvs.first().map(AsRef::as_ref)),
        TxnOpResponse::Delete(delete) => held(delete.prev_kvs.first().map(AsRef::as_ref)),
        TxnOpResponse::Txn(_) => None,
    }
}

/// Reads keys from a version of the store.
#[must_use]
pub fn read(view: &KvView, keys: &[Key]) -> Option<Reply> {
    let mut observations = Vec::new();
    for key in keys {
        let range = view.range(&range(*key)).ok()?;
        observations.push((*key, held(range.kvs.first().map(AsRef::as_ref))?));
    }
    Some(Reply { revision: view.revision(), refused: false, observations, lease_lives: false })
}

fn single(key: Key) -> KeyRange {
    KeyRange { key: Bytes::from(format!("key-{}", key.0)), range_end: Bytes::new() }
}

/// How many different lengths values have.
pub const VALUE_LENGTHS: u64 = 4096;

/// A value's bytes: its number, followed by as many dots as the number modulo [`VALUE_LENGTHS`].
fn bytes_of(value: Value) -> Bytes {
    let mut bytes = value.0.to_string().into_bytes();
    let padding = usize::try_from(value.0 % VALUE_LENGTHS).expect("a small number");
    bytes.resize(bytes.len() + padding, b'.');
    bytes.into()
}

fn put(key: Key, value: Value, lease: Option<LeaseId>) -> PutRequest {
    PutRequest {
        key: single(key).key,
        value: bytes_of(value),
        lease,
        prev_kv: true,
        ignore_value: false,
        ignore_lease: false,
    }
}

fn delete(key: Key) -> DeleteRequest {
    DeleteRequest { range: single(key), prev_kv: true }
}

fn range(key: Key) -> RangeRequest {
    RangeRequest {
        range: single(key),
        revision: None,
        limit: 0,
        sort: None,
        keys_only: false,
        count_only: false,
        min_mod_revision: Revision(0),
        max_mod_revision: Revision(0),
        min_create_revision: Revision(0),
        max_create_revision: Revision(0),
    }
}

fn swap(key: Key, expected: Option<Value>, new: Option<Value>) -> TxnRequest {
    let target = match expected {
        Some(value) => CompareTarget::Value(bytes_of(value)),
        None => CompareTarget::Version(0),
    };
    let change = match new {
        Some(value) => TxnOp::Put(put(key, value, None)),
        None => TxnOp::Delete(delete(key)),
    };
    TxnRequest {
        compare: vec![Compare { range: single(key), target, operator: CompareOperator::Equal }],
        success: vec![change],
        failure: vec![TxnOp::Range(range(key))],
    }
}

/// The key that these bytes name.
#[must_use]
pub fn key_of(bytes: &[u8]) -> Option<Key> {
    std::str::from_utf8(bytes).ok()?.strip_prefix("key-")?.parse().ok().map(Key)
}

/// The value that these bytes stand for.
#[must_use]
pub fn value_of(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok()?.trim_end_matches('.').parse().ok().map(Value)
}
