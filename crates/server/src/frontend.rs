//! Brings a request to its service.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use ruvector_api::etcdserverpb::auth_server::AuthServer;
use ruvector_api::etcdserverpb::cluster_server::ClusterServer;
use ruvector_api::etcdserverpb::kv_server::KvServer;
use ruvector_api::etcdserverpb::lease_server::LeaseServer;
use ruvector_api::etcdserverpb::maintenance_server::MaintenanceServer;
use ruvector_api::health::v1::health_server::HealthServer;
use ruvector_api::ruvector::v1::admin_server::AdminServer;
use ruvector_api::ruvector::v1::native_server::NativeServer;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use crate::admin::AdminService;
use crate::context::Context;
use crate::deadline;
use crate::etcd::auth::AuthService;
use crate::etcd::cluster::ClusterService;
use crate::etcd::kv::KvService;
use crate::etcd::lease::LeaseService;
use crate::etcd::maintenance::MaintenanceService;
use crate::etcd::watch::WatchService;
use crate::health::HealthService;
use crate::http;
use crate::native::NativeService;

/// The names of the services that speak gRPC.
const SERVICES: [&str; 9] = [
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "etcdserverpb.Cluster",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Auth",
    "ruvector.v1.Native",
    "ruvector.v1.Admin",
    "grpc.health.v1.Health",
];

/// All services of the port. Cheap to clone.
///
/// The service is chosen by the first part of the path, by hand: a router in between costs a few
/// allocations for every request.
#[derive(Clone)]
pub(crate) struct Frontend {
    kv: KvServer<KvService>,
    watch: WatchService,
    lease: LeaseServer<LeaseService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
    auth: AuthServer<AuthService>,
    admin: AdminServer<AdminService>,
    native: NativeServer<NativeService>,
    health: HealthServer<HealthService>,
    plain: Router,
    context: Arc<Context>,
    /// Who is at the other end of the connection.
    remote: Option<RemoteAddress>,
}

/// The address that a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteAddress(pub(crate) IpAddr);

pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Frontend {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        let bytes = context.limits.message_bytes();
        let shared = || Arc::clone(context);
        Self {
            kv: KvServer::new(KvService(shared())).max_decoding_message_size(bytes),
            watch: WatchService(shared()),
            lease: LeaseServer::new(LeaseService(shared())).max_decoding_message_size(bytes),
            cluster: ClusterServer::new(ClusterService(shared())).max_decoding_message_size(bytes),
            maintenance: MaintenanceServer::new(MaintenanceService(shared()))
                .max_decoding_message_size(bytes),
            auth: AuthServer::new(AuthService(shared())).max_decoding_message_size(bytes),
            native: NativeServer::new(NativeService(shared())).max_decoding_message_size(bytes),
            admin: AdminServer::new(AdminService(shared())).max_decoding_message_size(bytes),
            health: HealthServer::new(HealthService { context: shared(), services: &SERVICES })
                .max_decoding_message_size(bytes),
            plain: http::router(shared()),
            context: shared(),
            remote: None,
        }
    }

    /// The same services for a connection from this address.
    pub(crate) fn for_client_at(mut self, remote: IpAddr) -> Self {
        self.remote = Some(RemoteAddress(remote));
        self
    }
}

impl hyper::service::Service<Request<Incoming>> for Frontend {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let limit = match deadline::limit(request.headers()) {
            Ok(limit) => limit,
            Err(status) => return deadline::refused(status),
        };
        let answer = self.answer(request);
        match limit {
            Some(limit) => deadline::within(limit, answer),
            None => answer,
        }
    }
}

impl Frontend {
    fn answer(&self, mut request: Request<Incoming>) -> Answer {
        let uri = request.uri().clone();
        self.context.metrics.begun(uri.path());
        let service = uri.path().split('/').nth(1).unwrap_or_default();
        let answer = match service {
            "etcdserverpb.KV" => self.kv.clone().call(request),
            "etcdserverpb.Watch" => {
                let answer = self.watch.clone().call(request);
                Box::pin(async move { Ok(answer.await) })
            }
            "etcdserverpb.Lease" => self.lease.clone().call(request),
            "etcdserverpb.Cluster" => self.cluster.clone().call(request),
            "etcdserverpb.Maintenance" => self.maintenance.clone().call(request),
            "etcdserverpb.Auth" => self.auth.clone().call(request),
            "ruvector.v1.Native" => {
                if let Some(remote) = self.remote {
                    request.extensions_mut().insert(remote);
                }
                self.native.clone().call(request)
            }
            "ruvector.v1.Admin" => self.admin.clone().call(request),
            "grpc.health.v1.Health" => self.health.clone().call(request),
            _ => {
                let answer = self.plain.clone().call(request);
                return Box::pin(async move { Ok(answer.await?.map(Body::new)) });
            }
        };
        as_go_says_it(answer, uri)
    }
}

/// Some refusals are told by tonic in another way than by Go's gRPC, which etcd's clients know: a message beyond the
/// limit of the wire has another code, and a method that there is not is not named.
fn as_go_says_it(answer: Answer, uri: Uri) -> Answer {
    Box::pin(async move {
        let mut response = answer.await?;
        // Only a refusal has its status in the headers.
        let Some(code) =
            response.headers().get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
        else {
            return Ok(response);
        };
        if code == Code::OutOfRange && is_too_large(&response) {
            let code = HeaderValue::from(Code::ResourceExhausted as i32);
            response.headers_mut().insert(Status::GRPC_STATUS, code);
        }
        if code == Code::Unimplemented && is_without_message(&response) {
            return Ok(unknown_method(&uri).into_http());
        }
        Ok(response)
    })
}

fn unknown_method(uri: &Uri) -> Status {
    let (service, method) = uri.path().trim_start_matches('/').split_once('/').unwrap_or_default();
    Status::unimplemented(format!("unknown method {method} for service {service}"))
}

fn is_without_message(response: &Response<Body>) -> bool {
    response.headers().get(Status::GRPC_MESSAGE).is_none_or(HeaderValue::is_empty)
}

fn is_too_large(response: &Response<Body>) -> bool {
    let message = response.headers().get(Status::GRPC_MESSAGE);
    message
        .is_some_and(|text| text.as_bytes().starts_with(b"Error,%20decoded%20message%20length%20too%20large"))
}
