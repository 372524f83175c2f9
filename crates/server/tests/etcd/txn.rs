//! Transactions.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_api::etcdserverpb::response_op::Response;
use tonic::Code;

use crate::harness::{TestServer, bytes, put_request, refused};

fn put(key: &str, value: &str) -> pb::RequestOp {
    pb::RequestOp { request: Some(Request::RequestPut(put_request(key, value))) }
}

fn get(key: &str) -> pb::RequestOp {
    let range = pb::RangeRequest { key: bytes(key), ..Default::default() };
    pb::RequestOp { request: Some(Request::RequestRange(range)) }
}

fn value_is(key: &str, value: &str) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Value as i32,
        key: bytes(key),
        target_union: Some(TargetUnion::Value(bytes(value))),
        ..Default::default()
    }
}

fn value_read(response: &pb::ResponseOp) -> bytes::Bytes {
    let Some(Response::ResponseRange(range)) = &response.response else { panic!("no range: {response:?}") };
    range.kvs[0].value.clone()
}

#[tokio::test]
async fn one_branch_is_done_as_one_revision() {
    let server = TestServer::start().await;
    let before = server.put("a", "1").await;
    let txn = pb::TxnRequest {
        compare: vec![value_is("a", "1")],
        success: vec![get("a"), put("a", "2"), put("b", "2"), get("a")],
        failure: vec![put("c", "3")],
    };
    let done = server.kv().txn(txn.clone()).await.unwrap().into_inner();
    assert!(done.succeeded);
    assert_eq!(done.header.unwrap().revision, before + 1);
    assert_eq!(value_read(&done.responses[0]), "1");
    assert_eq!(value_read(&done.responses[3]), "2");
    let done = server.kv().txn(txn).await.unwrap().into_inner();
    assert!(!done.succeeded);
    assert_eq!(server.get("c").await.as_deref(), Some("3"));
}

#[tokio::test]
async fn a_transaction_may_hold_another() {
    let server = TestServer::start().await;
    server.put("a", "1").await;
    let inner = pb::TxnRequest {
        compare: vec![value_is("a", "2")],
        success: vec![put("b", "yes")],
        failure: vec![put("b", "no")],
    };
    let inner = pb::RequestOp { request: Some(Request::RequestTxn(inner)) };
    let outer =
        pb::TxnRequest { compare: vec![value_is("a", "1")], success: vec![inner], failure: Vec::new() };
    let done = server.kv().txn(outer).await.unwrap().into_inner();
    let Some(Response::ResponseTxn(inner)) = &done.responses[0].response else { panic!("a transaction") };
    assert!(done.succeeded && !inner.succeeded);
    assert_eq!(server.get("b").await.as_deref(), Some("no"));
}

#[tokio::test]
async fn what_only_reads_makes_no_revision() {
    let server = TestServer::start().await;
    let current = server.put("a", "1").await;
    let txn =
        pb::TxnRequest { compare: vec![value_is("a", "1")], success: vec![get("a")], failure: Vec::new() };
    let applied = server.server.handle().published().await.expect("it runs").applied;
    let done = server.kv().txn(txn).await.unwrap().into_inner();
    assert!(done.succeeded);
    assert_eq!(done.header.unwrap().revision, current);
    assert_eq!(
        server.server.handle().published().await.expect("it runs").applied,
        applied,
        "nothing went through the log"
    );
}

#[tokio::test]
async fn transactions_without_sense_are_refused_with_etcd_s_texts() {
    let server = TestServer::start().await;
    let of = |success: Vec<pb::RequestOp>| pb::TxnRequest { success, ..Default::default() };
    let mut kv = server.kv();
    let invalid = Code::InvalidArgument;
    let many = (0..129).map(|i| put(&i.to_string(), "v")).collect();
    refused(kv.txn(of(many)).await, invalid, "etcdserver: too many operations in txn request");
    let twice = vec![put("a", "1"), put("a", "2")];
    refused(kv.txn(of(twice)).await, invalid, "etcdserver: duplicate key given in txn request");
    refused(kv.txn(of(vec![put("", "1")])).await, invalid, "etcdserver: key is not provided");
    let empty = vec![pb::RequestOp { request: None }];
    refused(kv.txn(of(empty)).await, invalid, "etcdserver: key not found");
    let mut leased = put_request("a", "1");
    leased.lease = 99;
    let leased = vec![pb::RequestOp { request: Some(Request::RequestPut(leased)) }];
    refused(kv.txn(of(leased)).await, Code::NotFound, "etcdserver: requested lease not found");
    let inner = of((0..100).map(|i| put(&i.to_string(), "v")).collect());
    let inner = pb::RequestOp { request: Some(Request::RequestTxn(inner)) };
    let together = std::iter::once(inner).chain((100..150).map(|i| put(&i.to_string(), "v"))).collect();
    refused(kv.txn(of(together)).await, invalid, "etcdserver: too many operations in txn request");
    let of_nothing = pb::TxnRequest { compare: vec![pb::Compare::default()], ..Default::default() };
    refused(kv.txn(of_nothing).await, invalid, "etcdserver: key is not provided");
    let mut deep = of(vec![put("a", "1")]);
    for _ in 0..40 {
        deep = of(vec![pb::RequestOp { request: Some(Request::RequestTxn(deep)) }]);
    }
    refused(kv.txn(deep).await, invalid, "etcdserver: too many operations in txn request");
    assert_eq!(server.get("a").await, None);
}
