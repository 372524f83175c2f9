//! Single keys and ranges.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use tonic::Code;

use crate::harness::{TestServer, bytes, put_request, refused};

fn range(key: &str, range_end: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), range_end: bytes(range_end), ..Default::default() }
}

async fn keys(server: &TestServer, request: pb::RangeRequest) -> Vec<String> {
    let range = server.kv().range(request).await.unwrap().into_inner();
    range.kvs.into_iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn what_is_put_is_read_with_its_history_counted() {
    let server = TestServer::start().await;
    let first = server.put("a", "1").await;
    let put = server.kv().put(pb::PutRequest { prev_kv: true, ..put_request("a", "2") }).await.unwrap();
    let put = put.into_inner();
    assert_eq!(put.prev_kv.unwrap().value, "1");
    let header = put.header.unwrap();
    let handle = server.server.handle();
    assert_eq!((header.cluster_id, header.member_id), (handle.cluster_id(), handle.node_id().0));
    assert_eq!(header.revision, first + 1);
    assert!(header.raft_term > 0);

    let read = server.kv().range(range("a", "")).await.unwrap().into_inner();
    assert_eq!((read.count, read.more), (1, false));
    let kv = &read.kvs[0];
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (first, first + 1, 2));
    let old = server.kv().range(pb::RangeRequest { revision: first, ..range("a", "") }).await.unwrap();
    assert_eq!(old.into_inner().kvs[0].value, "1");
}

#[tokio::test]
async fn ranges_are_limited_sorted_counted_and_stripped() {
    let server = TestServer::start().await;
    for (key, value) in [("a", "3"), ("b", "2"), ("c", "1"), ("d", "0")] {
        server.put(key, value).await;
    }
    assert_eq!(keys(&server, range("a", "c")).await, ["a", "b"]);
    assert_eq!(keys(&server, range("b", "\0")).await, ["b", "c", "d"]);
    assert_eq!(keys(&server, range("\0", "\0")).await.len(), 4);
    let sorted = pb::RangeRequest {
        sort_order: SortOrder::Descend as i32,
        sort_target: SortTarget::Key as i32,
        limit: 2,
        ..range("a", "\0")
    };
    assert_eq!(keys(&server, sorted.clone()).await, ["d", "c"]);
    let by_value = pb::RangeRequest { sort_order: 0, sort_target: SortTarget::Value as i32, ..sorted };
    assert_eq!(keys(&server, by_value).await, ["d", "c"]);
    let filtered = pb::RangeRequest { min_mod_revision: 3, max_mod_revision: 4, ..range("a", "\0") };
    assert_eq!(keys(&server, filtered).await, ["b", "c"]);

    let limited = pb::RangeRequest { limit: 3, keys_only: true, ..range("a", "\0") };
    let limited = server.kv().range(limited).await.unwrap().into_inner();
    assert_eq!((limited.kvs.len(), limited.more, limited.count), (3, true, 4));
    assert!(limited.kvs.iter().all(|kv| kv.value.is_empty()));
    let counted = pb::RangeRequest { count_only: true, serializable: true, ..range("a", "\0") };
    let counted = server.kv().range(counted).await.unwrap().into_inner();
    assert_eq!((counted.kvs.len(), counted.count), (0, 4));
}

#[tokio::test]
async fn a_range_too_large_for_the_network_thread_is_complete() {
    let server = TestServer::start().await;
    for hundred in 0..25 {
        let put = |i| pb::RequestOp {
            request: Some(pb::request_op::Request::RequestPut(put_request(
                &format!("{hundred:02}{i:02}"),
                "v",
            ))),
        };
        let txn = pb::TxnRequest { success: (0..100).map(put).collect(), ..Default::default() };
        server.kv().txn(txn).await.unwrap();
    }
    let all = keys(&server, range("\0", "\0")).await;
    assert_eq!(all.len(), 2_500);
    assert!(all.is_sorted());
}

