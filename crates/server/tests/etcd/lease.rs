//! Leases.

use std::collections::BTreeSet;

use ruvector_api::etcdserverpb as pb;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::harness::{TestServer, bytes, eventually, put_request, refused};

async fn grant(server: &TestServer, id: i64, ttl: i64) -> pb::LeaseGrantResponse {
    server.lease().lease_grant(pb::LeaseGrantRequest { ttl, id }).await.unwrap().into_inner()
}

async fn time_to_live(server: &TestServer, id: i64) -> pb::LeaseTimeToLiveResponse {
    let request = pb::LeaseTimeToLiveRequest { id, keys: true };
    server.lease().lease_time_to_live(request).await.unwrap().into_inner()
}

async fn put_with_lease(server: &TestServer, key: &str, lease: i64) {
    server.kv().put(pb::PutRequest { lease, ..put_request(key, "v") }).await.unwrap();
}

#[tokio::test]
async fn a_lease_is_granted_under_the_id_asked_for_or_a_free_one() {
    let server = TestServer::start().await;
    assert_eq!(grant(&server, 7, 30).await.id, 7);
    let ids: BTreeSet<i64> =
        [grant(&server, 0, 30).await.id, grant(&server, 0, 30).await.id, grant(&server, -5, 30).await.id, 7]
            .into();
    assert_eq!(ids.len(), 4);
    assert_eq!(ids.iter().filter(|id| **id < 0).count(), 1);
    let list = server.lease().lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
    assert_eq!(list.leases.iter().map(|lease| lease.id).collect::<BTreeSet<_>>(), ids);

    let mut lease = server.lease();
    let again = lease.lease_grant(pb::LeaseGrantRequest { ttl: 30, id: 7 }).await;
    refused(again, Code::FailedPrecondition, "etcdserver: lease already exists");
    let eternal = lease.lease_grant(pb::LeaseGrantRequest { ttl: 9_000_000_001, id: 0 }).await;
    refused(eternal, Code::OutOfRange, "etcdserver: too large lease TTL");
    assert_eq!(grant(&server, 0, 0).await.ttl, 1);
}

#[tokio::test]
async fn a_revoked_lease_takes_its_keys_along() {
    let server = TestServer::start().await;
    let id = grant(&server, 0, 60).await.id;
    put_with_lease(&server, "a", id).await;
    put_with_lease(&server, "b", id).await;
    let left = time_to_live(&server, id).await;
    assert_eq!(left.keys, ["a", "b"]);
    assert_eq!(left.granted_ttl, 60);
    assert!((0..=60).contains(&left.ttl), "{left:?}");
    server.lease().lease_revoke(pb::LeaseRevokeRequest { id }).await.unwrap();
    assert_eq!(server.get("a").await, None);
    let again = server.lease().lease_revoke(pb::LeaseRevokeRequest { id }).await;
    refused(again, Code::NotFound, "etcdserver: requested lease not found");
    let gone = time_to_live(&server, id).await;
    assert_eq!((gone.id, gone.ttl, gone.granted_ttl), (id, -1, 0));
}

#[tokio::test]
async fn a_lease_that_nobody_renews_ends() {
    let server = TestServer::start().await;
    let id = grant(&server, 0, 1).await.id;
    put_with_lease(&server, "a", id).await;
    eventually(async || server.get("a").await.is_none()).await;
    assert_eq!(time_to_live(&server, id).await.ttl, -1);
}

#[tokio::test]
async fn a_lease_ages_though_nothing_is_written() {
    let server = TestServer::start().await;
    let id = grant(&server, 0, 100).await.id;
    eventually(async || time_to_live(&server, id).await.ttl < 98).await;
}

#[tokio::test]
async fn leases_are_listed_in_the_order_in_which_they_end() {
    let server = TestServer::start().await;
    for (id, ttl) in [(1, 500), (2, 100), (3, 300)] {
        grant(&server, id, ttl).await;
    }
    let list = server.lease().lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
    assert_eq!(list.leases.iter().map(|lease| lease.id).collect::<Vec<_>>(), [2, 3, 1]);
}

#[tokio::test]
async fn many_renewals_are_answered_in_order_and_cost_few_entries() {
    let server = TestServer::start().await;
    let count = 300;
    for id in 1..=count {
        grant(&server, id, 60 + id).await;
    }
    let before = server.server.handle().published().await.expect("it runs").applied.index.0;
    // Every other lease exists; the first comes twice.
    let asked: Vec<i64> = std::iter::once(1).chain((1..=count).flat_map(|id| [id, id + 100_000])).collect();
    let requests = tokio_stream::iter(asked.clone().into_iter().map(|id| pb::LeaseKeepAliveRequest { id }));
    let answers = server.lease().lease_keep_alive(requests).await.unwrap().into_inner();
    let answers: Vec<_> =
        answers.map(|answer| answer.map(|answer| (answer.id, answer.ttl)).unwrap()).collect().await;
    let expected: Vec<_> = asked.iter().map(|id| (*id, if *id <= count { 60 + *id } else { 0 })).collect();
    assert_eq!(answers, expected);
    let entries = server.server.handle().published().await.expect("it runs").applied.index.0 - before;
    assert!(entries < 60, "{entries} entries for {} renewals", asked.len());
}

#[tokio::test]
async fn a_key_leaves_its_lease_when_it_is_put_without() {
    let server = TestServer::start().await;
    let id = grant(&server, 0, 60).await.id;
    put_with_lease(&server, "a", id).await;
    let request = pb::PutRequest { ignore_lease: true, ..put_request("a", "2") };
    server.kv().put(request).await.unwrap();
    assert_eq!(time_to_live(&server, id).await.keys, ["a"]);
    let lease_of_key = async || {
        let range = pb::RangeRequest { key: bytes("a"), ..Default::default() };
        server.kv().range(range).await.unwrap().into_inner().kvs[0].lease
    };
    assert_eq!(lease_of_key().await, id);
    server.put("a", "3").await;
    assert!(time_to_live(&server, id).await.keys.is_empty());
    server.lease().lease_revoke(pb::LeaseRevokeRequest { id }).await.unwrap();
    assert_eq!(lease_of_key().await, 0);
}
