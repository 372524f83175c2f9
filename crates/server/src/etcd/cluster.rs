//! The Cluster service: who the members are.

use std::sync::Arc;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::cluster_server::Cluster;
use ruvector_node::Member;
use tonic::{Request, Response, Status};

use super::error::status;
use super::header::header;
use crate::metrics::{Method, Metrics};
use crate::service::caller::Caller;
use crate::service::error::ServiceError;

/// The Cluster service.
pub(crate) struct ClusterService {
    pub(crate) caller: Caller,
    pub(crate) metrics: Arc<Metrics>,
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        let answer = self.members(request.get_ref()).await;
        self.metrics.handled(Method::MemberList, answer.map_err(status))
    }
}

impl ClusterService {
    async fn members(
        &self,
        request: &pb::MemberListRequest,
    ) -> Result<Response<pb::MemberListResponse>, ServiceError> {
        let members = self.caller.cluster_members(!request.linearizable).await?;
        // As in etcd, the header of this answer has no revision.
        let header = pb::ResponseHeader { revision: 0, ..header(&self.caller, Default::default()) };
        let members = members.into_iter().map(member).collect();
        Ok(Response::new(pb::MemberListResponse { header: Some(header), members }))
    }
}

fn member(member: Member) -> pb::Member {
    let url = |address: String| format!("http://{address}");
    pb::Member {
        id: member.id.0,
        name: member.name,
        peer_ur_ls: vec![url(member.peer_address)],
        client_ur_ls: member.client_address.into_iter().filter(|known| !known.is_empty()).map(url).collect(),
        is_learner: false,
    }
}
