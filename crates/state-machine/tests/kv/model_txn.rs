//! The naive twin's reads and transactions.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use ruvector_state_machine::kv::*;

use crate::model::{Draft, Keys, Model, contains};

impl Model {
    pub(crate) fn range(&self, request: &RangeRequest, present: &Keys) -> Result<RangeResponse, KvError> {
        let keys = match request.revision {
            Some(revision) if revision.0 > 0 => self.keys_at(revision)?,
            Some(_) | None => present,
        };
        let mut kvs: Vec<Arc<KeyValue>> =
            keys.values().filter(|kv| contains(&request.range, &kv.key)).cloned().collect();
        let count = kvs.len() as i64;
        if request.count_only {
            return Ok(RangeResponse { kvs: vec![], more: false, count });
        }
        let bounds = [
            (request.min_mod_revision, true, true),
            (request.max_mod_revision, true, false),
            (request.min_create_revision, false, true),
            (request.max_create_revision, false, false),
        ];
        for (bound, of_mod, is_min) in bounds.into_iter().filter(|(bound, _, _)| bound.0 != 0) {
            kvs.retain(|kv| {
                let revision = if of_mod { kv.mod_revision } else { kv.create_revision };
                if is_min { revision.0 >= bound.0 } else { revision.0 <= bound.0 }
            });
        }
        if let Some((target, order)) = request.sort {
            kvs.sort_by(|left, right| sort_order(target, order, left, right));
        }
        let limit = if request.limit > 0 { request.limit as usize } else { usize::MAX };
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if request.keys_only {
            for kv in &mut kvs {
                Arc::make_mut(kv).value = Bytes::new();
            }
        }
        Ok(RangeResponse { kvs, more, count })
    }

    pub(crate) fn txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, KvError> {
        if has_duplicates(request) {
            return Err(KvError::DuplicateKey);
        }
        let mut taken = vec![];
        self.taken_ops(request, &mut taken);
        for op in &taken {
            if let TxnOp::Put(put) = op {
                self.check_key(put)?;
                self.check_lease(put)?;
            }
        }
        for op in &taken {
            if let TxnOp::Range(range) = op {
                let first = if self.compacted == 0 { -1 } else { self.compacted };
                let requested = range.revision.unwrap_or_default();
                if requested.0 < 0 && requested.0 < first {
                    return Err(KvError::Compacted { requested, compacted: Revision(self.compacted) });
                }
                self.range(range, self.present())?;
            }
        }
        let mut draft = Draft::of(self);
        let response = self.execute(request, &mut draft);
        self.commit(draft);
        Ok(response)
    }

    fn taken_ops<'request>(&self, request: &'request TxnRequest, taken: &mut Vec<&'request TxnOp>) {
        let ops = if self.succeeds(request) { &request.success } else { &request.failure };
        for op in ops {
            match op {
                TxnOp::Txn(nested) => self.taken_ops(nested, taken),
                TxnOp::Range(_) | TxnOp::Put(_) | TxnOp::Delete(_) => taken.push(op),
            }
        }
    }

    fn execute(&self, request: &TxnRequest, draft: &mut Draft) -> TxnResponse {
        let succeeded = self.succeeds(request);
        let ops = if succeeded { &request.success } else { &request.failure };
        let mut responses = vec![];
        for op in ops {
            responses.push(match op {
                TxnOp::Range(range) => TxnOpResponse::Range(self.range(range, &draft.keys).unwrap()),
                TxnOp::Put(put) => TxnOpResponse::Put(draft.put(put)),
                TxnOp::Delete(delete) => TxnOpResponse::Delete(draft.delete(delete)),
                TxnOp::Txn(nested) => TxnOpResponse::Txn(self.execute(nested, draft)),
            });
        }
        TxnResponse { succeeded, responses }
    }

    /// Comparisons look at the keys as they were before the transaction.
    fn succeeds(&self, request: &TxnRequest) -> bool {
        request.compare.iter().all(|compare| {
            let mut kvs: Vec<_> =
                self.present().values().filter(|kv| contains(&compare.range, &kv.key)).cloned().collect();
            if kvs.is_empty() {
                if matches!(compare.target, CompareTarget::Value(_)) {
                    return false;
                }
                kvs.push(Arc::new(KeyValue {
                    key: Bytes::new(),
                    value: Bytes::new(),
                    create_revision: Revision(0),
                    mod_revision: Revision(0),
                    version: 0,
                    lease: None,
                }));
            }
            kvs.iter().all(|kv| {
                let ordering = match &compare.target {
                    CompareTarget::Version(version) => kv.version.cmp(version),
                    CompareTarget::Create(revision) => kv.create_revision.cmp(revision),
                    CompareTarget::Mod(revision) => kv.mod_revision.cmp(revision),
                    CompareTarget::Value(value) => kv.value.cmp(value),
                    CompareTarget::Lease(lease) => kv.lease.unwrap_or_default().0.cmp(lease),
                    CompareTarget::Unknown => Ordering::Equal,
                };
                match compare.operator {
                    CompareOperator::Equal => ordering == Ordering::Equal,
                    CompareOperator::NotEqual => ordering != Ordering::Equal,
                    CompareOperator::Greater => ordering == Ordering::Greater,
                    CompareOperator::Less => ordering == Ordering::Less,
                    CompareOperator::Unknown => true,
                }
            })
        })
    }
}

