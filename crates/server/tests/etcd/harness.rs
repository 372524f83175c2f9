//! Servers of one node or three, each on a directory of its own, and short ways to talk to them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::kv_client::KvClient;
use ruvector_api::etcdserverpb::lease_client::LeaseClient;
use ruvector_api::etcdserverpb::watch_client::WatchClient;
use ruvector_api::etcdserverpb::watch_request::RequestUnion;
use ruvector_node::{ReadLevel, Tuning};
use ruvector_server::{Server, ServerOptions};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// Nothing takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct TestServer {
    pub(crate) server: Server,
    pub(crate) directory: TempDir,
    channel: Channel,
}

impl TestServer {
    /// A server that has elected itself.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let this = Self::start_leaderless(change).await;
        let handle = this.server.handle();
        eventually(async || handle.read(ReadLevel::Strong).await.is_ok()).await;
        this
    }

    /// A server that may not find a leader.
    pub(crate) async fn start_leaderless(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(&directory);
        change(&mut options);
        let server = Server::start(options.into_config().unwrap()).unwrap();
        let address = format!("http://{}", server.client_address());
        let channel = Channel::from_shared(address).unwrap().connect_lazy();
        Self { server, directory, channel }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.client_address()
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel())
    }

    pub(crate) fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel())
    }

    /// Puts and answers with the revision.
    pub(crate) async fn put(&self, key: &str, value: &str) -> i64 {
        let put = self.kv().put(put_request(key, value)).await.unwrap();
        put.into_inner().header.unwrap().revision
    }

    pub(crate) async fn get(&self, key: &str) -> Option<String> {
        let request = pb::RangeRequest { key: bytes(key), ..Default::default() };
        let mut range = self.kv().range(request).await.unwrap().into_inner();
        range.kvs.pop().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
    }

    pub(crate) async fn compact(&self, revision: i64) {
        self.kv().compact(pb::CompactionRequest { revision, physical: false }).await.unwrap();
    }

    pub(crate) async fn watch(&self) -> Watch {
        Watch::open(self.channel()).await
    }
}

/// Three servers of one cluster.
pub(crate) struct TestCluster {
    pub(crate) servers: Vec<TestServer>,
}

impl TestCluster {
    /// A cluster that has a leader whom all know.
    pub(crate) async fn start() -> Self {
        // Not at 127.0.0.1, from where a peer that dials could be given one of these ports. All are held until all are known.
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.3:0").unwrap()).collect();
        let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap().to_string());
        let nodes: BTreeMap<String, String> =
            (1..).map(|number| format!("node-{number}")).zip(addresses).collect();
        drop(listeners);
        let mut servers = Vec::new();
        for (name, address) in &nodes {
            let server = TestServer::start_leaderless(|options| {
                options.id = Some(name.clone());
                options.listen_peer = Some(address.clone());
                options.initial_nodes = Some(nodes.clone());
                // A test that has no processor for a while is to find the same leader after it.
                let tuning = options.tuning.as_mut().unwrap();
                (tuning.heartbeat_interval_ms, tuning.election_timeout_ms) = (100, 1_500);
            });
            servers.push(server.await);
        }
        let cluster = Self { servers };
        for server in &cluster.servers {
            let handle = server.server.handle();
            eventually(async || handle.read(ReadLevel::Strong).await.is_ok()).await;
        }
        eventually(async || cluster.leader().is_some()).await;
        cluster
    }

    /// The server of the leader, if all agree on one.
    fn leader(&self) -> Option<usize> {
        let leader = self.servers[0].server.handle().leader()?;
        self.servers.iter().all(|server| server.server.handle().leader() == Some(leader)).then_some(())?;
        self.servers.iter().position(|server| server.server.handle().node_id() == leader)
    }

    /// A server that does not lead.
    pub(crate) fn follower(&self) -> &TestServer {
        let leader = self.leader().unwrap_or_default();
        &self.servers[(leader + 1) % self.servers.len()]
    }
}

