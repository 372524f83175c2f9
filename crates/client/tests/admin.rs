//! What one node is asked and told to do, and what that means when it does not answer.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ruvector_api::ruvector::v1 as pb;
use ruvector_api::ruvector::v1::admin_server::{Admin, AdminServer};
use ruvector_client::{Client, ClientError, ClientOptions, GroupStatus, NodeClient, NodeStatus, ReadLevel};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Answers what tells whether it was asked right, or never.
#[derive(Clone)]
struct Node {
    is_silent: bool,
}

impl Node {
    async fn answer<T>(&self, answer: T) -> Result<Response<T>, Status> {
        if self.is_silent {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(answer))
    }

    async fn client(&self) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tonic::transport::Server::builder().add_service(AdminServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let request_timeout = Duration::from_millis(if self.is_silent { 300 } else { 60_000 });
        Client::new([address], ClientOptions { request_timeout, ..ClientOptions::default() }).unwrap()
    }
}

fn snapshot(name: &str) -> pb::Snapshot {
    pb::Snapshot { name: name.to_owned(), ..pb::Snapshot::default() }
}

#[tonic::async_trait]
impl Admin for Node {
    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        // A later version has more to say, and an earlier one less.
        let status =
            r#"{ "group": { "name": "metadata", "term": 3, "later": [1] }, "much_later": {} }"#.to_owned();
        self.answer(pb::StatusResponse { status }).await
    }

    async fn log_tail(
        &self,
        request: Request<pb::LogTailRequest>,
    ) -> Result<Response<pb::LogTailResponse>, Status> {
        let entries = (0..request.into_inner().count).map(|_| pb::LogEntry::default()).collect();
        self.answer(pb::LogTailResponse { entries }).await
    }

    async fn compact_log(
        &self,
        request: Request<pb::CompactLogRequest>,
    ) -> Result<Response<pb::CompactLogResponse>, Status> {
        self.answer(pb::CompactLogResponse { first_index: request.into_inner().before_index }).await
    }

    async fn snapshot_create(
        &self,
        request: Request<pb::SnapshotCreateRequest>,
    ) -> Result<Response<pb::SnapshotCreateResponse>, Status> {
        self.answer(pb::SnapshotCreateResponse { snapshot: Some(snapshot(&request.into_inner().name)) }).await
    }

    async fn snapshot_list(
        &self,
        _: Request<pb::SnapshotListRequest>,
    ) -> Result<Response<pb::SnapshotListResponse>, Status> {
        self.answer(pb::SnapshotListResponse { snapshots: vec![snapshot("a"), snapshot("b")] }).await
    }

    async fn read(&self, request: Request<pb::ReadRequest>) -> Result<Response<pb::ReadResponse>, Status> {
        let asked = request.into_inner();
        let kv = ruvector_api::mvccpb::KeyValue { key: asked.key, ..Default::default() };
        let staleness_us = asked.max_staleness_ms.map(|milliseconds| milliseconds * 1000);
        let level = asked.level;
        self.answer(pb::ReadResponse { kv: Some(kv), level, staleness_us, ..pb::ReadResponse::default() })
            .await
    }
}

fn node(client: &Client) -> NodeClient {
    client.nodes().next().unwrap()
}

#[tokio::test]
async fn a_node_is_asked_what_was_meant() {
    let client = Node { is_silent: false }.client().await;
    let node = node(&client);
    let group = GroupStatus { name: "metadata".to_owned(), term: 3, ..GroupStatus::default() };
    assert_eq!(node.status().await.unwrap(), NodeStatus { group, ..NodeStatus::default() });
    assert_eq!(node.log_tail(4).await.unwrap().len(), 4);
    assert_eq!(node.compact_log(5).await.unwrap(), 5);
    assert_eq!(node.create_snapshot("s").await.unwrap().name, "s");
    let names: Vec<String> =
        node.list_snapshots().await.unwrap().into_iter().map(|snapshot| snapshot.name).collect();
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test]
async fn a_read_is_asked_for_at_its_level_and_with_its_bound() {
    let client = Node { is_silent: false }.client().await;
    let bound = Duration::from_millis(7);
    for (level, served, staleness) in [
        (ReadLevel::Strong, ReadLevel::Strong, None),
        (ReadLevel::Lease, ReadLevel::Lease, None),
        (ReadLevel::Stale(None), ReadLevel::Stale(None), None),
        (ReadLevel::Stale(Some(bound)), ReadLevel::Stale(None), Some(bound)),
    ] {
        let answer = client.read("k", level).await.unwrap();
        assert_eq!((answer.level, answer.staleness), (served, staleness), "{level:?}");
        assert_eq!(answer.key_value.unwrap().key, "k");
    }
}

#[tokio::test]
async fn what_a_silent_node_was_told_to_do_it_may_have_done() {
    let client = Node { is_silent: true }.client().await;
    let node = node(&client);
    for unknown in [node.compact_log(5).await.map(drop), node.create_snapshot("s").await.map(drop)] {
        assert!(matches!(unknown, Err(ClientError::OutcomeUnknown { .. })), "{unknown:?}");
    }
    for late in [
        node.status().await.map(drop),
        node.log_tail(1).await.map(drop),
        node.list_snapshots().await.map(drop),
        client.read("k", ReadLevel::Strong).await.map(drop),
    ] {
        assert!(matches!(late, Err(ClientError::TimedOut { .. })), "{late:?}");
    }
}
