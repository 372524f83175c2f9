//! The Cluster service: who the members are.

use std::sync::Arc;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::cluster_server::Cluster;
use ruvector_node::Member;
use tonic::{Request, Response, Status};

use super::leader;
use crate::context::Context;
use crate::metrics::Method;

/// The Cluster service.
pub(crate) struct ClusterService(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.0.metrics.handled(Method::MemberList, self.members(&request).await)
    }
}

impl ClusterService {
    async fn members(
        &self,
        request: &Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        leader::require(request.metadata(), &self.0.handle)?;
        // Members don't change yet, but a client that asks for a linearizable answer also asks whether there
        // is a quorum.
        self.0.version(!request.get_ref().linearizable).await?;
        // As in etcd, the header of this answer has no revision.
        let header = pb::ResponseHeader { revision: 0, ..self.0.header(Default::default()) };
        let members = self.0.members().into_iter().map(member).collect();
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
