//! What is asked, checked and in the service's types.

use ruvector_api::etcdserverpb as pb;
use ruvector_node::state_machine::kv::{DeleteRequest, PutRequest, RangeRequest, Revision, TxnRequest};

use super::{convert, validate};
use crate::service::error::InvalidRequest;
use crate::service::read::TxnFreshness;

pub(crate) fn range(request: pb::RangeRequest) -> Result<RangeRequest, InvalidRequest> {
    validate::range(&request)?;
    convert::range_request(request)
}

pub(crate) fn put(request: pb::PutRequest) -> Result<PutRequest, InvalidRequest> {
    validate::put(&request)?;
    Ok(convert::put_request(request))
}

pub(crate) fn delete(request: pb::DeleteRangeRequest) -> Result<DeleteRequest, InvalidRequest> {
    validate::delete(&request)?;
    Ok(convert::delete_request(request))
}

/// A transaction, and what it needs.
pub(crate) fn txn(
    request: pb::TxnRequest,
    operations_max: usize,
) -> Result<(TxnFreshness, TxnRequest), InvalidRequest> {
    validate::txn(&request, operations_max)?;
    Ok((freshness(&request), convert::txn_request(request)?))
}

/// `physical` asks to wait for the space to be given up, which is part of applying here.
pub(crate) fn compaction(request: pb::CompactionRequest) -> Revision {
    Revision(request.revision)
}

/// As in etcd, a transaction that holds another is no serializable one.
fn freshness(request: &pb::TxnRequest) -> TxnFreshness {
    use pb::request_op::Request;
    let mut reads = 0_usize;
    let mut serializable = 0_usize;
    for operation in request.success.iter().chain(&request.failure) {
        let of_operation = match &operation.request {
            Some(Request::RequestRange(range)) if range.serializable => TxnFreshness::Serializable,
            Some(Request::RequestRange(_)) => TxnFreshness::Linearizable,
            Some(Request::RequestTxn(inner)) => match freshness(inner) {
                TxnFreshness::Write => TxnFreshness::Write,
                TxnFreshness::Linearizable | TxnFreshness::Serializable | TxnFreshness::Comparisons => {
                    TxnFreshness::Linearizable
                }
            },
            Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) | None => TxnFreshness::Write,
        };
        reads += 1;
        match of_operation {
            TxnFreshness::Write => return TxnFreshness::Write,
            TxnFreshness::Linearizable | TxnFreshness::Comparisons => {}
            TxnFreshness::Serializable => serializable += 1,
        }
    }
    match reads {
        0 => TxnFreshness::Comparisons,
        _ if reads == serializable => TxnFreshness::Serializable,
        _ => TxnFreshness::Linearizable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(serializable: bool) -> pb::RequestOp {
        let range = pb::RangeRequest { serializable, ..Default::default() };
        pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(range)) }
    }

    fn put() -> pb::RequestOp {
        pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(pb::PutRequest::default())) }
    }

    fn txn(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::TxnRequest {
        pb::TxnRequest { compare: Vec::new(), success, failure }
    }

    #[test]
    fn a_transaction_is_as_fresh_as_its_freshest_part() {
        let of = |success, failure| freshness(&txn(success, failure));
        assert!(matches!(of(vec![], vec![]), TxnFreshness::Comparisons));
        assert!(matches!(of(vec![range(true)], vec![range(true)]), TxnFreshness::Serializable));
        assert!(matches!(of(vec![range(true)], vec![range(false)]), TxnFreshness::Linearizable));
        assert!(matches!(of(vec![range(true)], vec![put()]), TxnFreshness::Write));
        let inner = |operation| {
            let request = pb::request_op::Request::RequestTxn(txn(vec![operation], vec![]));
            pb::RequestOp { request: Some(request) }
        };
        assert!(matches!(of(vec![inner(range(true))], vec![]), TxnFreshness::Linearizable));
        assert!(matches!(of(vec![inner(put())], vec![]), TxnFreshness::Write));
    }
}
