//! The service of the command line, and etcd's services about the cluster.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::cluster_client::ClusterClient;
use ruvector_api::etcdserverpb::maintenance_client::MaintenanceClient;
use ruvector_api::ruvector::v1;
use ruvector_api::ruvector::v1::admin_client::AdminClient;
use ruvector_node::status::{NodeStatus, Role};
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::{TestServer, bytes};

fn admin(server: &TestServer) -> AdminClient<Channel> {
    AdminClient::new(server.channel())
}

#[tokio::test]
async fn status_tells_of_node_cluster_and_store() {
    let server = TestServer::start().await;
    let revision = server.put("a", "1").await;
    let status = admin(&server).status(v1::StatusRequest {}).await.unwrap().into_inner();
    let status: NodeStatus = serde_json::from_str(&status.status).unwrap();
    assert_eq!((status.node.name.as_str(), status.cluster.name.as_str()), ("node-1", "test"));
    assert_eq!(status.client_address, server.address().to_string());
    assert_eq!(status.members[0].client_address.as_deref(), Some(status.client_address.as_str()));
    let group = status.group;
    assert_eq!((group.name.as_str(), group.role), ("metadata", Role::Leader));
    assert_eq!(group.leader.as_ref(), Some(&status.node));
    assert_eq!(group.voters, [status.node]);
    assert_eq!(group.state_hash.len(), 32);
    assert!(group.commit_index >= group.applied_index && group.applied_index > 0);
    let store = group.store.unwrap();
    assert_eq!((store.revision, store.key_count), (revision, 1));
}

#[tokio::test]
async fn a_read_says_how_fresh_it_was() {
    let server = TestServer::start().await;
    let revision = server.put("a", "1").await;
    let read = |level: v1::ReadLevel, max_staleness_ms| v1::ReadRequest {
        key: bytes("a"),
        level: level as i32,
        max_staleness_ms,
    };
    for level in [v1::ReadLevel::Strong, v1::ReadLevel::Lease, v1::ReadLevel::Stale] {
        let answer = admin(&server).read(read(level, None)).await.unwrap().into_inner();
        assert_eq!(answer.level(), level);
        assert_eq!(answer.kv.unwrap().value, "1");
        assert_eq!(answer.revision, revision);
        assert!(answer.applied_index > 0);
        assert_eq!(answer.node_name, "node-1");
    }
    let missing = v1::ReadRequest { key: bytes("b"), ..read(v1::ReadLevel::Strong, None) };
    assert_eq!(admin(&server).read(missing).await.unwrap().into_inner().kv, None);
    let status = admin(&server).read(read(v1::ReadLevel::Unspecified, None)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn log_and_snapshots_are_told_and_made() {
    let server = TestServer::start().await;
    server.put("a", "1").await;
    let mut admin = admin(&server);
    let tail = admin.log_tail(v1::LogTailRequest { count: 1 }).await.unwrap().into_inner().entries;
    assert_eq!(tail.len(), 1);
    assert_eq!((tail[0].kind.as_str(), tail[0].description.as_str()), ("command", "put \"a\" (1 bytes)"));

    let request = v1::SnapshotCreateRequest { name: "before".to_owned() };
    let made = admin.snapshot_create(request.clone()).await.unwrap().into_inner().snapshot.unwrap();
    assert_eq!((made.name.as_str(), made.index, made.automatic), ("before", tail[0].index, false));
    let list = admin.snapshot_list(v1::SnapshotListRequest {}).await.unwrap().into_inner().snapshots;
    assert!(list.contains(&made), "{list:?}");
    let status = admin.snapshot_create(request).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message().lines().count(), 1, "{status}");

    let before_index = tail[0].index;
    let compacted = admin.compact_log(v1::CompactLogRequest { before_index }).await.unwrap().into_inner();
    assert!(compacted.first_index <= before_index);
    let beyond = v1::CompactLogRequest { before_index: 1_000_000 };
    assert_eq!(admin.compact_log(beyond).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn etcd_s_questions_about_the_cluster_are_answered() {
    let server = TestServer::start().await;
    server.put("a", "1").await;
    let handle = server.server.handle();
    let mut cluster = ClusterClient::new(server.channel());
    let list = cluster.member_list(pb::MemberListRequest { linearizable: true }).await.unwrap().into_inner();
    assert_eq!(list.members.len(), 1);
    let member = &list.members[0];
    assert_eq!((member.id, member.name.as_str()), (handle.node_id().0, "node-1"));
    assert_eq!(member.client_ur_ls, [format!("http://{}", server.address())]);

    let mut maintenance = MaintenanceClient::new(server.channel());
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.leader, handle.node_id().0);
    assert!(status.version.starts_with("3.5."), "{}", status.version);
    assert!(status.db_size > 0 && status.raft_applied_index > 0 && status.errors.is_empty());
    let alarms = maintenance.alarm(pb::AlarmRequest::default()).await.unwrap().into_inner();
    assert!(alarms.alarms.is_empty());
}
