//! The same services in a cluster: each node serves everything, and nobody reads what is old without asking for it.

use std::collections::BTreeSet;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::cluster_client::ClusterClient;
use ruvector_api::etcdserverpb::maintenance_client::MaintenanceClient;
use ruvector_api::etcdserverpb::request_op::Request;
use ruvector_api::etcdserverpb::response_op::Response;
use ruvector_api::etcdserverpb::watch_client::WatchClient;
use ruvector_api::health::v1::HealthCheckRequest;
use ruvector_api::health::v1::health_check_response::ServingStatus;
use ruvector_api::health::v1::health_client::HealthClient;
use tokio::time::timeout;
use tonic::Code;

use crate::harness::{PATIENCE, TestCluster, TestServer, bytes, eventually, on_range, put_request, refused};
use crate::native::{self, Native};

/// So many rounds that a node that answers from what it has would be found out: it is behind in most of them.
const ROUNDS: usize = 200;

/// What a transaction that only reads finds.
async fn get_in_txn(server: &TestServer, key: &str) -> String {
    let range = pb::RangeRequest { key: bytes(key), ..Default::default() };
    let success = vec![pb::RequestOp { request: Some(Request::RequestRange(range)) }];
    let mut done =
        server.kv().txn(pb::TxnRequest { success, ..Default::default() }).await.unwrap().into_inner();
    let Some(Response::ResponseRange(range)) = done.responses.remove(0).response else { panic!("a range") };
    String::from_utf8(range.kvs[0].value.to_vec()).unwrap()
}

#[tokio::test]
async fn what_one_node_has_acknowledged_every_node_reads() {
    let cluster = TestCluster::start().await;
    for round in 0..ROUNDS {
        let (writer, reader) = (&cluster.servers[round % 3], &cluster.servers[(round / 3 + round + 1) % 3]);
        let value = round.to_string();
        writer.put("a", &value).await;
        assert_eq!(reader.get("a").await.as_ref(), Some(&value));
        writer.put("b", &value).await;
        assert_eq!(get_in_txn(reader, "b").await, value);
    }
}

#[tokio::test]
async fn what_one_node_has_acknowledged_every_node_reads_in_the_native_protocol() {
    let cluster = TestCluster::start().await;
    let mut natives = Vec::new();
    for server in &cluster.servers {
        natives.push(Native::with_session(server).await);
    }
    for round in 0..ROUNDS {
        let number = 10 + 2 * round as u64;
        let value = round.to_string();
        natives[round % 3].ask(number, native::put("a", &value)).await;
        let read = natives[(round / 3 + round + 1) % 3].ask(number + 1, native::get("a")).await;
        assert_eq!(native::value(&read), Some(value));
    }
}

#[tokio::test]
async fn a_follower_s_watch_is_told_what_others_do_with_what_was_before() {
    let cluster = TestCluster::start().await;
    let follower = cluster.follower();
    let mut watch = follower.watch().await;
    watch.create(pb::WatchCreateRequest { prev_kv: true, ..on_range("a", "z") }).await;
    for round in 0..30 {
        let revision = cluster.servers[round % 3].put("a", &round.to_string()).await;
        let told = watch.next().await;
        let event = &told.events[0];
        assert_eq!((told.events.len(), event.kv.as_ref().unwrap().mod_revision), (1, revision));
        let before = event.prev_kv.as_ref().map(|kv| kv.value.clone());
        assert_eq!(before, round.checked_sub(1).map(|before| bytes(&before.to_string())));
    }
}

#[tokio::test]
async fn a_lease_that_one_node_grants_lives_ages_and_ends_on_all() {
    let cluster = TestCluster::start().await;
    let granted = pb::LeaseGrantRequest { id: 7, ttl: 100 };
    cluster.follower().lease().lease_grant(granted).await.unwrap();
    let time_to_live = async |server: &TestServer| {
        let request = pb::LeaseTimeToLiveRequest { id: 7, keys: true };
        server.lease().lease_time_to_live(request).await.unwrap().into_inner()
    };
    for server in &cluster.servers {
        // Nothing is written meanwhile: time passes by itself.
        eventually(async || time_to_live(server).await.ttl < 98).await;
    }
    let mut requests = cluster.servers[0].lease();
    let renewal = tokio_stream::once(pb::LeaseKeepAliveRequest { id: 7 });
    let mut renewed = requests.lease_keep_alive(renewal).await.unwrap().into_inner();
    assert_eq!(renewed.message().await.unwrap().unwrap().ttl, 100);
    cluster.servers[1].kv().put(pb::PutRequest { lease: 7, ..put_request("a", "1") }).await.unwrap();
    for server in &cluster.servers {
        assert_eq!(time_to_live(server).await.keys, ["a"]);
    }
    cluster.servers[2].lease().lease_revoke(pb::LeaseRevokeRequest { id: 7 }).await.unwrap();
    for server in &cluster.servers {
        assert_eq!(time_to_live(server).await.ttl, -1);
        assert_eq!(server.get("a").await, None);
    }
}

