//! Requests that are a little simpler than others: one field less, one element less, or a part in the place of the
//! whole.

use bytes::Bytes;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_api::etcdserverpb::watch_request::RequestUnion;

use crate::program::{Action, Expiry, Renewals, Saying};

/// A change that makes a request simpler, if it changes anything.
type Change<T> = fn(&mut T);

/// The simplest key, which all odd ones become if that makes no difference.
const SIMPLE_KEY: Bytes = Bytes::from_static(b"a");

/// Actions that are simpler than one, the simplest first.
pub(super) fn actions(action: &Action) -> Vec<Action> {
    match action {
        Action::Range(request) => changed(request, &RANGE).map(Action::Range).collect(),
        Action::Put(request) => changed(request, &PUT).map(Action::Put).collect(),
        Action::Delete(request) => changed(request, &DELETE).map(Action::Delete).collect(),
        Action::Txn(request) => parts(request).chain(txns(request).into_iter().map(Action::Txn)).collect(),
        Action::Compact(request) => {
            let changes: [Change<pb::CompactionRequest>; 1] = [|request| request.physical = false];
            changed(request, &changes).map(Action::Compact).collect()
        }
        Action::KeepAlive(Renewals { ids }) => {
            shorter(ids).map(|ids| Action::KeepAlive(Renewals { ids })).collect()
        }
        Action::TimeToLive(request) => {
            let changes: [Change<pb::LeaseTimeToLiveRequest>; 1] = [|request| request.keys = false];
            changed(request, &changes).map(Action::TimeToLive).collect()
        }
        Action::Expire(Expiry { id, keys }) => {
            shorter(keys).map(|keys| Action::Expire(Expiry { id: *id, keys })).collect()
        }
        Action::Watch(Saying { stream, request: Some(pb::WatchRequest { request_union }) }) => {
            let Some(RequestUnion::CreateRequest(create)) = request_union else { return Vec::new() };
            let saying = |create| {
                let request_union = Some(RequestUnion::CreateRequest(create));
                Action::Watch(Saying { stream: *stream, request: Some(pb::WatchRequest { request_union }) })
            };
            changed(create, &WATCH).map(saying).collect()
        }
        Action::Grant(request) => changed(request, &GRANT).map(Action::Grant).collect(),
        Action::Revoke(_) | Action::Leases(_) | Action::Fleeting(_) | Action::Watch(_) => Vec::new(),
    }
}

const RANGE: [Change<pb::RangeRequest>; 13] = [
    |request| *request = pb::RangeRequest { key: SIMPLE_KEY, ..Default::default() },
    |request| request.key = SIMPLE_KEY,
    |request| request.range_end = Bytes::new(),
    |request| request.limit = 0,
    |request| request.revision = 0,
    |request| (request.sort_order, request.sort_target) = (0, 0),
    |request| request.serializable = false,
    |request| request.keys_only = false,
    |request| request.count_only = false,
    |request| request.min_mod_revision = 0,
    |request| request.max_mod_revision = 0,
    |request| request.min_create_revision = 0,
    |request| request.max_create_revision = 0,
];

const PUT: [Change<pb::PutRequest>; 7] = [
    |request| *request = pb::PutRequest { key: SIMPLE_KEY, ..Default::default() },
    |request| request.key = SIMPLE_KEY,
    |request| request.value = Bytes::new(),
    |request| request.lease = 0,
    |request| request.prev_kv = false,
    |request| request.ignore_value = false,
    |request| request.ignore_lease = false,
];

const DELETE: [Change<pb::DeleteRangeRequest>; 3] = [
    |request| request.key = SIMPLE_KEY,
    |request| request.range_end = Bytes::new(),
    |request| request.prev_kv = false,
];

const GRANT: [Change<pb::LeaseGrantRequest>; 1] = [|request| request.ttl = 60];

const WATCH: [Change<pb::WatchCreateRequest>; 8] = [
    |request| request.key = SIMPLE_KEY,
    |request| request.range_end = Bytes::new(),
    |request| request.start_revision = 0,
    |request| request.progress_notify = false,
    |request| request.filters.clear(),
    |request| request.prev_kv = false,
    |request| request.watch_id = 0,
    |request| request.fragment = false,
];

/// A request after each change that changes it.
fn changed<T: Clone + PartialEq>(request: &T, changes: &[Change<T>]) -> impl Iterator<Item = T> {
    changes.iter().filter_map(|change| {
        let mut changed = request.clone();
        change(&mut changed);
        (changed != *request).then_some(changed)
    })
}

/// A list without each of its elements.
fn shorter<T: Clone>(list: &[T]) -> impl Iterator<Item = Vec<T>> {
    (0..list.len()).map(|at| {
        let mut shorter = list.to_vec();
        shorter.remove(at);
        shorter
    })
}

/// What a transaction would do, alone.
fn parts(request: &pb::TxnRequest) -> impl Iterator<Item = Action> {
    let operations = request.success.iter().chain(&request.failure);
    operations.filter_map(|operation| match operation.request.clone()? {
        Request::RequestRange(request) => Some(Action::Range(request)),
        Request::RequestPut(request) => Some(Action::Put(request)),
        Request::RequestDeleteRange(request) => Some(Action::Delete(request)),
        Request::RequestTxn(request) => Some(Action::Txn(request)),
    })
}

fn txns(request: &pb::TxnRequest) -> Vec<pb::TxnRequest> {
    let mut simpler = Vec::new();
    simpler.extend(shorter(&request.compare).map(|compare| pb::TxnRequest { compare, ..request.clone() }));
    for success in lists(&request.success) {
        simpler.push(pb::TxnRequest { success, ..request.clone() });
    }
    for failure in lists(&request.failure) {
        simpler.push(pb::TxnRequest { failure, ..request.clone() });
    }
    for (at, compare) in request.compare.iter().enumerate() {
        for simple in changed(compare, &COMPARE) {
            let mut request = request.clone();
            request.compare[at] = simple;
            simpler.push(request);
        }
    }
    simpler
}

const COMPARE: [Change<pb::Compare>; 2] =
    [|compare| compare.key = SIMPLE_KEY, |compare| compare.range_end = Bytes::new()];

/// A list of operations without one, or with a simpler one.
fn lists(list: &[pb::RequestOp]) -> Vec<Vec<pb::RequestOp>> {
    let mut simpler: Vec<_> = shorter(list).collect();
    for (at, operation) in list.iter().enumerate() {
        for simple in operations(operation) {
            let mut list = list.to_vec();
            list[at] = pb::RequestOp { request: Some(simple) };
            simpler.push(list);
        }
    }
    simpler
}

fn operations(operation: &pb::RequestOp) -> Vec<Request> {
    match &operation.request {
        Some(Request::RequestRange(request)) => changed(request, &RANGE).map(Request::RequestRange).collect(),
        Some(Request::RequestPut(request)) => changed(request, &PUT).map(Request::RequestPut).collect(),
        Some(Request::RequestDeleteRange(request)) => {
            changed(request, &DELETE).map(Request::RequestDeleteRange).collect()
        }
        Some(Request::RequestTxn(request)) => {
            let inner = request.success.iter().chain(&request.failure);
            let inner = inner.filter_map(|operation| operation.request.clone());
            inner.chain(txns(request).into_iter().map(Request::RequestTxn)).collect()
        }
        None => Vec::new(),
    }
}
