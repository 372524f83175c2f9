#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn zeros_of_the_wire_mean_nothing_given() {
    let range = range_request(pb::RangeRequest { limit: -3, revision: -1, ..Default::default() }).unwrap();
    assert_eq!((range.limit, range.revision, range.sort), (0, Some(Revision(-1)), None));
    assert_eq!(range_request(pb::RangeRequest::default()).unwrap().revision, None);
    assert_eq!(put_request(pb::PutRequest::default()).lease, None);
    assert_eq!(put_request(pb::PutRequest { lease: -7, ..Default::default() }).lease, Some(LeaseId(-7)));
}

#[test]
fn sorting_by_ascending_key_is_no_sorting() {
    let key = WireSortTarget::Key as i32;
    let value = WireSortTarget::Value as i32;
    let [none, ascend, descend] =
        [WireOrder::None as i32, WireOrder::Ascend as i32, WireOrder::Descend as i32];
    assert_eq!(sort(none, key).unwrap(), None);
    assert_eq!(sort(ascend, key).unwrap(), None);
    assert_eq!(sort(descend, key).unwrap(), Some((SortTarget::Key, SortOrder::Descend)));
    assert_eq!(sort(none, value).unwrap(), Some((SortTarget::Value, SortOrder::Ascend)));
    for (order, target) in [(3, key), (none, 5), (-1, key)] {
        assert_eq!(sort(order, target), Err(InvalidRequest::SortOption));
    }
}

#[test]
fn a_comparison_with_a_value_of_another_kind_compares_with_zero() {
    let wire = |target: WireTarget, given| {
        let request = pb::Compare { target: target as i32, target_union: Some(given), ..Default::default() };
        compare(request).target
    };
    assert_eq!(wire(WireTarget::Version, TargetUnion::Version(4)), CompareTarget::Version(4));
    assert_eq!(wire(WireTarget::Version, TargetUnion::ModRevision(4)), CompareTarget::Version(0));
    assert_eq!(wire(WireTarget::Mod, TargetUnion::Value("x".into())), CompareTarget::Mod(Revision(0)));
    assert_eq!(wire(WireTarget::Value, TargetUnion::Lease(1)), CompareTarget::Value(Bytes::new()));
    assert_eq!(compare(pb::Compare { result: 9, ..Default::default() }).operator, CompareOperator::Unknown);
    assert_eq!(compare(pb::Compare { target: 9, ..Default::default() }).target, CompareTarget::Unknown);
}

#[test]
fn an_operation_without_a_request_is_refused() {
    let request = pb::TxnRequest { success: vec![pb::RequestOp { request: None }], ..Default::default() };
    assert_eq!(txn_request(request), Err(InvalidRequest::EmptyOperation));
}

#[test]
fn headers_inside_a_transaction_tell_the_revision_seen() {
    let range = || TxnOpResponse::Range(RangeResponse { kvs: Vec::new(), more: false, count: 0 });
    let inner = TxnResponse { succeeded: false, responses: vec![TxnOpResponse::Put(PutResponse::default())] };
    let responses =
        vec![range(), TxnOpResponse::Delete(DeleteResponse::default()), TxnOpResponse::Txn(inner), range()];
    let header = pb::ResponseHeader { revision: 9, raft_term: 2, ..Default::default() };
    let response = txn_response(&TxnResponse { succeeded: true, responses }, header);
    let seen: Vec<_> = response
        .responses
        .iter()
        .map(|inner| match inner.response.as_ref().unwrap() {
            Response::ResponseRange(inner) => inner.header.unwrap().revision,
            Response::ResponsePut(inner) => inner.header.unwrap().revision,
            Response::ResponseDeleteRange(inner) => inner.header.unwrap().revision,
            Response::ResponseTxn(inner) => inner.header.unwrap().revision,
        })
        .collect();
    assert_eq!(seen, [8, 8, 0, 9]);
    assert_eq!(response.header.unwrap(), header);

    let response = txn_response(&TxnResponse { succeeded: true, responses: vec![range()] }, header);
    let Some(Response::ResponseRange(inner)) = &response.responses[0].response else { panic!("a range") };
    assert_eq!(inner.header.unwrap().revision, 9);
}
