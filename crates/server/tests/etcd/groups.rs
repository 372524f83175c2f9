//! A request's header chooses its group.

use std::collections::BTreeMap;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::kv_client::KvClient;
use ruvector_api::etcdserverpb::lease_client::LeaseClient;
use ruvector_api::etcdserverpb::watch_client::WatchClient;
use ruvector_api::ruvector::v1::StatusRequest;
use ruvector_api::ruvector::v1::admin_client::AdminClient;
use ruvector_node::NodeStatus;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::harness::{TestServer, bytes, eventually, put_request};

async fn server_with_shard() -> TestServer {
    let server = TestServer::start_with(|options| {
        options.groups = Some(BTreeMap::from([("shard-1".to_owned(), Vec::new())]));
    })
    .await;
    eventually(async || put(&server, "shard-1", "first", "1").await.is_ok()).await;
    server
}

type Named = InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>;

fn name_shard(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.metadata_mut().insert("ruvector-group", "shard-1".parse().unwrap());
    Ok(request)
}

fn of_shard(server: &TestServer) -> Named {
    InterceptedService::new(server.channel(), name_shard)
}

fn named<T>(group: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("ruvector-group", group.parse().unwrap());
    request
}

async fn put(server: &TestServer, group: &str, key: &str, value: &str) -> Result<i64, Status> {
    let put = KvClient::new(server.channel()).put(named(group, put_request(key, value))).await?;
    Ok(put.into_inner().header.unwrap().revision)
}

async fn count(server: &TestServer, group: &str, key: &str) -> i64 {
    let range = pb::RangeRequest { key: bytes(key), ..Default::default() };
    let found = KvClient::new(server.channel()).range(named(group, range)).await.unwrap();
    found.into_inner().count
}

#[tokio::test]
async fn each_group_has_keys_and_revisions_of_its_own() {
    let server = server_with_shard().await;
    let before = put(&server, "shard-1", "key", "shard").await.unwrap();
    assert_eq!(
        put(&server, "metadata", "other", "1").await.unwrap(),
        2,
        "the name of the usual group may be given"
    );
    assert_eq!(put(&server, "shard-1", "key", "shard").await.unwrap(), before + 1);
    assert_eq!((count(&server, "shard-1", "key").await, count(&server, "metadata", "key").await), (1, 0));
    assert_eq!(server.get("key").await, None);
}

#[tokio::test]
async fn a_watch_sees_the_changes_of_its_group_only() {
    let server = server_with_shard().await;
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    let create = pb::WatchCreateRequest { key: bytes("key"), ..Default::default() };
    let union = pb::watch_request::RequestUnion::CreateRequest(create);
    requests.send(pb::WatchRequest { request_union: Some(union) }).await.unwrap();
    let mut client = WatchClient::new(of_shard(&server));
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut responses = client.watch(stream).await.unwrap().into_inner();
    assert!(responses.message().await.unwrap().unwrap().created);
    server.put("key", "of metadata").await;
    put(&server, "shard-1", "key", "of shard-1").await.unwrap();
    let told = responses.message().await.unwrap().unwrap();
    let values: Vec<_> = told.events.iter().map(|event| event.kv.clone().unwrap().value).collect();
    assert_eq!(values, ["of shard-1"]);
}

#[tokio::test]
async fn leases_and_administration_are_of_the_group_and_status_lists_all() {
    let server = server_with_shard().await;
    let mut leases = LeaseClient::new(of_shard(&server));
    let granted = leases.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 7 }).await.unwrap().into_inner();
    let request = pb::LeaseTimeToLiveRequest { id: granted.id, keys: false };
    assert!(leases.lease_time_to_live(request).await.unwrap().into_inner().ttl > 0);
    let usual = server.lease().lease_time_to_live(request).await.unwrap().into_inner();
    assert_eq!(usual.ttl, -1, "the metadata group knows nothing of it");
    let shard = AdminClient::new(of_shard(&server)).status(StatusRequest {}).await.unwrap().into_inner();
    let usual = AdminClient::new(server.channel()).status(StatusRequest {}).await.unwrap().into_inner();
    let told = |json: &str| {
        let status: NodeStatus = serde_json::from_str(json).unwrap();
        let groups = status.groups().map(|group| {
            let store = group.store.unwrap();
            (group.name.clone(), store.key_count, store.lease_count)
        });
        groups.collect::<Vec<_>>()
    };
    let (metadata, shard_1) = (("metadata".to_owned(), 0, 0), ("shard-1".to_owned(), 1, 1));
    assert_eq!(
        told(&shard.status),
        [shard_1.clone(), metadata.clone()],
        "the one that was asked about is first"
    );
    assert_eq!(told(&usual.status), [metadata, shard_1]);
}

#[tokio::test]
async fn a_group_that_is_not_here_is_refused_with_those_that_are() {
    let server = server_with_shard().await;
    let refused = put(&server, "shard-2", "key", "value").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(
        refused.message().contains("shard-2") && refused.message().contains("metadata, shard-1"),
        "{refused}"
    );
}

#[tokio::test]
async fn metrics_tell_of_each_group() {
    let server = server_with_shard().await;
    let (_, text) = crate::port::get(&server, "/metrics").await;
    for line in ["ruvector_group_keys{group=\"shard-1\"} 1", "ruvector_group_is_leader{group=\"shard-1\"} 1"]
    {
        assert!(text.contains(line), "no {line} in {text}");
    }
}