fn sort_order(target: SortTarget, order: SortOrder, left: &KeyValue, right: &KeyValue) -> Ordering {
    let (first, second) = if order == SortOrder::Ascend { (left, right) } else { (right, left) };
    match target {
        SortTarget::Key => first.key.cmp(&second.key),
        SortTarget::Version => first.version.cmp(&second.version),
        SortTarget::Create => first.create_revision.cmp(&second.create_revision),
        SortTarget::Mod => first.mod_revision.cmp(&second.mod_revision),
        SortTarget::Value => first.value.cmp(&second.value),
    }
}

/// A write and where it stands: the operation's position and the branch taken to it, level by level.
struct PlacedWrite<'request> {
    place: Vec<(usize, bool)>,
    op: &'request TxnOp,
}

/// Compares every write with every other, unless they stand in different branches of one transaction.
fn has_duplicates(request: &TxnRequest) -> bool {
    let mut writes = vec![];
    place_writes(request, &mut vec![(0, false)], &mut writes);
    let conflict = |left: &PlacedWrite<'_>, right: &PlacedWrite<'_>| match (left.op, right.op) {
        (TxnOp::Put(left), TxnOp::Put(right)) => left.key == right.key,
        (TxnOp::Put(put), TxnOp::Delete(delete)) | (TxnOp::Delete(delete), TxnOp::Put(put)) => {
            contains(&delete.range, &put.key)
        }
        (TxnOp::Range(_) | TxnOp::Txn(_) | TxnOp::Delete(_), _) | (_, TxnOp::Range(_) | TxnOp::Txn(_)) => {
            false
        }
    };
    writes.iter().enumerate().any(|(index, left)| {
        writes[..index].iter().any(|right| conflict(left, right) && !exclude_each_other(left, right))
    })
}

fn exclude_each_other(left: &PlacedWrite<'_>, right: &PlacedWrite<'_>) -> bool {
    let fork = left.place.iter().zip(&right.place).find(|(left, right)| left != right);
    fork.is_some_and(|((left_op, _), (right_op, _))| left_op == right_op)
}

fn place_writes<'request>(
    request: &'request TxnRequest,
    place: &mut Vec<(usize, bool)>,
    writes: &mut Vec<PlacedWrite<'request>>,
) {
    for (branch, ops) in [(true, &request.success), (false, &request.failure)] {
        place.last_mut().unwrap().1 = branch;
        for (index, op) in ops.iter().enumerate() {
            place.push((index, false));
            match op {
                TxnOp::Txn(nested) => place_writes(nested, place, writes),
                TxnOp::Put(_) | TxnOp::Delete(_) => writes.push(PlacedWrite { place: place.clone(), op }),
                TxnOp::Range(_) => {}
            }
            place.pop();
        }
    }
}
