//! What a node tells those who ask how it does.

use bytes::Bytes;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::health::v1::HealthCheckRequest;
use ruvector_api::health::v1::health_check_response::ServingStatus;
use ruvector_api::health::v1::health_client::HealthClient;
use tonic::Code;

use crate::harness::{TestServer, eventually, refused, without_quorum};
use crate::port::get;
use crate::raw::call;

const SERVICES: [&str; 9] = [
    "",
    "readyz",
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "etcdserverpb.Cluster",
    "etcdserverpb.Maintenance",
    "ruvector.v1.Native",
    "ruvector.v1.Admin",
];

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn check(server: &TestServer, service: &str) -> ServingStatus {
    let answer = HealthClient::new(server.channel()).check(about(service)).await;
    answer.unwrap().into_inner().status()
}

#[tokio::test]
async fn grpc_s_health_check_knows_the_server_and_each_of_its_services() {
    let server = TestServer::start().await;
    for service in SERVICES.into_iter().chain(["livez"]) {
        assert_eq!(check(&server, service).await, ServingStatus::Serving, "{service}");
    }
    let unknown = HealthClient::new(server.channel()).check(about("etcdserverpb.Nope")).await;
    refused(unknown, Code::NotFound, "unknown service");
    let ended = call(&server, "/grpc.health.v1.Health/Check", &[], &[Bytes::new()]).await.unwrap();
    assert_eq!((ended.code, ended.answers), (Code::Ok, vec![Bytes::from_static(&[0x08, 0x01])]));
}

#[tokio::test]
async fn grpc_s_health_is_told_as_it_is_and_then_as_it_becomes() {
    let server = TestServer::start().await;
    let mut health = HealthClient::new(server.channel());
    let mut told = health.watch(about("")).await.unwrap().into_inner();
    assert_eq!(told.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let mut unknown = health.watch(about("nope")).await.unwrap().into_inner();
    assert_eq!(unknown.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
}

/// None of these may wait for a quorum, or until it is given up: here that takes longer than a test's patience.
#[tokio::test]
async fn without_a_quorum_probes_and_what_needs_none_are_answered() {
    let server = without_quorum().await;
    for path in ["/health", "/readyz"] {
        assert_eq!(get(&server, path).await.0, 503, "{path}");
    }
    for path in ["/health?serializable=true", "/livez"] {
        assert_eq!(get(&server, path).await.0, 200, "{path}");
    }
    for service in SERVICES {
        assert_eq!(check(&server, service).await, ServingStatus::NotServing, "{service}");
    }
    assert_eq!(check(&server, "livez").await, ServingStatus::Serving);
    let mut health = HealthClient::new(server.channel());
    let mut told = health.watch(about("")).await.unwrap().into_inner();
    assert_eq!(told.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);

    server.lease().lease_leases(pb::LeaseLeasesRequest {}).await.unwrap();
    let compare = pb::Compare { key: "a".into(), ..Default::default() };
    let txn = pb::TxnRequest { compare: vec![compare], ..Default::default() };
    assert!(server.kv().txn(txn).await.unwrap().into_inner().succeeded);
    eventually(async || server.server.handle().status().await.is_ok()).await;
}
