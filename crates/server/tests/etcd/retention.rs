//! How long history is kept.

use ruvector_api::etcdserverpb as pb;
use ruvector_server::RetentionOptions;
use tonic::Code;

use crate::harness::{TestServer, eventually, on_key, refused};

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

#[tokio::test]
async fn what_is_beyond_the_bytes_to_be_kept_is_compacted_and_who_keeps_up_misses_nothing() {
    let server = TestServer::start_with(|options| {
        options.retention = RetentionOptions { age_seconds: None, bytes: Some(1 << 20) };
    })
    .await;
    let mut following = server.watch().await;
    following.create(on_key("a")).await;
    let handle = server.server.handle();
    eventually(async || handle.published().await.unwrap().view.retention().bytes == Some(1 << 20)).await;
    let value = "v".repeat(100_000);
    for revision in 2..42 {
        assert_eq!(server.put("a", &value).await, revision);
        assert_eq!(following.events(1).await, [format!("a@{revision}")]);
    }
    let at = |revision| pb::RangeRequest { key: "a".into(), revision, ..Default::default() };
    refused(server.kv().range(at(10)).await, Code::OutOfRange, COMPACTED);
    assert!(server.kv().range(at(40)).await.is_ok());
    let mut late = server.watch().await;
    late.create(pb::WatchCreateRequest { start_revision: 2, ..on_key("a") }).await;
    let cancelled = late.next().await;
    assert_eq!((cancelled.canceled, &cancelled.cancel_reason[..]), (true, ""), "as etcd has it");
    assert!((30..40).contains(&cancelled.compact_revision), "{cancelled:?}");
}

#[tokio::test]
async fn an_hour_of_history_is_kept_unless_told() {
    let server = TestServer::start().await;
    let handle = server.server.handle();
    let kept = async || handle.published().await.unwrap().view.retention();
    eventually(async || kept().await.age_ms == Some(3_600_000)).await;
    assert_eq!(kept().await.bytes, Some(512 << 20));
}

#[tokio::test]
async fn nothing_is_set_where_everything_is_to_be_kept() {
    let server = TestServer::start_with(|options| {
        options.retention = RetentionOptions { age_seconds: Some(0), bytes: Some(0) };
    })
    .await;
    let value = "v".repeat(1_000);
    for _ in 0..2_000 {
        server.put("a", &value).await;
    }
    let view = server.server.handle().published().await.unwrap();
    assert_eq!((view.view.compacted().0, view.view.history_count()), (0, 2_000));
}
