//! The Auth service, as far as it is needed while there are no users.

use std::sync::Arc;

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::auth_server::Auth;
use tonic::{Request, Response, Status};

use super::error::EtcdError;
use crate::metrics::{Method, Metrics};

/// The Auth service.
pub(crate) struct AuthService(pub(crate) Arc<Metrics>);

#[tonic::async_trait]
impl Auth for AuthService {
    /// Clients that were given a user's name ask first of all, and go on without one when they are told this.
    async fn authenticate(
        &self,
        _: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        self.0.handled(Method::Authenticate, Err(EtcdError::AuthNotEnabled.into()))
    }
}
