//! Leases and members, with every field of what is asked and answered.
#![allow(clippy::unwrap_used)]

use std::pin::Pin;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::cluster_server::{Cluster, ClusterServer};
use ruvector_api::etcdserverpb::lease_server::{Lease, LeaseServer};
use ruvector_client::{Client, ClientError, ClientOptions, LeaseId, LeaseTimeToLive, Member};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

/// Knows one lease, of number 7, and what it must be asked.
#[derive(Clone)]
struct Leases;

const KNOWN: i64 = 7;
const UNKNOWN: LeaseId = LeaseId(8);

#[tonic::async_trait]
impl Lease for Leases {
    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let request = request.into_inner();
        assert_eq!((request.id, request.ttl), (0, 1));
        // As a server that lengthens what is too short.
        Ok(Response::new(pb::LeaseGrantResponse { id: KNOWN, ttl: 2, ..Default::default() }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        match request.into_inner().id {
            KNOWN => Ok(Response::new(pb::LeaseRevokeResponse::default())),
            _ => Err(Status::not_found("etcdserver: requested lease not found")),
        }
    }

    async fn lease_keep_alive(
        &self,
        requests: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let answers = requests.into_inner().map(|request| {
            let id = request?.id;
            Ok(pb::LeaseKeepAliveResponse { id, ttl: if id == KNOWN { 30 } else { 0 }, ..Default::default() })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let request = request.into_inner();
        assert!(request.keys);
        let (ttl, granted_ttl) = if request.id == KNOWN { (0, 30) } else { (-1, 0) };
        let keys = vec!["a".into(), "b".into()];
        Ok(Response::new(pb::LeaseTimeToLiveResponse {
            id: request.id,
            ttl,
            granted_ttl,
            keys,
            header: None,
        }))
    }

    async fn lease_leases(
        &self,
        _: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let leases = [KNOWN, 9].map(|id| pb::LeaseStatus { id }).to_vec();
        Ok(Response::new(pb::LeaseLeasesResponse { leases, header: None }))
    }
}

#[tonic::async_trait]
impl Cluster for Leases {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        assert!(!request.into_inner().linearizable);
        let member = pb::Member {
            id: 1,
            name: "node-1".to_owned(),
            peer_ur_ls: vec!["http://p:1".to_owned()],
            client_ur_ls: vec!["http://c:2".to_owned()],
            is_learner: false,
        };
        Ok(Response::new(pb::MemberListResponse { members: vec![member], header: None }))
    }
}

async fn client() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tonic::transport::Server::builder()
        .add_service(LeaseServer::new(Leases))
        .add_service(ClusterServer::new(Leases));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Client::new([address], ClientOptions::default()).unwrap()
}

#[tokio::test]
async fn a_lease_is_granted_renewed_looked_at_and_ended() {
    let client = client().await;
    let lease = client.grant_lease(1).await.unwrap();
    assert_eq!((lease.id, lease.ttl_seconds), (LeaseId(KNOWN), 2));
    assert_eq!(lease.id.to_string(), "0000000000000007");
    let renewed = client.keep_lease_alive(lease.id).await.unwrap();
    assert_eq!((renewed.id, renewed.ttl_seconds), (lease.id, 30));
    let left = client.lease_time_to_live(lease.id).await.unwrap();
    let keys = vec!["a".into(), "b".into()];
    // In its last second it still lives.
    assert_eq!(left, LeaseTimeToLive { id: lease.id, ttl_seconds: 0, granted_ttl_seconds: 30, keys });
    assert_eq!(client.leases().await.unwrap(), [LeaseId(KNOWN), LeaseId(9)]);
    client.revoke_lease(lease.id).await.unwrap();
}

#[tokio::test]
async fn a_lease_that_does_not_exist_is_refused_by_every_call() {
    let client = client().await;
    for refused in [
        client.keep_lease_alive(UNKNOWN).await.map(drop),
        client.lease_time_to_live(UNKNOWN).await.map(drop),
        client.revoke_lease(UNKNOWN).await,
    ] {
        assert!(matches!(refused, Err(ClientError::Refused { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn members_are_told_with_all_their_fields() {
    let expected = Member {
        id: 1,
        name: "node-1".to_owned(),
        peer_urls: vec!["http://p:1".to_owned()],
        client_urls: vec!["http://c:2".to_owned()],
    };
    assert_eq!(client().await.members().await.unwrap(), [expected]);
}
