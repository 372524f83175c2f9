//! The port itself: plain HTTP, garbage, limits of connections; starting and starting again.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::kv_client::KvClient;
use ruvector_server::{Limits, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::harness::{
    PATIENCE, TestServer, Watch, eventually, on_key, options, put_request, refused, without_quorum,
};

/// What the server answers to these bytes until it closes the connection.
async fn exchange(server: &TestServer, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
    let _ = read.await.expect("the server closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) async fn get(server: &TestServer, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = exchange(server, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn a_healthy_node_says_so() {
    let server = TestServer::start().await;
    assert_eq!(get(&server, "/health").await, (200, r#"{"health":"true"}"#.to_owned()));
    assert_eq!(get(&server, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get(&server, "/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(get(&server, "/nothing").await.0, 404);
    let (status, version) = get(&server, "/version").await;
    assert_eq!(status, 200);
    for part in [r#""etcdserver":"3.5."#, r#""etcdcluster":"3.5.0""#, r#""ruvector":""#] {
        assert!(version.contains(part), "{version}");
    }
}

#[tokio::test]
async fn a_node_without_a_quorum_is_alive_but_not_healthy() {
    let server = without_quorum().await;
    let (status, body) = get(&server, "/health").await;
    assert_eq!(status, 503);
    assert!(body.starts_with(r#"{"health":"false","reason":""#), "{body}");
    assert_eq!(get(&server, "/readyz").await.0, 503);
    assert_eq!(get(&server, "/health?serializable=true").await.0, 200);
    assert_eq!(get(&server, "/livez").await.0, 200);
}

#[tokio::test]
async fn metrics_have_etcd_s_names() {
    let server = TestServer::start().await;
    server.put("a", "1").await;
    let (_, text) = get(&server, "/metrics").await;
    for line in [
        "etcd_server_has_leader 1",
        "etcd_server_is_leader 1",
        "etcd_server_proposals_failed_total 0",
        "etcd_debugging_mvcc_keys_total 1",
        "etcd_debugging_mvcc_watcher_total 0",
        r#"grpc_server_started_total{grpc_type="unary",grpc_service="etcdserverpb.KV",grpc_method="Put"} 1"#,
        r#"grpc_server_handled_total{grpc_type="unary",grpc_service="etcdserverpb.KV",grpc_method="Put",grpc_code="OK"} 1"#,
        "# TYPE grpc_server_handled_total counter",
        "# TYPE etcd_disk_wal_fsync_duration_seconds histogram",
        "# TYPE etcd_server_proposals_committed_total gauge",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    for name in [
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"",
        "etcd_disk_backend_commit_duration_seconds_bucket{le=\"",
        "etcd_server_leader_changes_seen_total ",
        "etcd_server_proposals_committed_total ",
        "etcd_server_proposals_applied_total ",
        "etcd_server_proposals_pending ",
        "etcd_mvcc_db_total_size_in_bytes ",
        "etcd_network_client_grpc_received_bytes_total ",
        "etcd_network_client_grpc_sent_bytes_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_max_fds ",
        "etcd_server_id{server_id=\"",
    ] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{name} is not in\n{text}");
    }
    assert!(!text.contains("_total_total") && !text.contains("# EOF"));
    let is_named_as_its_samples = |line: &str| {
        let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")) else {
            return true;
        };
        name.ends_with("_total")
    };
    assert!(text.lines().all(is_named_as_its_samples), "{text}");
}

#[tokio::test]
async fn metrics_come_in_the_form_that_is_asked_for() {
    let server = TestServer::start().await;
    let ask = async |accept: &str| {
        let request =
            format!("GET /metrics HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
        exchange(&server, request.as_bytes()).await
    };
    for accept in ["*/*", "text/plain", "text/html,application/xhtml+xml"] {
        let answer = ask(accept).await.to_lowercase();
        assert!(
            answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            "{accept}: {answer}"
        );
        assert!(!answer.contains("# eof"), "{accept}");
    }
    let answer = ask("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3").await;
    assert!(
        answer.to_lowercase().contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{answer}"
    );
    assert!(answer.contains("# EOF"), "{answer}");
}

/// Streams that are open are what etcd's board makes of those that began and those that ended.
#[tokio::test]
async fn open_streams_are_those_that_began_and_did_not_end() {
    let server = TestServer::start().await;
    let count = async |name: &str| {
        let (_, text) = get(&server, "/metrics").await;
        let of_watches = |line: &&str| line.starts_with(name) && line.contains("grpc_method=\"Watch\"");
        text.lines()
            .filter(of_watches)
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum::<u64>()
    };
    let watch = server.watch().await;
    assert_eq!((count("grpc_server_started_total").await, count("grpc_server_handled_total").await), (1, 0));
    drop(watch);
    eventually(async || count("grpc_server_handled_total").await == 1).await;
    assert_eq!(count("grpc_server_started_total").await, 1);
}

#[tokio::test]
async fn garbage_ends_its_own_connection_and_nothing_else() {
    let server = TestServer::start().await;
    server.put("a", "1").await;
    let mut http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    http2.extend([0xff; 200]);
    for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting"[..], &[0; 100], &http2] {
        exchange(&server, garbage).await;
    }
    assert_eq!(server.get("a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let server = TestServer::start_with(|options| {
        options.limits = Some(Limits { handshake_seconds: 1, ..Limits::default() });
    })
    .await;
    assert_eq!(exchange(&server, b"").await, "");
    assert_eq!(exchange(&server, b"PRI * HT").await, "");
}

#[tokio::test]
async fn beyond_the_limit_an_idle_connection_makes_room_and_without_one_only_looking_is_answered() {
    let server = TestServer::start_with(|options| {
        options.limits = Some(Limits { connections: 2, ..Limits::default() });
    })
    .await;
    server.put("a", "1").await;
    let _idle = TcpStream::connect(server.address()).await.unwrap();
    // The first two hold their places: those of `put` and `idle`.
    let live = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(exchange(&server, live).await.ends_with("ok\n"));
    // Now both are in use.
    let (_first, mut second) = (server.watch().await, Watch::open(connect(&server)).await);
    let mut third = KvClient::new(connect(&server));
    let put = third.put(put_request("a", "2")).await;
    refused(put, Code::ResourceExhausted, "etcdserver: too many requests");
    assert!(exchange(&server, live).await.ends_with("ok\n"));
    second.create(on_key("a")).await;
}

fn connect(server: &TestServer) -> tonic::transport::Channel {
    let address = format!("http://{}", server.address());
    tonic::transport::Channel::from_shared(address).unwrap().connect_lazy()
}

#[tokio::test]
async fn a_service_that_is_not_offered_is_unimplemented() {
    let server = TestServer::start().await;
    let mut grpc = tonic::client::Grpc::new(server.channel());
    for path in ["/etcdserverpb.Auth/AuthEnable", "/etcdserverpb.Maintenance/Defragment"] {
        grpc.ready().await.unwrap();
        let codec = tonic_codec();
        let path = axum::http::uri::PathAndQuery::from_static(path);
        let answer = grpc.unary(tonic::Request::new(pb::StatusRequest {}), path, codec).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
    }
}

fn tonic_codec() -> tonic_prost::ProstCodec<pb::StatusRequest, pb::StatusResponse> {
    tonic_prost::ProstCodec::default()
}

#[tokio::test]
async fn a_node_started_again_has_everything() {
    let TestServer { server, directory, .. } = {
        let server = TestServer::start().await;
        server.put("a", "1").await;
        server
    };
    server.stop();
    let mut again = options(&directory);
    again.initial_nodes = None;
    let server = Server::start(again.into_config().unwrap()).unwrap();
    let handle = server.handle();
    let strong = ruvector_node::ReadLevel::Strong;
    eventually(async || handle.read(strong).await.is_ok_and(|read| read.published.view.key_count() == 1))
        .await;
}

#[tokio::test]
async fn what_keeps_a_server_from_starting_is_said_in_one_line() {
    let running = TestServer::start().await;
    let start = |change: &dyn Fn(&mut ruvector_server::ServerOptions)| {
        let mut options = options(&running.directory);
        change(&mut options);
        let error = Server::start(options.into_config().unwrap()).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    };
    let address = running.address().to_string();
    let taken = start(&|options| options.listen_client = Some(address.clone()));
    assert!(taken.contains(&address) && taken.contains("in use"), "{taken}");
    let locked = start(&|_| {});
    assert!(locked.contains("in use by another process"), "{locked}");
    let exposed = start(&|options| options.listen_peer = Some("0.0.0.0:0".to_owned()));
    assert!(exposed.contains("--insecure"), "{exposed}");
}
