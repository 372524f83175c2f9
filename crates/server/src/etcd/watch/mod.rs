//! The Watch service.
//!
//! The [`hub`] reads every change once, as it is published, and marks the streams that have a watch on its
//! key; [`session`] is one stream. A stream that is marked matches the changes against its own watches and answers.
//! It finds the latest ones in the hub's [`window`], where all streams share them, encoded once for everybody
//! ([`change`], [`answer`]); behind that, it reads the store's history. So a watch costs nothing while nothing happens
//! to its keys, and a stream whose client reads slowly holds one batch and a position, not a queue.

mod answer;
mod batch;
mod change;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub(crate) mod hub;
mod index;
mod range;
mod session;
mod watcher;
mod window;

use std::future::{Ready, ready};

use axum::http;
use futures::stream;
use ruvector_api::etcdserverpb as pb;
use tonic::body::Body;
use tonic::server::StreamingService;
use tonic::{Request, Response, Status, Streaming};

use super::leader;
use crate::context::Client;
use crate::held::Received;
use crate::metrics::Method;
use answer::{Answer, Answers, WatchCodec};
use session::Session;

/// The path of the only method.
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// The Watch service. It is registered by hand, not through the generated server, because its answers are put together
/// from what is encoded already.
#[derive(Clone)]
pub(crate) struct WatchService(pub(crate) Client);

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
        let bytes_max = self.0.limits.message_bytes();
        let mut grpc =
            tonic::server::Grpc::new(WatchCodec).apply_max_message_size_config(Some(bytes_max), None);
        grpc.streaming(self, request).await
    }

    fn watch(&self, request: Request<Streaming<pb::WatchRequest>>) -> Result<Response<Answers>, Status> {
        let (metadata, _, requests) = request.into_parts();
        let opened = leader::require(&metadata, &self.0.handle).map_err(Status::from).map(|()| {
            let session = Session::new(self.0.clone(), requests, leader::is_required(&metadata));
            let answers = stream::try_unfold(Box::new(session), |mut session| async move {
                let answer = session.next().await?;
                Ok(Some((answer, session)))
            });
            Response::new(Box::pin(answers) as Answers)
        });
        self.0.metrics.opened(Method::Watch, opened)
    }
}
