//! The Maintenance service: how this member does.

use std::sync::Arc;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::alarm_request::AlarmAction;
use ruvector_api::etcdserverpb::maintenance_server::Maintenance;
use tonic::{Request, Response, Status};

use super::error::{EtcdError, status};
use super::header::header;
use crate::etcd_version::ETCD_VERSION;
use crate::metrics::{Method, Metrics};
use crate::service::caller::Caller;
use crate::service::error::ServiceError;

/// The Maintenance service.
pub(crate) struct MaintenanceService {
    pub(crate) caller: Caller,
    pub(crate) metrics: Arc<Metrics>,
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        self.metrics.handled(Method::Alarm, self.alarms(request.get_ref()).await)
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        self.metrics.handled(Method::Status, self.member_status().await.map_err(status))
    }
}

impl MaintenanceService {
    /// Nothing raises an alarm yet, so there is none to list or to end; raising one by hand is not offered.
    async fn alarms(&self, request: &pb::AlarmRequest) -> Result<Response<pb::AlarmResponse>, Status> {
        if request.action == AlarmAction::Activate as i32 {
            return Err(Status::unimplemented("alarms can't be raised by hand"));
        }
        let version = self.caller.version(true).await.map_err(status)?;
        let header = Some(header(&self.caller, version.view.revision()));
        Ok(Response::new(pb::AlarmResponse { header, alarms: Vec::new() }))
    }

    async fn member_status(&self) -> Result<Response<pb::StatusResponse>, ServiceError> {
        let status = self.caller.group_status().await?;
        let view = &self.caller.version(true).await?.view;
        let bytes = i64::try_from(view.size_bytes()).unwrap_or(i64::MAX);
        let no_leader = || EtcdError::NoLeader.text().to_owned();
        Ok(Response::new(pb::StatusResponse {
            header: Some(header(&self.caller, view.revision())),
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
