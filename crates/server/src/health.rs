//! How the node does, for probes: told over HTTP ([`http`](crate::http)) and by gRPC's health service, here.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream;
use ruvector_api::health::v1::health_check_response::ServingStatus;
use ruvector_api::health::v1::health_server::Health;
use ruvector_api::health::v1::{HealthCheckRequest, HealthCheckResponse};
use ruvector_node::{NodeError, ReadLevel};
use tonic::{Request, Response, Status};

use crate::groups::Groups;
use crate::metrics::Method;
use crate::service::context::Context;

/// Probes usually wait a second, and take no answer for worse than any.
const PATIENCE: Duration = Duration::from_millis(700);
/// How often a stream looks whether there is something new to tell.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// The names under which a probe asks whether the node is alive, or ready, as on the paths of HTTP.
const LIVE: &str = "livez";
const READY: &str = "readyz";

/// Whether a linearizable read succeeds.
pub(crate) async fn ready(context: &Context) -> Result<(), String> {
    soon(context, context.handle.read(ReadLevel::Strong)).await.map(drop)
}

/// The same, and that this node sees in none of its groups replicas that contradict each other.
pub(crate) async fn healthy(groups: &Groups) -> Result<(), String> {
    let context = groups.metadata();
    ready(context).await?;
    let status = soon(context, context.handle.status()).await?;
    let troubled = status.groups().find_map(|group| Some((&group.name, group.trouble.as_ref()?)));
    troubled.map_or(Ok(()), |(group, trouble)| Err(format!("group {group}: {trouble}")))
}

/// Whether the node can be read as it is, with or without a quorum.
pub(crate) async fn readable(context: &Context) -> Result<(), String> {
    soon(context, context.handle.read(ReadLevel::Stale { max_staleness_ms: None })).await.map(drop)
}

/// Whether the node works, with or without a quorum. A restart would help if not.
pub(crate) async fn live(context: &Context) -> Result<(), String> {
    soon(context, context.handle.cluster_time()).await.map(drop)
}

async fn soon<T>(context: &Context, asked: impl Future<Output = Result<T, NodeError>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_) if context.handle.leader().is_none() => Err("there is no leader".to_owned()),
        Err(_) => Err(format!("no answer within {} ms", PATIENCE.as_millis())),
    }
}

/// gRPC's health service: of the server as a whole, and of every service on the port.
pub(crate) struct HealthService {
    pub(crate) groups: Arc<Groups>,
    /// The names of the services.
    pub(crate) services: &'static [&'static str],
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = status(self.groups.metadata(), self.question(&request)).await;
        let answer = match status == ServingStatus::ServiceUnknown {
            true => Err(Status::not_found("unknown service")),
            false => Ok(response(status)),
        };
        self.groups.metrics.handled(Method::HealthCheck, answer.map(Response::new))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let question = self.question(&request);
        let told =
            stream::unfold((Arc::clone(self.groups.metadata()), None), move |(context, told)| async move {
                loop {
                    let now = status(&context, question).await;
                    if told != Some(now) {
                        return Some((Ok(response(now)), (context, Some(now))));
                    }
                    tokio::time::sleep(WATCH_INTERVAL).await;
                }
            });
        self.groups.metrics.opened(Method::HealthWatch, Ok(Response::new(Box::pin(told) as _)))
    }
}

/// What a name stands for.
#[derive(Clone, Copy)]
enum Question {
    Live,
    Ready,
    Unknown,
}

impl HealthService {
    fn question(&self, request: &Request<HealthCheckRequest>) -> Question {
        match request.get_ref().service.as_str() {
            LIVE => Question::Live,
            "" | READY => Question::Ready,
            service if self.services.contains(&service) => Question::Ready,
            _ => Question::Unknown,
        }
    }
}

async fn status(context: &Context, question: Question) -> ServingStatus {
    let serves = match question {
        Question::Live => live(context).await,
        Question::Ready => ready(context).await,
        Question::Unknown => return ServingStatus::ServiceUnknown,
    };
    if serves.is_ok() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
