//! What etcd refuses before anything is proposed (etcd's `server/etcdserver/api/v3rpc/key.go`).

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_node::state_machine::kv::TXN_DEPTH_MAX;

use crate::service::error::InvalidRequest;

pub(crate) fn range(request: &pb::RangeRequest) -> Result<(), InvalidRequest> {
    if request.key.is_empty() { Err(InvalidRequest::EmptyKey) } else { Ok(()) }
}

pub(crate) fn put(request: &pb::PutRequest) -> Result<(), InvalidRequest> {
    if request.key.is_empty() {
        Err(InvalidRequest::EmptyKey)
    } else if request.ignore_value && !request.value.is_empty() {
        Err(InvalidRequest::ValueProvided)
    } else if request.ignore_lease && request.lease != 0 {
        Err(InvalidRequest::LeaseProvided)
    } else {
        Ok(())
    }
}

pub(crate) fn delete(request: &pb::DeleteRangeRequest) -> Result<(), InvalidRequest> {
    if request.key.is_empty() { Err(InvalidRequest::EmptyKey) } else { Ok(()) }
}

/// Checks every operation, their number, and that no key would be written twice whichever branches are taken.
pub(crate) fn txn(request: &pb::TxnRequest, operations_max: usize) -> Result<(), InvalidRequest> {
    operations(request, operations_max, 1)?;
    Writes::of(&request.success)?;
    Writes::of(&request.failure)?;
    Ok(())
}

/// A transaction inside another may have as many operations as the outer one leaves, and may be as deep as the
/// store takes.
fn operations(request: &pb::TxnRequest, operations_max: usize, depth: usize) -> Result<(), InvalidRequest> {
    if depth > TXN_DEPTH_MAX {
        return Err(InvalidRequest::TooManyOperations);
    }
    let count = request.compare.len().max(request.success.len()).max(request.failure.len());
    let Some(left) = operations_max.checked_sub(count) else { return Err(InvalidRequest::TooManyOperations) };
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(InvalidRequest::EmptyKey);
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete(request)?,
            Some(Request::RequestTxn(request)) => operations(request, left, depth + 1)?,
            None => return Err(InvalidRequest::EmptyOperation),
        }
    }
    Ok(())
}

/// The keys that a list of operations may write. Deletions may overlap each other; a put may overlap nothing,
/// except that the two branches of one inner transaction exclude each other.
#[derive(Default)]
struct Writes {
    puts: HashSet<Bytes>,
    deletes: Intervals,
}

impl Writes {
    fn of(operations: &[pb::RequestOp]) -> Result<Self, InvalidRequest> {
        let mut writes = Self::default();
        for operation in operations {
            if let Some(Request::RequestDeleteRange(request)) = &operation.request {
                writes.deletes.insert(&request.key, &request.range_end);
            }
        }
        for operation in operations {
            if let Some(Request::RequestTxn(request)) = &operation.request {
                writes.add_branches(Self::of(&request.success)?, Self::of(&request.failure)?)?;
            }
        }
        for operation in operations {
            if let Some(Request::RequestPut(request)) = &operation.request {
                writes.add_put(request.key.clone())?;
            }
        }
        Ok(writes)
    }

    fn add_branches(&mut self, success: Self, failure: Self) -> Result<(), InvalidRequest> {
        let mut puts = success.puts;
        puts.extend(failure.puts);
        for key in puts {
            self.add_put(key)?;
        }
        self.deletes.absorb(success.deletes);
        self.deletes.absorb(failure.deletes);
        Ok(())
    }

    fn add_put(&mut self, key: Bytes) -> Result<(), InvalidRequest> {
        if self.deletes.contains(&key) || !self.puts.insert(key) {
            Err(InvalidRequest::DuplicateKey)
        } else {
            Ok(())
        }
    }
}

/// A set of keys as disjoint half-open intervals: start to end, `None` for no end.
#[derive(Default)]
struct Intervals(BTreeMap<Bytes, Option<Bytes>>);

impl Intervals {
    fn insert(&mut self, key: &Bytes, range_end: &Bytes) {
        let end = match range_end.as_ref() {
            [] => Some(successor(key)),
            [0] => None,
            _ => Some(range_end.clone()),
        };
        if end.as_ref().is_none_or(|end| key < end) {
            self.add(key.clone(), end);
        }
    }

    fn add(&mut self, mut start: Bytes, mut end: Option<Bytes>) {
        // Swallows every interval that begins at or before the new one's end and ends at or after its start.
        while let Some((known_start, known_end)) = self.last_beginning_within(end.as_ref()) {
            if known_end.as_ref().is_some_and(|known_end| *known_end < start) {
                break;
            }
            self.0.remove(&known_start);
            start = start.min(known_start);
            end = end.zip(known_end).map(|(a, b)| a.max(b));
        }
        self.0.insert(start, end);
    }

    fn last_beginning_within(&self, end: Option<&Bytes>) -> Option<(Bytes, Option<Bytes>)> {
        let last = match end {
            Some(end) => self.0.range::<Bytes, _>(..=end).next_back(),
            None => self.0.iter().next_back(),
        };
        last.map(|(start, end)| (start.clone(), end.clone()))
    }

    fn absorb(&mut self, other: Self) {
        for (start, end) in other.0 {
            self.add(start, end);
        }
    }

    fn contains(&self, key: &Bytes) -> bool {
        let last = self.0.range::<Bytes, _>(..=key).next_back();
        last.is_some_and(|(_, end)| end.as_ref().is_none_or(|end| key < end))
    }
}

/// The smallest key above `key`.
fn successor(key: &Bytes) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
