//! Brings a request to its service.

use std::convert::Infallible;
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
use ruvector_node::{Permit, Share};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use crate::admin::AdminService;
use crate::connections::Connection;
use crate::context::{Client, Context};
use crate::deadline;
use crate::etcd::auth::AuthService;
use crate::etcd::cluster::ClusterService;
use crate::etcd::kv::KvService;
use crate::etcd::lease::LeaseService;
use crate::etcd::maintenance::MaintenanceService;
use crate::etcd::watch::WatchService;
use crate::health::HealthService;
use crate::held::{self, CALL_BYTES, Kind, Received, Sent};
use crate::native::NativeService;

const KV: &str = "etcdserverpb.KV";
const WATCH: &str = "etcdserverpb.Watch";
const LEASE: &str = "etcdserverpb.Lease";
const CLUSTER: &str = "etcdserverpb.Cluster";
const MAINTENANCE: &str = "etcdserverpb.Maintenance";
const AUTH: &str = "etcdserverpb.Auth";
const NATIVE: &str = "ruvector.v1.Native";
const ADMIN: &str = "ruvector.v1.Admin";
const HEALTH: &str = "grpc.health.v1.Health";

/// The names of the services that speak gRPC.
const SERVICES: [&str; 9] = [KV, WATCH, LEASE, CLUSTER, MAINTENANCE, AUTH, NATIVE, ADMIN, HEALTH];

/// All services of the port, for one connection.
///
/// The service is chosen by the first part of the path, by hand: a router in between costs a few
/// allocations for every request.
pub(crate) struct Frontend {
    client: Client,
    connection: Arc<Connection>,
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
}

/// An answer that is not counted yet.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;
type Counted = Pin<Box<dyn Future<Output = Result<Response<Sent>, Infallible>> + Send>>;

impl Frontend {
    pub(crate) fn new(client: Client, connection: Arc<Connection>, plain: Router) -> Self {
        let context: &Arc<Context> = &client.context;
        let bytes = context.limits.message_bytes();
        let shared = || Arc::clone(context);
        Self {
            kv: KvServer::new(KvService(client.clone())).max_decoding_message_size(bytes),
            watch: WatchService(client.clone()),
            lease: LeaseServer::new(LeaseService(client.clone())).max_decoding_message_size(bytes),
            cluster: ClusterServer::new(ClusterService(shared())).max_decoding_message_size(bytes),
            maintenance: MaintenanceServer::new(MaintenanceService(shared()))
                .max_decoding_message_size(bytes),
            auth: AuthServer::new(AuthService(shared())).max_decoding_message_size(bytes),
            native: NativeServer::new(NativeService(client.clone())).max_decoding_message_size(bytes),
            admin: AdminServer::new(AdminService(shared())).max_decoding_message_size(bytes),
            health: HealthServer::new(HealthService { context: shared(), services: &SERVICES })
                .max_decoding_message_size(bytes),
            plain,
            client,
            connection,
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Frontend {
    type Response = Response<Sent>;
    type Error = Infallible;
    type Future = Counted;

    fn call(&self, request: Request<Incoming>) -> Counted {
        let path = request.uri().path();
        let service = path.split('/').nth(1).unwrap_or_default();
        let known = SERVICES.into_iter().find(|known| *known == service).unwrap_or_default();
        let is_grpc = service.contains('.');
        self.connection.used();
        // Whoever looks what is wrong must not be refused because of it.
        let looks = !is_grpc || matches!(service, ADMIN | HEALTH);
        let share = if looks { &self.client.looks_share } else { &self.client.share };
        let kind = kind(service, path);
        let call = share
            .take(CALL_BYTES + header_bytes(&request))
            .ok()
            .filter(|_| looks || self.connection.is_usual());
        let Some(call) = call else {
            let refused = held::sent(held::refused(), kind, Arc::clone(share), share.take_anyway(0));
            return Box::pin(std::future::ready(Ok(refused)));
        };
        let message_bytes_max = self.client.context.limits.message_bytes();
        let request = request.map(|body| Received::new(body, kind, share, message_bytes_max));
        let answer = self.answer_in_time(known, request);
        counted(answer, kind, Arc::clone(share), call)
    }
}

impl Frontend {
    fn answer_in_time(&self, service: &str, request: Request<Received>) -> Answer {
        let limit = match deadline::limit(request.headers()) {
            Ok(limit) => limit,
            Err(status) => return deadline::refused(status),
        };
        let answer = self.answer(service, request);
        match limit {
            Some(limit) => deadline::within(limit, answer),
            None => answer,
        }
    }

    fn answer(&self, service: &str, request: Request<Received>) -> Answer {
        let uri = request.uri().clone();
        self.client.metrics.begun(uri.path());
        let answer = match service {
            KV => self.kv.clone().call(request),
            WATCH => {
                let answer = self.watch.clone().call(request);
                Box::pin(async move { Ok(answer.await) })
            }
            LEASE => self.lease.clone().call(request),
            CLUSTER => self.cluster.clone().call(request),
            MAINTENANCE => self.maintenance.clone().call(request),
            AUTH => self.auth.clone().call(request),
            NATIVE => self.native.clone().call(request),
            ADMIN => self.admin.clone().call(request),
            HEALTH => self.health.clone().call(request),
            _ => {
                let answer = self.plain.clone().call(request);
                return Box::pin(async move { Ok(answer.await?.map(Body::new)) });
            }
        };
        as_go_says_it(answer, uri)
    }
}

/// What a request's header takes.
fn header_bytes(request: &Request<Incoming>) -> usize {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    request.uri().path().len() + fields.sum::<usize>()
}

fn kind(service: &str, path: &str) -> Kind {
    let method = path.rsplit('/').next().unwrap_or_default();
    match (service, method) {
        (WATCH | NATIVE, _) | (LEASE, "LeaseKeepAlive") => Kind::Stream,
        (KV, "Put" | "DeleteRange" | "Txn") => Kind::Write,
        _ => Kind::Read,
    }
}

/// Counts the answer until it is sent, and the call with it.
fn counted(answer: Answer, kind: Kind, share: Arc<Share>, call: Permit) -> Counted {
    Box::pin(async move { Ok(held::sent(answer.await?, kind, share, call)) })
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
