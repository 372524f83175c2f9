//! How the clients' requests and answers look to the store.

use bytes::Bytes;
use ruvector_state_machine::kv::{
    Command, Compare, CompareOperator, CompareTarget, DeleteRequest, KeyRange, KeyValue, KvError, KvView,
    LeaseId, Outcome, PutRequest, RangeRequest, Revision, TxnOp, TxnOpResponse, TxnRequest,
};

use crate::events::Counters;
use crate::linearizability::{Observation, Value};
use crate::workload::{Key, Reply, Step, Txn};

/// How many different lengths values have.
pub const VALUE_LENGTHS: u64 = 4096;
/// How all keys begin.
const KEY_PREFIX: &str = "key-";
/// The first key behind all keys.
const KEYS_END: &str = "key.";

/// The command for a transaction: a put or a delete where that is enough.
pub(crate) fn command(txn: &Txn) -> Command {
    match (txn.compare.as_slice(), txn.then.as_slice(), txn.otherwise.as_slice()) {
        ([], &[Step::Put { key, value, lease }], []) => Command::Put(put(key, value, lease)),
        ([], &[Step::Delete(key)], []) => Command::Delete(delete(key)),
        _ => Command::Txn(TxnRequest {
            compare: txn.compare.iter().map(|(key, expected)| compare(*key, *expected)).collect(),
            success: txn.then.iter().map(operation).collect(),
            failure: txn.otherwise.iter().map(operation).collect(),
        }),
    }
}

/// What the answer to a transaction tells: whether the comparisons held, and what keys held before. `None` if it
/// is no answer to it.
pub(crate) fn observations(txn: &Txn, outcome: &Outcome) -> Option<(bool, Vec<(Key, Observation)>)> {
    match outcome {
        Outcome::Put(put) => {
            let key = txn.then.first()?.key();
            Some((true, vec![(key, held(put.prev_kv.as_deref())?)]))
        }
        Outcome::Delete(delete) => {
            let key = txn.then.first()?.key();
            let held = held(delete.prev_kvs.first().map(AsRef::as_ref))?;
            (delete.deleted == i64::from(held != Observation::Held(None))).then_some(())?;
            Some((true, vec![(key, held)]))
        }
        Outcome::Txn(answer) => {
            let steps = txn.branch(answer.succeeded);
            (steps.len() == answer.responses.len()).then_some(())?;
            let told = steps.iter().zip(&answer.responses);
            let told: Option<Vec<_>> =
                told.map(|(step, response)| Some((step.key(), found(response)?))).collect();
            Some((answer.succeeded, told?))
        }
        Outcome::Compact
        | Outcome::LeaseGrant { .. }
        | Outcome::LeaseRevoke
        | Outcome::LeaseRenew(_)
        | Outcome::SessionOpened(_)
        | Outcome::RetentionSet => None,
    }
}

/// Reads keys from a version of the store, as they are or as they were; several by the range of all keys. The reply
/// is `None` if the store holds what nobody wrote.
pub(crate) fn read(view: &KvView, keys: &[Key], at: Option<Revision>) -> Result<Option<Reply>, KvError> {
    let range = match keys {
        [key] => single(*key),
        _ => KeyRange { key: Bytes::from_static(KEY_PREFIX.as_bytes()), range_end: KEYS_END.into() },
    };
    let found = view.range(&range_request(range, at))?;
    Ok(read_reply(keys, &found.kvs, found.count, at.unwrap_or_else(|| view.revision())))
}

fn read_reply(
    keys: &[Key],
    kvs: &[std::sync::Arc<KeyValue>],
    count: i64,
    revision: Revision,
) -> Option<Reply> {
    let mut reply = Reply { revision, ..Reply::default() };
    let mut left = kvs.iter().peekable();
    for key in keys {
        let kv = left.next_if(|kv| key_of(&kv.key) == Some(*key));
        reply.observations.push((*key, held(kv.map(AsRef::as_ref))?));
        reply.counters.extend(kv.map(|kv| (*key, counters(kv))));
    }
    let is_whole = left.next().is_none() && usize::try_from(count) == Ok(kvs.len());
    is_whole.then_some(reply)
}

fn counters(kv: &KeyValue) -> Counters {
    Counters { created: kv.create_revision, changed: kv.mod_revision, version: kv.version }
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

fn single(key: Key) -> KeyRange {
    KeyRange { key: Bytes::from(format!("{KEY_PREFIX}{}", key.0)), range_end: Bytes::new() }
}

/// A value's bytes: its number, followed by as many dots as the number modulo [`VALUE_LENGTHS`].
fn bytes_of(value: Value) -> Bytes {
    let mut bytes = value.0.to_string().into_bytes();
    let padding = usize::try_from(value.0 % VALUE_LENGTHS).expect("a small number");
    bytes.resize(bytes.len() + padding, b'.');
    bytes.into()
}

fn operation(step: &Step) -> TxnOp {
    match *step {
        Step::Put { key, value, lease } => TxnOp::Put(put(key, value, lease)),
        Step::Delete(key) => TxnOp::Delete(delete(key)),
        Step::Get(key) => TxnOp::Range(range_request(single(key), None)),
    }
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

fn range_request(range: KeyRange, revision: Option<Revision>) -> RangeRequest {
    RangeRequest { revision, ..RangeRequest::of(range) }
}

fn compare(key: Key, expected: Option<Value>) -> Compare {
    let target = match expected {
        Some(value) => CompareTarget::Value(bytes_of(value)),
        None => CompareTarget::Version(0),
    };
    Compare { range: single(key), target, operator: CompareOperator::Equal }
}

/// The key that these bytes name.
#[must_use]
pub fn key_of(bytes: &[u8]) -> Option<Key> {
    std::str::from_utf8(bytes).ok()?.strip_prefix(KEY_PREFIX)?.parse().ok().map(Key)
}

/// The value that these bytes stand for.
#[must_use]
pub fn value_of(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok()?.trim_end_matches('.').parse().ok().map(Value)
}
