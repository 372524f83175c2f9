//! The Lease service.

use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt};
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::lease_server::Lease;
use ruvector_node::state_machine::kv::{Command, LEASE_TTL_SECONDS_MAX, LeaseId, Outcome};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::error::{EtcdError, mismatched, node_status, request_status};
use super::leader;
use crate::context::{Client, Context};
use crate::metrics::Method;

/// A shorter one is made this long: a lease must outlive an election. (etcd's minimum is one and a half
/// election timeouts, too, in whole seconds.)
const TTL_SECONDS_MIN: i64 = 1;
/// How many renewals of one stream may be on their way; they are answered in order.
const RENEWALS_IN_FLIGHT: usize = 1_024;

/// The Lease service.
pub(crate) struct LeaseService(pub(crate) Client);

#[tonic::async_trait]
impl Lease for LeaseService {
    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send + 'static>>;

    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.0.metrics.handled(Method::LeaseGrant, self.grant(&metadata, request).await)
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.0.metrics.handled(Method::LeaseRevoke, self.revoke(&metadata, request).await)
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (metadata, _, requests) = request.into_parts();
        self.0.metrics.opened(Method::LeaseKeepAlive, self.keep_alive(&metadata, requests))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.0.metrics.handled(Method::LeaseTimeToLive, self.time_to_live(&metadata, &request).await)
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        self.0.metrics.handled(Method::LeaseLeases, self.leases(request.metadata()).await)
    }
}

impl LeaseService {
    async fn grant(
        &self,
        metadata: &MetadataMap,
        request: pb::LeaseGrantRequest,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        leader::require(metadata, &self.0.handle)?;
        let ttl_seconds = asked_ttl_seconds(&request)?;
        let id = if request.id == 0 { self.unused_id().await? } else { LeaseId(request.id) };
        match self.0.propose(Command::LeaseGrant { id, ttl_seconds }).await? {
            (header, Outcome::LeaseGrant { ttl_seconds }) => Ok(Response::new(pb::LeaseGrantResponse {
                header: Some(header),
                id: id.0,
                ttl: ttl_seconds,
                error: String::new(),
            })),
            (_, other) => Err(mismatched("grant of a lease", &other)),
        }
    }

    /// A random positive id. Should two nodes draw the same at once, the second grant is refused.
    async fn unused_id(&self) -> Result<LeaseId, Status> {
        let version = self.0.version(true).await?;
        loop {
            let id = LeaseId(rand::random_range(1..=i64::MAX));
            if version.view.lease(id).is_none() {
                return Ok(id);
            }
        }
    }

    async fn revoke(
        &self,
        metadata: &MetadataMap,
        request: pb::LeaseRevokeRequest,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        leader::require(metadata, &self.0.handle)?;
        match self.0.propose(Command::LeaseRevoke { id: LeaseId(request.id) }).await? {
            (header, Outcome::LeaseRevoke) => {
                Ok(Response::new(pb::LeaseRevokeResponse { header: Some(header) }))
            }
            (_, other) => Err(mismatched("revocation of a lease", &other)),
        }
    }

    fn keep_alive(
        &self,
        metadata: &MetadataMap,
        requests: Streaming<pb::LeaseKeepAliveRequest>,
    ) -> Result<Response<<Self as Lease>::LeaseKeepAliveStream>, Status> {
        leader::require(metadata, &self.0.handle)?;
        let context = Arc::clone(&self.0.context);
        // An error takes its turn: what came before is answered first.
        let answers =
            requests.map(move |request| renew(Arc::clone(&context), request)).buffered(RENEWALS_IN_FLIGHT);
        if !leader::is_required(metadata) {
            return Ok(Response::new(Box::pin(answers)));
        }
        let lost = leader::lost(self.0.handle.clone(), self.0.election_timeout);
        let lost = Box::pin(async move {
            lost.await;
            Err(EtcdError::NoLeader.into())
        });
        // The second stream outlives the first only by its end, so the first one's end is the end.
        let ended = stream::once(async { None });
        let answers = answers.map(Some).chain(ended);
        let answers = stream::select(answers, stream::once(lost).map(Some));
        let answers = answers.take_while(|answer| std::future::ready(answer.is_some()));
        Ok(Response::new(Box::pin(answers.filter_map(std::future::ready))))
    }

    async fn time_to_live(
        &self,
        metadata: &MetadataMap,
        request: &pb::LeaseTimeToLiveRequest,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        leader::require(metadata, &self.0.handle)?;
        let version = self.0.version(false).await?;
        let header = Some(self.0.header(version.view.revision()));
        let response = match version.view.lease(LeaseId(request.id)) {
            // As in etcd: not an error, but a time to live below zero.
            None => pb::LeaseTimeToLiveResponse { header, id: request.id, ttl: -1, ..Default::default() },
            Some(lease) => {
                let cluster_time = self.0.handle.cluster_time().await.map_err(node_status)?;
                let now_ms = version.view.time_ms().max(cluster_time.0);
                let left_ms = lease.expires_at_ms.saturating_sub(now_ms);
                pb::LeaseTimeToLiveResponse {
                    header,
                    id: request.id,
                    ttl: i64::try_from(left_ms / 1_000).unwrap_or(i64::MAX),
                    granted_ttl: lease.granted_ttl_seconds,
                    keys: if request.keys { lease.keys } else { Vec::new() },
                }
            }
        };
        Ok(Response::new(response))
    }

    async fn leases(&self, metadata: &MetadataMap) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        leader::require(metadata, &self.0.handle)?;
        // As in etcd, what this node knows: without a quorum, too.
        let version = self.0.version(true).await?;
        let leases = version.view.leases().into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect();
        let header = Some(self.0.header(version.view.revision()));
        Ok(Response::new(pb::LeaseLeasesResponse { header, leases }))
    }
}

pub(crate) fn asked_ttl_seconds(request: &pb::LeaseGrantRequest) -> Result<i64, Status> {
    if request.ttl > LEASE_TTL_SECONDS_MAX {
        return Err(EtcdError::LeaseTtlTooLarge.into());
    }
    Ok(request.ttl.max(TTL_SECONDS_MIN))
}

async fn renew(
    context: Arc<Context>,
    request: Result<pb::LeaseKeepAliveRequest, Status>,
) -> Result<pb::LeaseKeepAliveResponse, Status> {
    let id = request.map_err(request_status)?.id;
    // As in etcd: a lease that does not exist has no time to live, which is not an error.
    let renewed = context.renewals.renew(LeaseId(id)).await?;
    let header = Some(context.header(renewed.revision));
    Ok(pb::LeaseKeepAliveResponse { header, id, ttl: renewed.seconds.unwrap_or(0) })
}
