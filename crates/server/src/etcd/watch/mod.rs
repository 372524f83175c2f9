//! The Watch service.
//!
//! What is told of whom is the [service's affair](crate::service::watch). Here a stream's requests come in
//! ([`session`]), and what it is told becomes answers ([`answer`]), whose events are encoded once for everybody
//! ([`event`]).

mod answer;
mod event;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod session;

use std::future::{Ready, ready};
use std::sync::Arc;

use axum::http;
use futures::stream;
use ruvector_api::etcdserverpb as pb;
use tonic::body::Body;
use tonic::server::StreamingService;
use tonic::{Request, Response, Status, Streaming};

use crate::held::Received;
use crate::leader;
use crate::metrics::{Method, Metrics};
use crate::service::caller::Caller;
use answer::{Answer, Answers, WatchCodec};
use session::Session;

/// The path of the only method.
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// The Watch service. It is registered by hand, not through the generated server, because its answers are put together
/// from what is encoded already.
#[derive(Clone)]
pub(crate) struct WatchService {
    pub(crate) caller: Caller,
    pub(crate) metrics: Arc<Metrics>,
}

impl StreamingService<pb::WatchRequest> for WatchService {
    type Response = Answer;
    type ResponseStream = Answers;
    type Future = Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<pb::WatchRequest>>) -> Self::Future {
        ready(self.watch(request))
    }
}

impl WatchService {
    /// Answers a call of the service.
    pub(crate) async fn call(self, request: http::Request<Received>) -> http::Response<Body> {
        if request.uri().path() != WATCH {
            return Status::unimplemented("").into_http();
        }
        let bytes_max = self.caller.limits.message_bytes();
        let mut grpc =
            tonic::server::Grpc::new(WatchCodec).apply_max_message_size_config(Some(bytes_max), None);
        grpc.streaming(self, request).await
    }

    fn watch(&self, request: Request<Streaming<pb::WatchRequest>>) -> Result<Response<Answers>, Status> {
        let (metadata, _, requests) = request.into_parts();
        let is_leader_required = leader::is_required(metadata.as_ref());
        let session = Session::new(self.caller.clone(), requests, is_leader_required);
        let answers = stream::try_unfold(Box::new(session), |mut session| async move {
            let answer = session.next().await?;
            Ok(Some((answer, session)))
        });
        self.metrics.opened(Method::Watch, Ok(Response::new(Box::pin(answers) as Answers)))
    }
}
