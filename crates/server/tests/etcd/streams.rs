//! What becomes of a stream whose client has said all it had to say, or says what can't be understood.

use bytes::Bytes;
use prost::Message;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::watch_request::RequestUnion;
use ruvector_api::ruvector::v1 as native;
use ruvector_api::ruvector::v1::native_request::Request;
use tonic::{Code, Streaming};

use crate::harness::{PATIENCE, TestServer, bytes, eventually, on_key, short};
use crate::port;
use crate::raw::{GARBAGE, encoded, stream};

const WATCH: &str = "/etcdserverpb.Watch/Watch";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const EXCHANGE: &str = "/ruvector.v1.Native/Exchange";

/// The next answer; `None` if the stream ends, by whatever status.
async fn next<M: Message + Default>(answers: &mut Streaming<Bytes>) -> Result<Option<M>, Code> {
    let next = tokio::time::timeout(PATIENCE, answers.message()).await.expect("an answer in time");
    let answer = next.map_err(|status| status.code())?;
    Ok(answer.map(|bytes| M::decode(bytes).unwrap()))
}

fn watch_on(key: &str) -> Bytes {
    encoded(&pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(on_key(key))) })
}

fn renewal_of(id: i64) -> Bytes {
    encoded(&pb::LeaseKeepAliveRequest { id })
}

/// Frames with one request each.
fn frame(number: u64) -> Bytes {
    let range = Request::Range(pb::RangeRequest { key: bytes("a"), ..Default::default() });
    let requests = vec![native::NativeRequest { number, request: Some(range) }];
    encoded(&native::ClientFrame { requests, session: 0, settled_below: 0 })
}

#[tokio::test]
async fn a_watch_goes_on_when_its_client_has_nothing_more_to_ask() {
    let server = TestServer::start().await;
    let mut answers = stream(&server, WATCH, vec![watch_on("a"), watch_on("b")]).await;
    for _ in 0..2 {
        assert!(next::<pb::WatchResponse>(&mut answers).await.unwrap().unwrap().created);
    }
    // Again and again, so that the end of the client's side has come in between.
    for key in ["a", "b", "a"] {
        let revision = server.put(key, "v").await;
        let told = next::<pb::WatchResponse>(&mut answers).await.unwrap().unwrap();
        assert_eq!(told.events.iter().map(short).collect::<Vec<_>>(), [format!("{key}@{revision}")]);
    }
    let watches =
        async || port::get(&server, "/metrics").await.1.contains("etcd_debugging_mvcc_watcher_total 0");
    assert!(!watches().await);
    drop(answers);
    eventually(watches).await;
}

#[tokio::test]
async fn renewals_are_all_answered_before_their_stream_ends() {
    let server = TestServer::start().await;
    server.lease().lease_grant(pb::LeaseGrantRequest { id: 7, ttl: 60 }).await.unwrap();
    let revision = server.put("a", "1").await;
    let ids: Vec<i64> = (0..100).map(|number| if number % 3 == 0 { 7 } else { number }).collect();
    let mut answers = stream(&server, KEEP_ALIVE, ids.iter().map(|id| renewal_of(*id)).collect()).await;
    for id in ids {
        let renewed = next::<pb::LeaseKeepAliveResponse>(&mut answers).await.unwrap().unwrap();
        assert_eq!((renewed.id, renewed.ttl), (id, if id == 7 { 60 } else { 0 }));
        assert_eq!(renewed.header.unwrap().revision, revision);
    }
    assert_eq!(next::<pb::LeaseKeepAliveResponse>(&mut answers).await, Ok(None));
}

#[tokio::test]
async fn what_can_t_be_understood_ends_a_stream_with_an_error_when_all_before_is_answered() {
    let server = TestServer::start().await;
    let garbage = Bytes::from_static(GARBAGE);

    let mut watch = stream(&server, WATCH, vec![watch_on("a"), garbage.clone()]).await;
    assert!(next::<pb::WatchResponse>(&mut watch).await.unwrap().unwrap().created);
    assert_eq!(next::<pb::WatchResponse>(&mut watch).await, Err(Code::Internal));

    let mut renewals = stream(&server, KEEP_ALIVE, vec![renewal_of(7), garbage.clone()]).await;
    assert_eq!(next::<pb::LeaseKeepAliveResponse>(&mut renewals).await.unwrap().unwrap().id, 7);
    assert_eq!(next::<pb::LeaseKeepAliveResponse>(&mut renewals).await, Err(Code::Internal));

    let mut native = stream(&server, EXCHANGE, vec![frame(1), garbage]).await;
    let mut answered = 0;
    let ended = loop {
        match next::<native::ServerFrame>(&mut native).await {
            Ok(Some(frame)) => answered += frame.responses.len(),
            ended => break ended,
        }
    };
    assert_eq!((answered, ended), (1, Err(Code::Internal)));
}

#[tokio::test]
async fn what_is_too_large_ends_a_stream_with_the_code_that_etcd_s_clients_know() {
    let server = TestServer::start_with(|options| {
        options.limits = Some(ruvector_server::Limits { request_bytes: 1_000, ..Default::default() });
    })
    .await;
    let large = Bytes::from(vec![0; 4 << 20]);
    let mut watch = stream(&server, WATCH, vec![large.clone()]).await;
    assert_eq!(next::<pb::WatchResponse>(&mut watch).await, Err(Code::ResourceExhausted));
    let mut renewals = stream(&server, KEEP_ALIVE, vec![large]).await;
    assert_eq!(next::<pb::LeaseKeepAliveResponse>(&mut renewals).await, Err(Code::ResourceExhausted));
}
