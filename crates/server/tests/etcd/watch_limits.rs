//! Watches under pressure: slow clients, large revisions, many watches, no leader.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_api::etcdserverpb::watch_client::WatchClient;
use ruvector_server::Limits;
use tonic::Code;

use crate::harness::{TestServer, Watch, on_key, on_range, put_request, refused};

#[tokio::test]
async fn a_client_that_reads_slowly_gets_everything() {
    let server = TestServer::start().await;
    let mut slow = server.watch().await;
    slow.create(on_key("a")).await;
    let value = "v".repeat(100_000);
    let count = 100;
    for _ in 0..count {
        server.put("a", &value).await;
    }
    let expected: Vec<_> = (0..count).map(|i| format!("a@{}", i + 2)).collect();
    assert_eq!(slow.events(count).await, expected);
}

#[tokio::test]
async fn a_client_that_history_outruns_is_told_so() {
    let server = TestServer::start().await;
    let mut slow = server.watch().await;
    slow.create(on_key("a")).await;
    let value = "v".repeat(100_000);
    let mut last = 0;
    for _ in 0..100 {
        last = server.put("a", &value).await;
    }
    server.compact(last).await;
    // With each of these, two changes that were compacted are really taken out.
    for _ in 0..100 {
        server.put("b", "").await;
    }
    let mut next = 2;
    let cancelled = loop {
        let response = slow.next().await;
        if response.canceled {
            break response;
        }
        for event in &response.events {
            assert_eq!(event.kv.as_ref().unwrap().mod_revision, next);
            next += 1;
        }
    };
    assert!(next <= last, "the client was to be too slow for all of it");
    assert_eq!(cancelled.compact_revision, last, "{cancelled:?}");
}

#[tokio::test]
async fn a_watch_of_the_future_outlives_a_compaction_of_what_it_does_not_want() {
    let server = TestServer::start().await;
    let mut slow = server.watch().await;
    let value = "v".repeat(100_000);
    let (count, future) = (100, 150);
    slow.create(pb::WatchCreateRequest { start_revision: future, watch_id: 7, ..on_range("a", "c") }).await;
    slow.create(pb::WatchCreateRequest { watch_id: 8, ..on_key("a") }).await;
    let mut last = 0;
    for _ in 0..count {
        last = server.put("a", &value).await;
    }
    server.compact(last).await;
    let mut expected = Vec::new();
    for _ in 0..100 {
        let revision = server.put("b", "").await;
        expected.extend((revision >= future).then(|| format!("b@{revision}")));
    }
    // The other one is ended, since history outran it.
    let ended = loop {
        let response = slow.next().await;
        if response.canceled {
            break response;
        }
    };
    assert_eq!(ended.watch_id, 8, "{ended:?}");
    assert_eq!(slow.events(expected.len()).await, expected);
}

#[tokio::test]
async fn a_transaction_larger_than_a_batch_comes_whole() {
    let server = TestServer::start().await;
    let mut watch = server.watch().await;
    watch.create(on_range("k", "l")).await;
    // Two batches' worth of changes, first as they happen and then from history.
    let value = "v".repeat(100_000);
    let put = |i: usize| pb::RequestOp {
        request: Some(Request::RequestPut(put_request(&format!("k{i}"), &value))),
    };
    for _ in 0..3 {
        let success = (0..14).map(put).collect();
        server.kv().txn(pb::TxnRequest { success, ..Default::default() }).await.unwrap();
    }
    let mut past = server.watch().await;
    past.create(pb::WatchCreateRequest { start_revision: 2, ..on_range("k", "l") }).await;
    for stream in [&mut watch, &mut past] {
        let mut told = 0;
        while told < 3 {
            let response = stream.next().await;
            let revisions: Vec<_> =
                response.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision).collect();
            assert_eq!(revisions.len() % 14, 0, "a revision was cut: {revisions:?}");
            told += revisions.len() / 14;
        }
    }
}

#[tokio::test]
async fn large_revisions_are_fragmented_only_if_the_client_asked() {
    let limit = 300_000;
    let server = TestServer::start_with(|options| {
        options.limits = Some(Limits { request_bytes: limit, ..Limits::default() });
    })
    .await;
    let mut whole = server.watch().await;
    whole.create(pb::WatchCreateRequest { prev_kv: true, ..on_range("k", "l") }).await;
    let mut parts = server.watch().await;
    parts.create(pb::WatchCreateRequest { prev_kv: true, fragment: true, ..on_range("k", "l") }).await;
    let put = |i: usize| {
        let put = put_request(&format!("k{i}"), &"v".repeat(20_000));
        pb::RequestOp { request: Some(Request::RequestPut(put)) }
    };
    for _ in 0..2 {
        let txn = pb::TxnRequest { success: (0..10).map(put).collect(), ..Default::default() };
        server.kv().txn(txn).await.unwrap();
    }
    for _ in 0..2 {
        let response = whole.next().await;
        assert_eq!((response.events.len(), response.fragment), (10, false));
    }
    let first = parts.next().await;
    assert_eq!((first.events.len(), first.fragment), (10, false), "small enough");
    let mut keys = Vec::new();
    loop {
        let part = parts.next().await;
        assert_eq!(part.header.unwrap().revision, 3);
        keys.extend(part.events.iter().map(|event| event.kv.as_ref().unwrap().key.clone()));
        let before = part.events.iter().map(|event| event.prev_kv.as_ref().map_or(0, |kv| kv.value.len()));
        assert!(before.clone().all(|length| length == 20_000), "{:?}", before.collect::<Vec<_>>());
        if !part.fragment {
            break;
        }
    }
    let expected: Vec<_> = (0..10).map(|i| format!("k{i}")).collect();
    assert_eq!(keys, expected);
}

#[tokio::test]
async fn watches_beyond_the_limits_are_refused_and_ended_ones_give_way() {
    let server = TestServer::start_with(|options| {
        options.limits = Some(Limits { watches_per_stream: 2, watches: 3, ..Limits::default() });
    })
    .await;
    let mut first = server.watch().await;
    assert!(!first.create(on_key("a")).await.canceled);
    assert!(!first.create(on_key("a")).await.canceled);
    let refusal = first.create(on_key("a")).await;
    assert_eq!((refusal.watch_id, refusal.canceled), (-1, true));
    assert_eq!(refusal.cancel_reason, "etcdserver: too many requests");
    let mut second = server.watch().await;
    assert!(!second.create(on_key("a")).await.canceled);
    assert!(second.create(on_key("a")).await.canceled, "three in all");
    first.cancel(0).await;
    assert!(first.next().await.canceled);
    assert!(!second.create(on_key("a")).await.canceled);
    drop(first);
    let put = server.put("a", "1").await;
    assert_eq!(second.events(2).await, [format!("a@{put}"), format!("a@{put}")]);
}

#[tokio::test]
async fn a_stream_that_wants_a_leader_is_refused_without_one() {
    let server = TestServer::start_leaderless(|options| {
        let nodes = options.initial_nodes.as_mut().unwrap();
        nodes.insert("node-2".to_owned(), "127.0.0.1:2".to_owned());
    })
    .await;
    let mut request = tonic::Request::new(tokio_stream::pending());
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let opened = WatchClient::new(server.channel()).watch(request).await;
    refused(opened, Code::Unavailable, "etcdserver: no leader");
    let mut patient = Watch::open(server.channel()).await;
    assert!(!patient.create(on_key("a")).await.canceled, "others may wait");
}
