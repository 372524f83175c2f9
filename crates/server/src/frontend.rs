//! Brings a request to its service.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use ruvector_api::etcdserverpb::auth_server::AuthServer;
use ruvector_api::etcdserverpb::cluster_server::ClusterServer;
use ruvector_api::etcdserverpb::kv_server::KvServer;
use ruvector_api::etcdserverpb::lease_server::LeaseServer;
use ruvector_api::etcdserverpb::maintenance_server::MaintenanceServer;
use ruvector_api::health::v1::health_server::HealthServer;
use ruvector_api::ruvector::v1::admin_server::AdminServer;
use ruvector_api::ruvector::v1::native_server::NativeServer;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::admin::AdminService;
use crate::call::{Answer, Call};
use crate::connections::Connection;
use crate::context::{Client, Context};
use crate::deadline;
use crate::etcd::auth::AuthService;
use crate::etcd::cluster::ClusterService;
use crate::etcd::kv::KvService;
use crate::etcd::lease::LeaseService;
use crate::etcd::maintenance::MaintenanceService;
use crate::etcd::watch::WatchService;
use crate::groups::Groups;
use crate::health::HealthService;
use crate::held::{self, Account, CALL_BYTES, Kind, Received, Sent};
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
    groups: Arc<Groups>,
    /// Of the metadata group. Those of others are made for each call: they are only pointers.
    usual: Services,
    health: HealthServer<HealthService>,
    plain: Router,
}

/// The services of a group, for one client.
struct Services {
    kv: KvServer<KvService>,
    watch: WatchService,
    lease: LeaseServer<LeaseService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
    auth: AuthServer<AuthService>,
    admin: AdminServer<AdminService>,
    native: NativeServer<NativeService>,
}

impl Services {
    fn new(client: &Client, groups: &Arc<Groups>) -> Self {
        let context: &Arc<Context> = &client.context;
        let bytes = context.limits.message_bytes();
        let shared = || Arc::clone(context);
        let admin = AdminService { context: shared(), groups: Arc::clone(groups) };
        Self {
            kv: KvServer::new(KvService(client.clone())).max_decoding_message_size(bytes),
            watch: WatchService(client.clone()),
            lease: LeaseServer::new(LeaseService(client.clone())).max_decoding_message_size(bytes),
            cluster: ClusterServer::new(ClusterService(shared())).max_decoding_message_size(bytes),
            maintenance: MaintenanceServer::new(MaintenanceService(shared()))
                .max_decoding_message_size(bytes),
            auth: AuthServer::new(AuthService(shared())).max_decoding_message_size(bytes),
            native: NativeServer::new(NativeService(client.clone())).max_decoding_message_size(bytes),
            admin: AdminServer::new(admin).max_decoding_message_size(bytes),
        }
    }

    /// The answer of a group's service.
    fn answer(&self, service: &str, request: Request<Received>) -> Answer {
        match service {
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
            _ => Box::pin(std::future::ready(Ok(Status::unimplemented("").into_http()))),
        }
    }
}

impl Frontend {
    pub(crate) fn new(
        client: Client,
        connection: Arc<Connection>,
        groups: Arc<Groups>,
        plain: Router,
    ) -> Self {
        let bytes = client.context.limits.message_bytes();
        let health = HealthService { context: Arc::clone(&client.context), services: &SERVICES };
        Self {
            usual: Services::new(&client, &groups),
            health: HealthServer::new(health).max_decoding_message_size(bytes),
            plain,
            client,
            connection,
            groups,
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Frontend {
    type Response = Response<Sent>;
    type Error = Infallible;
    type Future = Call;

    fn call(&self, request: Request<Incoming>) -> Call {
        let path = request.uri().path();
        let service = path.split('/').nth(1).unwrap_or_default();
        let known = SERVICES.into_iter().find(|known| *known == service).unwrap_or_default();
        let is_grpc = service.contains('.');
        self.connection.used();
        // Whoever looks what is wrong must not be refused because of it.
        let looks = !is_grpc || matches!(service, ADMIN | HEALTH);
        let share = if looks { &self.client.looks_share } else { &self.client.share };
        let kind = kind(service, path);
        let account = |permit| Account { kind, share: Arc::clone(share), permit };
        let permit = share
            .take(CALL_BYTES + header_bytes(&request))
            .ok()
            .filter(|_| looks || self.connection.is_usual());
        let Some(permit) = permit else {
            return Call::answered(held::refused(), account(share.take_anyway(0)));
        };
        let limit = match deadline::limit(request.headers()) {
            Ok(limit) => limit,
            Err(status) => return Call::answered(status.into_http(), account(permit)),
        };
        let group = match self.groups.named(request.headers()) {
            Ok(group) => group,
            Err(status) => return Call::answered(status.into_http(), account(permit)),
        };
        let unknown = (!self.client.metrics.begun(path)).then(|| request.uri().clone());
        let message_bytes_max = self.client.context.limits.message_bytes();
        let request = request.map(|body| Received::new(body, kind, share, message_bytes_max));
        Call::new(self.answer(known, group, request), unknown, limit, account(permit))
    }
}

impl Frontend {
    fn answer(&self, service: &str, group: Option<&Arc<Context>>, request: Request<Received>) -> Answer {
        match (service, group) {
            (HEALTH, _) => self.health.clone().call(request),
            ("", _) => {
                let answer = self.plain.clone().call(request);
                Box::pin(async move { Ok(answer.await?.map(Body::new)) })
            }
            (_, None) => self.usual.answer(service, request),
            (_, Some(group)) => {
                Services::new(&self.client.of_group(group), &self.groups).answer(service, request)
            }
        }
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
