//! Leases: keys that end unless somebody renews them.

use crate::group::Channel;
use bytes::Bytes;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::lease_client::LeaseClient;
use tonic::{Response, Status};

use crate::client::Client;
use crate::connection::service;
use crate::error::ClientError;
use crate::keys::LeaseId;
use crate::verdict::Effect;

/// A lease that was granted or renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its number.
    pub id: LeaseId,
    /// How long it lasts without renewal, in seconds.
    pub ttl_seconds: i64,
}

/// What is left of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseTimeToLive {
    /// Its number.
    pub id: LeaseId,
    /// What is left, in seconds.
    pub ttl_seconds: i64,
    /// What every renewal restores, in seconds.
    pub granted_ttl_seconds: i64,
    /// The keys that end with it.
    pub keys: Vec<Bytes>,
}

impl Client {
    /// Grants a lease, of a number that the server chooses.
    ///
    /// # Errors
    /// Any [`ClientError`]; after [`ClientError::OutcomeUnknown`] a lease may exist, which then ends by itself.
    pub async fn grant_lease(&self, ttl_seconds: i64) -> Result<Lease, ClientError> {
        let request = pb::LeaseGrantRequest { ttl: ttl_seconds, id: 0 };
        let response = self
            .call(Effect::Write, |channel| async move { leases(channel).lease_grant(request).await })
            .await?;
        Ok(Lease { id: LeaseId(response.id), ttl_seconds: response.ttl })
    }

    /// Ends a lease and deletes its keys.
    ///
    /// # Errors
    /// Any [`ClientError`]; [`ClientError::Refused`] if there is no such lease.
    pub async fn revoke_lease(&self, lease: LeaseId) -> Result<(), ClientError> {
        let request = pb::LeaseRevokeRequest { id: lease.0 };
        self.call(Effect::Write, |channel| async move { leases(channel).lease_revoke(request).await })
            .await?;
        Ok(())
    }

    /// Renews a lease once. Renewing twice does no harm, so this is repeated like a read.
    ///
    /// # Errors
    /// Any [`ClientError`] but [`ClientError::OutcomeUnknown`]; [`ClientError::Refused`] if there is no such lease.
    pub async fn keep_lease_alive(&self, lease: LeaseId) -> Result<Lease, ClientError> {
        let request = pb::LeaseKeepAliveRequest { id: lease.0 };
        let response = self.call(Effect::Read, |channel| renew_once(channel, request)).await?;
        // etcd says in this way that it does not know the lease.
        if response.ttl <= 0 {
            return Err(no_such_lease(lease));
        }
        Ok(Lease { id: lease, ttl_seconds: response.ttl })
    }

    /// What is left of a lease, and its keys.
    ///
    /// # Errors
    /// Any [`ClientError`] but [`ClientError::OutcomeUnknown`]; [`ClientError::Refused`] if there is no such lease.
    pub async fn lease_time_to_live(&self, lease: LeaseId) -> Result<LeaseTimeToLive, ClientError> {
        let request = pb::LeaseTimeToLiveRequest { id: lease.0, keys: true };
        let response = self
            .call(Effect::Read, |channel| async move { leases(channel).lease_time_to_live(request).await })
            .await?;
        if response.ttl < 0 {
            return Err(no_such_lease(lease));
        }
        Ok(LeaseTimeToLive {
            id: lease,
            ttl_seconds: response.ttl,
            granted_ttl_seconds: response.granted_ttl,
            keys: response.keys,
        })
    }

    /// The leases there are.
    ///
    /// # Errors
    /// Any [`ClientError`] but [`ClientError::OutcomeUnknown`].
    pub async fn leases(&self) -> Result<Vec<LeaseId>, ClientError> {
        let request = pb::LeaseLeasesRequest {};
        let response = self
            .call(Effect::Read, |channel| async move { leases(channel).lease_leases(request).await })
            .await?;
        Ok(response.leases.into_iter().map(|lease| LeaseId(lease.id)).collect())
    }
}

/// etcd renews by a stream; one request and its answer are enough here.
async fn renew_once(
    channel: Channel,
    request: pb::LeaseKeepAliveRequest,
) -> Result<Response<pb::LeaseKeepAliveResponse>, Status> {
    let (requests, receiver) = tokio::sync::mpsc::channel(1);
    // There is room for one, and the receiver is held here.
    let _ = requests.send(request).await;
    let mut answers = leases(channel)
        .lease_keep_alive(tokio_stream::wrappers::ReceiverStream::new(receiver))
        .await?
        .into_inner();
    let answer = answers.message().await?;
    answer.map(Response::new).ok_or_else(|| Status::unavailable("the stream ended without an answer"))
}

fn no_such_lease(lease: LeaseId) -> ClientError {
    ClientError::Refused { reason: format!("lease {lease} does not exist or has ended") }
}

fn leases(channel: Channel) -> LeaseClient<Channel> {
    service!(LeaseClient<Channel>, channel)
}
