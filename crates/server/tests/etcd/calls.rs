//! Calls as gRPC defines them, whatever they ask: deadlines, metadata, names that are not known.

use std::time::Duration;

use bytes::Bytes;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::watch_request::RequestUnion;
use tonic::Code;

use crate::harness::{TestServer, bytes, on_key, put_request, without_quorum};
use crate::port;
use crate::raw::{First, call, call_by_authority, call_taken_after, encoded};

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";

fn range() -> Bytes {
    encoded(&pb::RangeRequest { key: bytes("a"), ..Default::default() })
}

fn timeout(text: &str) -> [(&'static str, String); 1] {
    [("grpc-timeout", text.to_owned())]
}

#[tokio::test]
async fn a_call_ends_when_its_time_is_over() {
    let server = without_quorum().await;
    for limit in ["1n", "100m"] {
        let put = [encoded(&put_request("a", "1"))];
        let ended = call(&server, PUT, &timeout(limit), &put).await.unwrap();
        assert_eq!(
            (ended.code, ended.message.as_str()),
            (Code::DeadlineExceeded, "context deadline exceeded")
        );
        assert!(ended.answers.is_empty());
    }
    // A list of members, too, waits for a quorum if it is to be fresh, and otherwise does not.
    for (linearizable, code) in [(true, Code::DeadlineExceeded), (false, Code::Ok)] {
        let request = [encoded(&pb::MemberListRequest { linearizable })];
        let limit = if linearizable { "100m" } else { "1H" };
        let ended = call(&server, "/etcdserverpb.Cluster/MemberList", &timeout(limit), &request).await;
        assert_eq!(ended.unwrap().code, code);
    }
}

/// All calls of etcd's that need a leader, and streams of the native protocol; and what is of use without one.
#[tokio::test]
async fn a_call_that_wants_a_leader_is_refused_without_one_whatever_it_asks() {
    let server = without_quorum().await;
    let wanting = [("hasleader", "true".to_owned())];
    // No bytes are a message of any kind.
    let message = [encoded(&pb::StatusRequest {})];
    for path in [
        "/etcdserverpb.KV/Range",
        "/etcdserverpb.KV/Put",
        "/etcdserverpb.KV/DeleteRange",
        "/etcdserverpb.KV/Txn",
        "/etcdserverpb.KV/Compact",
        "/etcdserverpb.Watch/Watch",
        "/etcdserverpb.Lease/LeaseGrant",
        "/etcdserverpb.Lease/LeaseRevoke",
        "/etcdserverpb.Lease/LeaseKeepAlive",
        "/etcdserverpb.Lease/LeaseTimeToLive",
        "/etcdserverpb.Lease/LeaseLeases",
        "/etcdserverpb.Cluster/MemberList",
        "/etcdserverpb.Maintenance/Alarm",
        "/etcdserverpb.Maintenance/Status",
        "/ruvector.v1.Native/Exchange",
    ] {
        let ended = call(&server, path, &wanting, &message).await.unwrap();
        assert_eq!(
            (ended.code, ended.message.as_str()),
            (Code::Unavailable, "etcdserver: no leader"),
            "{path}"
        );
        assert!(ended.answers.is_empty(), "{path}");
    }
    for (path, code) in [
        ("/etcdserverpb.Auth/Authenticate", Code::FailedPrecondition),
        ("/grpc.health.v1.Health/Check", Code::Ok),
        ("/ruvector.v1.Admin/Status", Code::Ok),
        ("/etcdserverpb.KV/Nothing", Code::Unimplemented),
    ] {
        assert_eq!(call(&server, path, &wanting, &message).await.unwrap().code, code, "{path}");
    }
    let (_, metrics) = port::get(&server, "/metrics").await;
    for (service, method, count) in [("etcdserverpb.KV", "Put", 1), ("ruvector.v1.Native", "Exchange", 0)] {
        let named =
            format!("grpc_service=\"{service}\",grpc_method=\"{method}\",grpc_code=\"Unavailable\"}} ");
        let counted = metrics.lines().find_map(|line| line.split_once(&named));
        assert_eq!(counted.map(|(_, counted)| counted), Some(count.to_string().as_str()), "{method}");
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_time_is_over() {
    let server = TestServer::start().await;
    let watch = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(on_key("a"))) };
    let ended =
        call(&server, "/etcdserverpb.Watch/Watch", &timeout("300m"), &[encoded(&watch)]).await.unwrap();
    assert_eq!((ended.code, ended.answers.len()), (Code::DeadlineExceeded, 1), "{ended:?}");
}

/// Such an answer is read piece by piece, and each piece is there at once.
#[tokio::test]
async fn a_large_answer_ends_when_its_time_is_over() {
    let server = TestServer::start().await;
    for number in 0..30 {
        server.put(&format!("a{number}"), &"v".repeat(100_000)).await;
    }
    let all = [encoded(&pb::RangeRequest { key: bytes("a"), range_end: bytes("b"), ..Default::default() })];
    for (limit, code, answers) in [("100m", Code::DeadlineExceeded, 0), ("1H", Code::Ok, 1)] {
        let time = Duration::from_millis(300);
        let ended = call_taken_after(time, &server, RANGE, &timeout(limit), &all).await.unwrap();
        assert_eq!((ended.code, ended.answers.len()), (code, answers), "{}", ended.message);
    }
}

#[tokio::test]
async fn a_call_with_enough_time_is_answered() {
    let server = TestServer::start().await;
    for limit in ["1H", "99999999S"] {
        let ended = call(&server, RANGE, &timeout(limit), &[range()]).await.unwrap();
        assert_eq!((ended.code, ended.answers.len()), (Code::Ok, 1), "{ended:?}");
    }
    let ended = call(&server, RANGE, &timeout("soon"), &[range()]).await.unwrap();
    assert_eq!(ended.code, Code::Internal, "{ended:?}");
}

#[tokio::test]
async fn metadata_of_64_kib_is_taken() {
    let server = TestServer::start().await;
    let token = |length| [("x-token", "t".repeat(length))];
    let ended = call(&server, RANGE, &token(64 << 10), &[range()]).await.unwrap();
    assert_eq!(ended.code, Code::Ok);
    assert!(call(&server, RANGE, &token(1 << 20), &[range()]).await.is_none());
    assert_eq!(call(&server, RANGE, &[], &[range()]).await.unwrap().code, Code::Ok);
}

/// The first of the differences from etcd that docs/ETCD_DIFFERENCES.md announces: should the library take these one day, it
/// is to be told there.
#[tokio::test]
async fn an_authority_that_is_no_host_is_reset() {
    const PROTOCOL_ERROR: First = First::Reset(1);
    let server = TestServer::start().await;
    for taken in [None, Some("etcd"), Some("127.0.0.1:2379"), Some("[::1]:2379"), Some("etcd_1.my_net:2379")]
    {
        assert_eq!(call_by_authority(&server, RANGE, taken, &range()).await, First::Headers, "{taken:?}");
    }
    for reset in ["#initially=[http://127.0.0.1:2379]", "/run/etcd.sock", "%2Frun%2Fetcd.sock", "", "a:1,b:2"]
    {
        assert_eq!(call_by_authority(&server, RANGE, Some(reset), &range()).await, PROTOCOL_ERROR, "{reset}");
    }
}

#[tokio::test]
async fn what_is_not_offered_is_named() {
    let server = TestServer::start().await;
    for (path, text) in [
        ("/etcdserverpb.KV/Nope", "unknown method Nope for service etcdserverpb.KV"),
        ("/etcdserverpb.Watch/Nope", "unknown method Nope for service etcdserverpb.Watch"),
        ("/etcdserverpb.Auth/UserAdd", "unknown method UserAdd for service etcdserverpb.Auth"),
        (
            "/etcdserverpb.Maintenance/Defragment",
            "unknown method Defragment for service etcdserverpb.Maintenance",
        ),
        ("/grpc.health.v1.Health/List", "unknown method List for service grpc.health.v1.Health"),
        ("/ruvector.v1.Admin/Nope", "unknown method Nope for service ruvector.v1.Admin"),
        ("/v3lockpb.Lock/Lock", "unknown service v3lockpb.Lock"),
    ] {
        let ended = call(&server, path, &[], &[range()]).await.unwrap();
        assert_eq!((ended.code, ended.message.as_str()), (Code::Unimplemented, text));
    }
}

#[tokio::test]
async fn who_gives_a_user_s_name_is_told_that_there_are_no_users() {
    let server = TestServer::start().await;
    let request = pb::AuthenticateRequest { name: "root".to_owned(), password: "secret".to_owned() };
    let ended = call(&server, "/etcdserverpb.Auth/Authenticate", &[], &[encoded(&request)]).await.unwrap();
    let expected = (Code::FailedPrecondition, "etcdserver: authentication is not enabled");
    assert_eq!((ended.code, ended.message.as_str()), expected);
}
