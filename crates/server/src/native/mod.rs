//! The native protocol: one stream for each client, many requests under way, answers gathered into frames.
//! docs/PROTOCOL.md describes it for those who speak it.
//!
//! A stream has two halves. [`intake`] reads frames, hands writes to the node in batches and has reads evaluated;
//! [`outlet`] gathers what is answered. Between them is the window: a frame is read only when there is room for what it
//! may take in memory, so a client that sends more, or does not read its answers, waits.

pub(crate) mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod intake;
mod outlet;
mod window;

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use ruvector_api::ruvector::v1 as pb;
use ruvector_api::ruvector::v1::native_server::Native;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use crate::metrics::Metrics;
use crate::service::caller::Caller;
use window::Broken;

/// How many times answers to reads may be handed over and not yet sent. Then no more are evaluated: what is ready leaves
/// first, so that the client goes on while the rest is read.
const READS_WAITING_MAX: usize = 2;

/// The native service.
pub(crate) struct NativeService {
    pub(crate) caller: Caller,
    pub(crate) metrics: Arc<Metrics>,
}

#[tonic::async_trait]
impl Native for NativeService {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<pb::ServerFrame, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<pb::ClientFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (applied_sender, applied) = mpsc::unbounded_channel();
        let (ready_sender, ready) = mpsc::channel(READS_WAITING_MAX);
        let broken = Broken::default();
        let intake = intake::Intake::new(self.caller.clone(), applied_sender, ready_sender, broken.clone());
        tokio::spawn(intake.run(request.into_inner()));
        let outlet = outlet::Outlet::new(&self.caller, &self.metrics, applied, ready, broken);
        Ok(Response::new(Box::pin(outlet)))
    }
}
