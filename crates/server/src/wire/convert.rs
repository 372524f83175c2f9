//! From messages of keys and values to the store's requests and back.

use std::sync::Arc;

use bytes::Bytes;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::compare::{CompareResult, CompareTarget as WireTarget, TargetUnion};
use ruvector_api::etcdserverpb::range_request::{SortOrder as WireOrder, SortTarget as WireSortTarget};
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_api::etcdserverpb::response_op::Response;
use ruvector_api::mvccpb;
use ruvector_node::state_machine::kv::{
    Compare, CompareOperator, CompareTarget, DeleteRequest, DeleteResponse, KeyRange, KeyValue, LeaseId,
    PutRequest, PutResponse, RangeRequest, RangeResponse, Revision, SortOrder, SortTarget, TxnOp,
    TxnOpResponse, TxnRequest, TxnResponse,
};

use crate::service::error::InvalidRequest;

pub(crate) fn range_request(request: pb::RangeRequest) -> Result<RangeRequest, InvalidRequest> {
    let sort = sort(request.sort_order, request.sort_target)?;
    Ok(RangeRequest {
        range: KeyRange { key: request.key, range_end: request.range_end },
        revision: (request.revision != 0).then_some(Revision(request.revision)),
        limit: request.limit.max(0),
        sort,
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: Revision(request.min_mod_revision),
        max_mod_revision: Revision(request.max_mod_revision),
        min_create_revision: Revision(request.min_create_revision),
        max_create_revision: Revision(request.max_create_revision),
    })
}

/// Keys come in ascending order anyway; any other property is sorted ascending unless told otherwise.
fn sort(order: i32, target: i32) -> Result<Option<(SortTarget, SortOrder)>, InvalidRequest> {
    let invalid = |_| InvalidRequest::SortOption;
    let order = WireOrder::try_from(order).map_err(invalid)?;
    let target = match WireSortTarget::try_from(target).map_err(invalid)? {
        WireSortTarget::Key => SortTarget::Key,
        WireSortTarget::Version => SortTarget::Version,
        WireSortTarget::Create => SortTarget::Create,
        WireSortTarget::Mod => SortTarget::Mod,
        WireSortTarget::Value => SortTarget::Value,
    };
    Ok(match order {
        WireOrder::None | WireOrder::Ascend if target == SortTarget::Key => None,
        WireOrder::None | WireOrder::Ascend => Some((target, SortOrder::Ascend)),
        WireOrder::Descend => Some((target, SortOrder::Descend)),
    })
}

pub(crate) fn put_request(request: pb::PutRequest) -> PutRequest {
    PutRequest {
        key: request.key,
        value: request.value,
        lease: (request.lease != 0).then_some(LeaseId(request.lease)),
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

pub(crate) fn delete_request(request: pb::DeleteRangeRequest) -> DeleteRequest {
    DeleteRequest {
        range: KeyRange { key: request.key, range_end: request.range_end },
        prev_kv: request.prev_kv,
    }
}

pub(crate) fn txn_request(request: pb::TxnRequest) -> Result<TxnRequest, InvalidRequest> {
    Ok(TxnRequest {
        compare: request.compare.into_iter().map(compare).collect(),
        success: request.success.into_iter().map(operation).collect::<Result<_, _>>()?,
        failure: request.failure.into_iter().map(operation).collect::<Result<_, _>>()?,
    })
}

fn operation(operation: pb::RequestOp) -> Result<TxnOp, InvalidRequest> {
    Ok(match operation.request {
        Some(Request::RequestRange(request)) => TxnOp::Range(range_request(request)?),
        Some(Request::RequestPut(request)) => TxnOp::Put(put_request(request)),
        Some(Request::RequestDeleteRange(request)) => TxnOp::Delete(delete_request(request)),
        Some(Request::RequestTxn(request)) => TxnOp::Txn(txn_request(request)?),
        None => return Err(InvalidRequest::EmptyOperation),
    })
}

/// The given value counts only if it is of the kind that the target names; otherwise it is zero, as in etcd.
fn compare(compare: pb::Compare) -> Compare {
    let operator = match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => CompareOperator::Equal,
        Ok(CompareResult::Greater) => CompareOperator::Greater,
        Ok(CompareResult::Less) => CompareOperator::Less,
        Ok(CompareResult::NotEqual) => CompareOperator::NotEqual,
        Err(_) => CompareOperator::Unknown,
    };
    let given = compare.target_union;
    let target = match WireTarget::try_from(compare.target) {
        Ok(WireTarget::Version) => CompareTarget::Version(number(given, WireTarget::Version)),
        Ok(WireTarget::Create) => CompareTarget::Create(Revision(number(given, WireTarget::Create))),
        Ok(WireTarget::Mod) => CompareTarget::Mod(Revision(number(given, WireTarget::Mod))),
        Ok(WireTarget::Lease) => CompareTarget::Lease(number(given, WireTarget::Lease)),
        Ok(WireTarget::Value) => CompareTarget::Value(match given {
            Some(TargetUnion::Value(value)) => value,
            _ => Bytes::new(),
        }),
        Err(_) => CompareTarget::Unknown,
    };
    Compare { range: KeyRange { key: compare.key, range_end: compare.range_end }, target, operator }
}

fn number(given: Option<TargetUnion>, wanted: WireTarget) -> i64 {
    let (kind, number) = match given {
        Some(TargetUnion::Version(number)) => (WireTarget::Version, number),
        Some(TargetUnion::CreateRevision(number)) => (WireTarget::Create, number),
        Some(TargetUnion::ModRevision(number)) => (WireTarget::Mod, number),
        Some(TargetUnion::Lease(number)) => (WireTarget::Lease, number),
        Some(TargetUnion::Value(_)) | None => return 0,
    };
    if kind == wanted { number } else { 0 }
}

pub(crate) fn key_value(kv: &KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key.clone(),
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value.clone(),
        lease: kv.lease.map_or(0, |lease| lease.0),
    }
}