#[tokio::test]
async fn refusals_are_the_same_on_a_follower() {
    let cluster = TestCluster::start().await;
    let follower = cluster.follower();
    let mut kv = follower.kv();
    let last = follower.put("a", "1").await;
    let missing = pb::PutRequest { ignore_value: true, ..put_request("b", "") };
    refused(kv.put(missing).await, Code::InvalidArgument, "etcdserver: key not found");
    let leased = pb::PutRequest { lease: 9, ..put_request("b", "") };
    refused(kv.put(leased).await, Code::NotFound, "etcdserver: requested lease not found");
    let at = |revision| pb::RangeRequest { key: bytes("a"), revision, ..Default::default() };
    let future = "etcdserver: mvcc: required revision is a future revision";
    refused(kv.range(at(last + 1)).await, Code::OutOfRange, future);
    follower.put("a", "2").await;
    follower.compact(last + 1).await;
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    refused(kv.range(at(last)).await, Code::OutOfRange, compacted);
}

#[tokio::test]
async fn nodes_speak_for_themselves_and_of_one_cluster() {
    let cluster = TestCluster::start().await;
    let (mut members, mut clusters, mut leaders) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut lists = BTreeSet::new();
    for server in &cluster.servers {
        let status = MaintenanceClient::new(server.channel()).status(pb::StatusRequest {}).await;
        let status = status.unwrap().into_inner();
        let header = status.header.unwrap();
        members.insert(header.member_id);
        clusters.insert(header.cluster_id);
        leaders.insert(status.leader);
        assert!(status.raft_applied_index <= status.raft_index, "{status:?}");
        let request = pb::MemberListRequest { linearizable: true };
        let list = ClusterClient::new(server.channel()).member_list(request).await.unwrap().into_inner();
        lists.insert(list.members.iter().map(|member| (member.id, member.name.clone())).collect::<Vec<_>>());
    }
    assert_eq!((members.len(), clusters.len(), leaders.len(), lists.len()), (3, 1, 1, 1));
    assert!(members.is_superset(&leaders));
    assert_eq!(lists.first().unwrap().iter().map(|(id, _)| *id).collect::<BTreeSet<_>>(), members);
}

#[tokio::test]
async fn streams_that_want_a_leader_end_when_there_is_none() {
    let mut cluster = TestCluster::start().await;
    let mut watches = WatchClient::new(cluster.servers[0].channel());
    let mut told = watches.watch(wanting_a_leader()).await.unwrap().into_inner();
    let mut leases = cluster.servers[0].lease();
    let mut renewed = leases.lease_keep_alive(wanting_a_leader()).await.unwrap().into_inner();
    cluster.servers.truncate(1);
    let ended = timeout(PATIENCE, told.message()).await.expect("the watches end");
    refused(ended, Code::Unavailable, "etcdserver: no leader");
    let ended = timeout(PATIENCE, renewed.message()).await.expect("the renewals end");
    refused(ended, Code::Unavailable, "etcdserver: no leader");
}

/// A stream that asks nothing, of a client that would rather be told than wait.
fn wanting_a_leader<M: Send + 'static>() -> tonic::Request<tokio_stream::Pending<M>> {
    let mut request = tonic::Request::new(tokio_stream::pending());
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    request
}

#[tokio::test]
async fn a_node_that_is_left_alone_says_that_it_does_not_serve() {
    let mut cluster = TestCluster::start().await;
    let mut health = HealthClient::new(cluster.servers[0].channel());
    let mut told = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(told.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    cluster.servers.truncate(1);
    let news = timeout(PATIENCE, told.message()).await.expect("news in time");
    assert_eq!(news.unwrap().unwrap().status(), ServingStatus::NotServing);
}
