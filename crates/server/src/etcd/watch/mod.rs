//! The Watch service.
//!
//! The [`hub`] reads every change once, as it is published, and marks the streams that have a watch on its
//! key. A stream that is marked reads the changes from the store's history, matches them against its own
//! watches and answers; [`session`] is one stream. So a watch costs nothing while nothing happens to its keys, no
//! change is copied into a queue, and a stream whose client reads slowly holds one batch and a position.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hub;
mod index;
mod range;
mod session;
mod watcher;

use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{self, Stream};
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::watch_server::Watch;
use tonic::{Request, Response, Status, Streaming};

use super::leader;
use crate::context::Context;
use crate::metrics::Method;
pub(crate) use hub::WatchHub;
use session::Session;

/// The Watch service.
pub(crate) struct WatchService(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send + 'static>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (metadata, _, requests) = request.into_parts();
        let opened = leader::require(&metadata, &self.0.handle).map_err(Status::from).map(|()| {
            let session = Session::new(Arc::clone(&self.0), requests, leader::is_required(&metadata));
            let answers = stream::unfold(Box::new(session), |mut session| async move {
                session.next().await.map(|answer| (answer, session))
            });
            Response::new(Box::pin(answers) as Self::WatchStream)
        });
        self.0.metrics.handled(Method::Watch, opened)
    }
}