#[tokio::test]
async fn deletions_tell_what_was_there() {
    let server = TestServer::start().await;
    server.put("a", "1").await;
    let last = server.put("b", "2").await;
    let request = pb::DeleteRangeRequest { key: bytes("a"), range_end: bytes("c"), prev_kv: true };
    let deleted = server.kv().delete_range(request.clone()).await.unwrap().into_inner();
    assert_eq!(deleted.deleted, 2);
    assert_eq!(deleted.header.unwrap().revision, last + 1);
    let values: Vec<_> = deleted.prev_kvs.iter().map(|kv| kv.value.clone()).collect();
    assert_eq!(values, ["1", "2"]);
    let again = server.kv().delete_range(request).await.unwrap().into_inner();
    assert_eq!((again.deleted, again.header.unwrap().revision), (0, last + 1));
}

#[tokio::test]
async fn compaction_and_its_errors_are_etcd_s() {
    let server = TestServer::start().await;
    server.put("a", "1").await;
    server.put("a", "2").await;
    let current = server.put("a", "3").await;
    server.compact(current - 1).await;
    let compact = |revision| pb::CompactionRequest { revision, physical: true };
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    let future = "etcdserver: mvcc: required revision is a future revision";
    refused(server.kv().compact(compact(current - 1)).await, Code::OutOfRange, compacted);
    refused(server.kv().compact(compact(current + 1)).await, Code::OutOfRange, future);
    let at = |revision| pb::RangeRequest { revision, ..range("a", "") };
    refused(server.kv().range(at(current - 2)).await, Code::OutOfRange, compacted);
    refused(server.kv().range(at(current + 1)).await, Code::OutOfRange, future);
    let kept = server.kv().range(at(current - 1)).await.unwrap().into_inner();
    assert_eq!(kept.kvs[0].value, "2");
}

#[tokio::test]
async fn requests_without_sense_are_refused_with_etcd_s_texts() {
    let server = TestServer::start().await;
    let invalid = Code::InvalidArgument;
    let mut kv = server.kv();
    refused(kv.put(put_request("", "v")).await, invalid, "etcdserver: key is not provided");
    refused(kv.range(range("", "")).await, invalid, "etcdserver: key is not provided");
    let delete = pb::DeleteRangeRequest::default();
    refused(kv.delete_range(delete).await, invalid, "etcdserver: key is not provided");
    let keep_value = pb::PutRequest { ignore_value: true, ..put_request("a", "") };
    refused(kv.put(keep_value.clone()).await, invalid, "etcdserver: key not found");
    let both = pb::PutRequest { value: bytes("v"), ..keep_value };
    refused(kv.put(both).await, invalid, "etcdserver: value is provided");
    let both = pb::PutRequest { ignore_lease: true, lease: 1, ..put_request("a", "v") };
    refused(kv.put(both).await, invalid, "etcdserver: lease is provided");
    let leased = pb::PutRequest { lease: 77, ..put_request("a", "v") };
    refused(kv.put(leased).await, Code::NotFound, "etcdserver: requested lease not found");
    let sorted = pb::RangeRequest { sort_order: 9, ..range("a", "") };
    refused(kv.range(sorted).await, invalid, "etcdserver: invalid sort option");
}

#[tokio::test]
async fn large_requests_are_refused_before_they_are_proposed() {
    let server = TestServer::start().await;
    let most = 1_572_864;
    let fits = put_request("a", &"v".repeat(most - 100));
    server.kv().put(fits).await.unwrap();
    let too_large = put_request("a", &"v".repeat(most));
    refused(server.kv().put(too_large).await, Code::InvalidArgument, "etcdserver: request is too large");
    let huge = put_request("a", &"v".repeat(most + 512 * 1024));
    let status = server.kv().put(huge).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert_eq!(server.get("a").await.unwrap().len(), most - 100);
}

#[tokio::test]
async fn without_a_leader_nothing_is_promised() {
    let server = TestServer::start_leaderless(|options| {
        let nodes = options.initial_nodes.as_mut().unwrap();
        nodes.insert("node-2".to_owned(), "127.0.0.1:2".to_owned());
        options.tuning.as_mut().unwrap().request_timeout_ms = 300;
    })
    .await;
    let status = server.kv().put(put_request("a", "1")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let status = server.kv().range(range("a", "")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
    let local = pb::RangeRequest { serializable: true, ..range("a", "") };
    assert_eq!(server.kv().range(local.clone()).await.unwrap().into_inner().count, 0);
    let mut impatient = tonic::Request::new(local);
    impatient.metadata_mut().insert("hasleader", "true".parse().unwrap());
    refused(server.kv().range(impatient).await, Code::Unavailable, "etcdserver: no leader");
}