fn key_values(kvs: &[Arc<KeyValue>]) -> Vec<mvccpb::KeyValue> {
    kvs.iter().map(|kv| key_value(kv)).collect()
}

pub(crate) fn range_response(response: &RangeResponse, header: pb::ResponseHeader) -> pb::RangeResponse {
    pb::RangeResponse {
        header: Some(header),
        kvs: key_values(&response.kvs),
        more: response.more,
        count: response.count,
    }
}

pub(crate) fn put_response(response: &PutResponse, header: pb::ResponseHeader) -> pb::PutResponse {
    pb::PutResponse { header: Some(header), prev_kv: response.prev_kv.as_deref().map(key_value) }
}

pub(crate) fn delete_response(
    response: &DeleteResponse,
    header: pb::ResponseHeader,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse {
        header: Some(header),
        deleted: response.deleted,
        prev_kvs: key_values(&response.prev_kvs),
    }
}

/// The answer to a transaction. As in etcd, the headers inside have nothing but the revision that the
/// operation saw: the one before the transaction until something is changed, then the one after it.
pub(crate) fn txn_response(response: &TxnResponse, header: pb::ResponseHeader) -> pb::TxnResponse {
    let after = header.revision;
    let before = if changes(response) { after - 1 } else { after };
    let mut revision = before;
    txn_body(response, header, &mut revision, after)
}

fn txn_body(
    response: &TxnResponse,
    header: pb::ResponseHeader,
    revision: &mut i64,
    after: i64,
) -> pb::TxnResponse {
    let responses = response.responses.iter().map(|inner| {
        let wire = match inner {
            TxnOpResponse::Range(inner) => {
                Response::ResponseRange(range_response(inner, inner_header(*revision)))
            }
            TxnOpResponse::Put(inner) => {
                *revision = after;
                Response::ResponsePut(put_response(inner, inner_header(after)))
            }
            TxnOpResponse::Delete(inner) => {
                if inner.deleted > 0 {
                    *revision = after;
                }
                Response::ResponseDeleteRange(delete_response(inner, inner_header(*revision)))
            }
            TxnOpResponse::Txn(inner) => {
                Response::ResponseTxn(txn_body(inner, pb::ResponseHeader::default(), revision, after))
            }
        };
        pb::ResponseOp { response: Some(wire) }
    });
    let responses = responses.collect();
    pb::TxnResponse { header: Some(header), succeeded: response.succeeded, responses }
}

fn inner_header(revision: i64) -> pb::ResponseHeader {
    pb::ResponseHeader { revision, ..pb::ResponseHeader::default() }
}

/// Whether the transaction made a revision.
fn changes(response: &TxnResponse) -> bool {
    response.responses.iter().any(|response| match response {
        TxnOpResponse::Range(_) => false,
        TxnOpResponse::Put(_) => true,
        TxnOpResponse::Delete(delete) => delete.deleted > 0,
        TxnOpResponse::Txn(txn) => changes(txn),
    })
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
