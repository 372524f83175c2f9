//! Answers that are sent in pieces are those that small ones are.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::kv_client::KvClient;
use ruvector_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_api::etcdserverpb::response_op::Response;
use ruvector_api::mvccpb;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::{TestServer, bytes, refused};

const KEYS: usize = 3_000;

/// Keys with values of all sizes, some large, some with a lease; what they are read back as, one by one.
async fn filled() -> (TestServer, Vec<mvccpb::KeyValue>) {
    let server = TestServer::start().await;
    let lease = pb::LeaseGrantRequest { ttl: 1_000, id: 77 };
    server.lease().lease_grant(lease).await.unwrap();
    let mut kv = client(&server);
    for begin in (0..KEYS).step_by(100) {
        let puts = (begin..begin + 100).map(|number| {
            let size = if number % 500 == 0 { 100_000 } else { number % 130 };
            let put = pb::PutRequest {
                key: bytes(&format!("k{number:05}")),
                value: vec![number as u8; size].into(),
                lease: if number % 7 == 0 { 77 } else { 0 },
                ..Default::default()
            };
            pb::RequestOp { request: Some(Request::RequestPut(put)) }
        });
        kv.txn(pb::TxnRequest { success: puts.collect(), ..Default::default() }).await.unwrap();
    }
    let mut all = Vec::new();
    for begin in (0..KEYS).step_by(50) {
        let request = pb::RangeRequest { limit: 50, ..range(&format!("k{begin:05}"), "l") };
        all.extend(kv.range(request).await.unwrap().into_inner().kvs);
    }
    assert_eq!(all.len(), KEYS);
    (server, all)
}

fn client(server: &TestServer) -> KvClient<Channel> {
    server.kv().max_decoding_message_size(64 << 20)
}

fn range(key: &str, range_end: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), range_end: bytes(range_end), ..Default::default() }
}

fn read(request: pb::RangeRequest) -> pb::RequestOp {
    pb::RequestOp { request: Some(Request::RequestRange(request)) }
}

#[tokio::test]
async fn ranges_with_every_option() {
    let (server, all) = filled().await;
    let mut kv = client(&server);
    let count = KEYS as i64;
    let mut ask = async |request: pb::RangeRequest| {
        let response = kv.range(request).await.unwrap().into_inner();
        assert_eq!(response.header.unwrap().revision, all.last().unwrap().mod_revision);
        (response.kvs, response.more, response.count)
    };
    let whole = range("k", "l");
    assert!(ask(whole.clone()).await == (all.clone(), false, count));
    let from = pb::RangeRequest { range_end: vec![0].into(), ..whole.clone() };
    assert!(ask(from).await == (all.clone(), false, count));
    for limit in [2_500, count - 1, count, count + 1] {
        let limited = pb::RangeRequest { limit, ..whole.clone() };
        let kvs = all.iter().take(limit as usize).cloned().collect();
        assert!(ask(limited).await == (kvs, limit < count, count), "limit {limit}");
    }
    let keys_only = pb::RangeRequest { keys_only: true, ..whole.clone() };
    let without = |kv: &mvccpb::KeyValue| mvccpb::KeyValue { value: Default::default(), ..kv.clone() };
    assert!(ask(keys_only).await == (all.iter().map(without).collect(), false, count));
    let bound = all[1_000].mod_revision;
    let filtered = pb::RangeRequest { min_mod_revision: bound, limit: 1_500, ..whole.clone() };
    let kvs: Vec<_> = all.iter().filter(|kv| kv.mod_revision >= bound).cloned().collect();
    assert!(ask(filtered).await == (kvs[..1_500].to_vec(), true, count));
    let descending = pb::RangeRequest {
        sort_order: SortOrder::Descend.into(),
        sort_target: SortTarget::Key.into(),
        ..whole.clone()
    };
    assert!(ask(descending).await == (all.iter().rev().cloned().collect(), false, count));
    assert!(ask(range("k00500", "")).await == (vec![all[500].clone()], false, 1));
    let counted = pb::RangeRequest { count_only: true, ..whole };
    assert!(ask(counted).await == (vec![], false, count));
}

#[tokio::test]
async fn an_old_revision_is_read_as_it_was() {
    let (server, all) = filled().await;
    let then = all.last().unwrap().mod_revision;
    let mut kv = client(&server);
    kv.delete_range(pb::DeleteRangeRequest { key: bytes("k0"), range_end: bytes("k00600"), prev_kv: false })
        .await
        .unwrap();
    server.put("k01000", "later").await;
    let old = pb::RangeRequest { revision: then, ..range("k", "l") };
    assert!(kv.range(old.clone()).await.unwrap().into_inner().kvs == all);
    server.compact(then + 2).await;
    refused(kv.range(old).await, Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
}

#[tokio::test]
async fn transactions_and_deletions() {
    let (server, all) = filled().await;
    let mut kv = client(&server);
    let put =
        pb::PutRequest { key: bytes("k00500"), value: bytes("new"), prev_kv: true, ..Default::default() };
    let put = pb::RequestOp { request: Some(Request::RequestPut(put)) };
    let inner = pb::TxnRequest { success: vec![read(range("k00500", "k00502"))], ..Default::default() };
    let inner = pb::RequestOp { request: Some(Request::RequestTxn(inner)) };
    let delete = pb::DeleteRangeRequest { key: bytes("k02"), range_end: bytes("l"), prev_kv: true };
    let delete = pb::RequestOp { request: Some(Request::RequestDeleteRange(delete)) };
    let success = vec![read(range("k", "l")), put, inner, delete];
    let txn = kv.txn(pb::TxnRequest { success, ..Default::default() }).await.unwrap().into_inner();
    assert!(txn.succeeded);
    let revision = txn.header.unwrap().revision;
    let mut responses = txn.responses.into_iter().map(|response| response.response.unwrap());
    let Some(Response::ResponseRange(first)) = responses.next() else { panic!("no range") };
    assert!(first.kvs == all && first.header.unwrap().revision == revision - 1);
    let Some(Response::ResponsePut(put)) = responses.next() else { panic!("no put") };
    assert!(put.prev_kv.unwrap() == all[500]);
    let Some(Response::ResponseTxn(inner)) = responses.next() else { panic!("no transaction") };
    let Some(Response::ResponseRange(range)) = &inner.responses[0].response else { panic!("no range") };
    assert_eq!(range.kvs[0].value, bytes("new"));
    let Some(Response::ResponseDeleteRange(delete)) = responses.next() else { panic!("no deletion") };
    assert!(delete.deleted == 1_000 && delete.prev_kvs == all[2_000..]);
    let rest = pb::DeleteRangeRequest { key: bytes("k00"), range_end: bytes("k005"), prev_kv: true };
    let deleted = kv.delete_range(rest).await.unwrap().into_inner();
    assert!(deleted.prev_kvs == all[..500]);
}
