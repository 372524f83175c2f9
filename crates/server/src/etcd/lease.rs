//! The Lease service.

use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt};
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::lease_server::Lease;
use ruvector_node::state_machine::kv::LeaseId;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::error::{request_status, status};
use super::header::header;
use crate::leader;
use crate::metrics::{Method, Metrics};
use crate::service::caller::Caller;
use crate::service::error::ServiceError;
use crate::service::leases::Granted;

/// How many renewals of one stream may be on their way; they are answered in order.
const RENEWALS_IN_FLIGHT: usize = 1_024;

/// The Lease service.
pub(crate) struct LeaseService {
    pub(crate) caller: Caller,
    pub(crate) metrics: Arc<Metrics>,
}

#[tonic::async_trait]
impl Lease for LeaseService {
    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send + 'static>>;

    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let answer = self.grant(request.into_inner()).await;
        self.metrics.handled(Method::LeaseGrant, answer.map_err(status))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let answer = self.revoke(request.get_ref()).await;
        self.metrics.handled(Method::LeaseRevoke, answer.map_err(status))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (metadata, _, requests) = request.into_parts();
        self.metrics.opened(Method::LeaseKeepAlive, Ok(self.keep_alive(&metadata, requests)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let answer = self.time_to_live(request.get_ref()).await;
        self.metrics.handled(Method::LeaseTimeToLive, answer.map_err(status))
    }

    async fn lease_leases(
        &self,
        _: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        self.metrics.handled(Method::LeaseLeases, self.leases().await.map_err(status))
    }
}

impl LeaseService {
    async fn grant(
        &self,
        request: pb::LeaseGrantRequest,
    ) -> Result<Response<pb::LeaseGrantResponse>, ServiceError> {
        let id = (request.id != 0).then_some(LeaseId(request.id));
        let Granted { id, ttl_seconds, revision } = self.caller.grant(id, request.ttl).await?;
        Ok(Response::new(pb::LeaseGrantResponse {
            header: Some(header(&self.caller, revision)),
            id: id.0,
            ttl: ttl_seconds,
            error: String::new(),
        }))
    }

    async fn revoke(
        &self,
        request: &pb::LeaseRevokeRequest,
    ) -> Result<Response<pb::LeaseRevokeResponse>, ServiceError> {
        let revision = self.caller.revoke(LeaseId(request.id)).await?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: Some(header(&self.caller, revision)) }))
    }

    fn keep_alive(
        &self,
        metadata: &MetadataMap,
        requests: Streaming<pb::LeaseKeepAliveRequest>,
    ) -> Response<<Self as Lease>::LeaseKeepAliveStream> {
        let caller = Arc::new(self.caller.clone());
        let lost = leader::is_required(metadata.as_ref()).then(|| caller.leader_lost());
        // An error takes its turn: what came before is answered first.
        let answers =
            requests.map(move |request| renew(Arc::clone(&caller), request)).buffered(RENEWALS_IN_FLIGHT);
        let Some(lost) = lost else { return Response::new(Box::pin(answers)) };
        let lost = Box::pin(async move { Err(status(lost.await)) });
        // The second stream outlives the first only by its end, so the first one's end is the end.
        let ended = stream::once(async { None });
        let answers = answers.map(Some).chain(ended);
        let answers = stream::select(answers, stream::once(lost).map(Some));
        let answers = answers.take_while(|answer| std::future::ready(answer.is_some()));
        Response::new(Box::pin(answers.filter_map(std::future::ready)))
    }

    async fn time_to_live(
        &self,
        request: &pb::LeaseTimeToLiveRequest,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, ServiceError> {
        let (revision, found) = self.caller.lease(LeaseId(request.id)).await?;
        let header = Some(header(&self.caller, revision));
        Ok(Response::new(match found {
            // As in etcd: not an error, but a time to live below zero.
            None => pb::LeaseTimeToLiveResponse { header, id: request.id, ttl: -1, ..Default::default() },
            Some(lease) => pb::LeaseTimeToLiveResponse {
                header,
                id: request.id,
                ttl: lease.left_seconds,
                granted_ttl: lease.granted_ttl_seconds,
                keys: if request.keys { lease.keys } else { Vec::new() },
            },
        }))
    }

    /// As in etcd, what this node knows: without a quorum, too.
    async fn leases(&self) -> Result<Response<pb::LeaseLeasesResponse>, ServiceError> {
        let (revision, ids) = self.caller.leases().await?;
        let leases = ids.into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect();
        let header = Some(header(&self.caller, revision));
        Ok(Response::new(pb::LeaseLeasesResponse { header, leases }))
    }
}

async fn renew(
    caller: Arc<Caller>,
    request: Result<pb::LeaseKeepAliveRequest, Status>,
) -> Result<pb::LeaseKeepAliveResponse, Status> {
    let id = request.map_err(request_status)?.id;
    // As in etcd: a lease that does not exist has no time to live, which is not an error.
    let renewed = caller.renew(LeaseId(id)).await.map_err(status)?;
    let header = Some(header(&caller, renewed.revision));
    Ok(pb::LeaseKeepAliveResponse { header, id, ttl: renewed.seconds.unwrap_or(0) })
}
