//! The Maintenance service: how this member does.

use std::sync::Arc;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::alarm_request::AlarmAction;
use ruvector_api::etcdserverpb::maintenance_server::Maintenance;
use tonic::{Request, Response, Status};

use super::error::{EtcdError, node_status};
use super::leader;
use crate::context::Context;
use crate::metrics::Method;

/// The version of etcd whose interface this server has. Clients choose by it what they ask; for instance
/// Kubernetes asks for progress of watches only from versions that answer it rightly.
pub(crate) const ETCD_VERSION: &str = "3.5.21";
/// The version that etcd's clusters of that version agree on.
pub(crate) const ETCD_CLUSTER_VERSION: &str = "3.5.0";

/// The Maintenance service.
pub(crate) struct MaintenanceService(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        self.0.metrics.handled(Method::Alarm, self.alarms(&request).await)
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.0.metrics.handled(Method::Status, self.member_status(&request).await)
    }
}

impl MaintenanceService {
    /// Nothing raises an alarm yet, so there is none to list or to end; raising one by hand is not offered.
    async fn alarms(
        &self,
        request: &Request<pb::AlarmRequest>,
    ) -> Result<Response<pb::AlarmResponse>, Status> {
        leader::require(request.metadata(), &self.0.handle)?;
        if request.get_ref().action == AlarmAction::Activate as i32 {
            return Err(Status::unimplemented("alarms can't be raised by hand"));
        }
        let header = Some(self.0.header(self.0.version(true).await?.view.revision()));
        Ok(Response::new(pb::AlarmResponse { header, alarms: Vec::new() }))
    }

    async fn member_status(
        &self,
        request: &Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        leader::require(request.metadata(), &self.0.handle)?;
        let status = self.0.handle.group_status().await.map_err(node_status)?;
        let view = &self.0.version(true).await?.view;
        let bytes = i64::try_from(view.size_bytes()).unwrap_or(i64::MAX);
        let no_leader = || EtcdError::NoLeader.text().to_owned();
        Ok(Response::new(pb::StatusResponse {
            header: Some(self.0.header(view.revision())),
            version: ETCD_VERSION.to_owned(),
            db_size: bytes,
            leader: status.leader_id().map_or(0, |leader| leader.0),
            raft_index: status.commit_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors: if status.leader.is_none() { vec![no_leader()] } else { Vec::new() },
            db_size_in_use: bytes,
            is_learner: false,
        }))
    }
}