/// A node whose only peer never answers, and that does not give anything up within a test's patience.
pub(crate) async fn without_quorum() -> TestServer {
    TestServer::start_leaderless(|options| {
        let nodes = options.initial_nodes.as_mut().unwrap();
        nodes.insert("node-2".to_owned(), "127.0.0.1:2".to_owned());
        options.tuning.as_mut().unwrap().request_timeout_ms = 600_000;
    })
    .await
}

/// What a node of its own needs, on ports that the system chooses.
pub(crate) fn options(directory: &TempDir) -> ServerOptions {
    let mut options = ServerOptions::from_toml("test", "").unwrap();
    options.cluster = Some("test".to_owned());
    options.id = Some("node-1".to_owned());
    options.data_dir = Some(directory.path().join("node-1"));
    options.listen_client = Some("127.0.0.1:0".to_owned());
    options.listen_peer = Some("127.0.0.1:0".to_owned());
    options.initial_nodes = Some(BTreeMap::from([("node-1".to_owned(), "127.0.0.1:1".to_owned())]));
    options.tuning = Some(tuning());
    options
}

/// Quick elections and small files.
pub(crate) fn tuning() -> Tuning {
    Tuning {
        heartbeat_interval_ms: 20,
        election_timeout_ms: 100,
        segment_bytes: 8 << 20,
        ..Tuning::default()
    }
}

/// A stream of watches.
pub(crate) struct Watch {
    requests: mpsc::Sender<pb::WatchRequest>,
    pub(crate) responses: Streaming<pb::WatchResponse>,
}

impl Watch {
    pub(crate) async fn open(channel: Channel) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let client = WatchClient::new(channel);
        let mut client = client.max_decoding_message_size(64 << 20);
        let responses = client.watch(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { requests, responses }
    }

    pub(crate) async fn send(&self, request: RequestUnion) {
        self.requests.send(pb::WatchRequest { request_union: Some(request) }).await.unwrap();
    }

    /// Creates a watch and answers with its first response.
    pub(crate) async fn create(&mut self, request: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.send(RequestUnion::CreateRequest(request)).await;
        let created = self.next().await;
        assert!(created.created, "told {} events instead", created.events.len());
        created
    }

    pub(crate) async fn cancel(&self, watch_id: i64) {
        self.send(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id })).await;
    }

    pub(crate) async fn ask_progress(&self) {
        self.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    }

    pub(crate) async fn next(&mut self) -> pb::WatchResponse {
        let next = tokio::time::timeout(PATIENCE, self.responses.message());
        next.await.expect("a response in time").unwrap().expect("an open stream")
    }

    /// Everything up to the given number of events, of whatever responses, as `key@revision`, with a minus before
    /// deletions.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<String> {
        let mut events = Vec::new();
        while events.len() < count {
            let response = self.next().await;
            assert!(!response.canceled, "{response:?}");
            events.extend(response.events.iter().map(short));
        }
        assert_eq!(events.len(), count, "{events:?}");
        events
    }
}

pub(crate) fn short(event: &ruvector_api::mvccpb::Event) -> String {
    let kv = event.kv.as_ref().unwrap();
    let sign = if event.r#type == 1 { "-" } else { "" };
    format!("{sign}{}@{}", String::from_utf8_lossy(&kv.key), kv.mod_revision)
}

pub(crate) fn on_key(key: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: bytes(key), ..Default::default() }
}

/// A watch on a key and what is before another.
pub(crate) fn on_range(key: &str, range_end: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: bytes(key), range_end: bytes(range_end), ..Default::default() }
}

pub(crate) fn put_request(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() }
}

pub(crate) fn bytes(text: &str) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(text.as_bytes())
}

/// Waits until something holds.
pub(crate) async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to hold in time");
}

/// The error that was expected.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, text: &str) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), status.message()), (code, text));
}
