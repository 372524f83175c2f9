//! Brings a request to its service.

use std::convert::Infallible;
use std::net::IpAddr;
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
use ruvector_node::daemon::Share;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::admin::AdminService;
use crate::call::{Answer, Call};
use crate::connections::Connection;
use crate::deadline;
use crate::etcd;
use crate::etcd::auth::AuthService;
use crate::etcd::cluster::ClusterService;
use crate::etcd::kv::KvService;
use crate::etcd::lease::LeaseService;
use crate::etcd::maintenance::MaintenanceService;
use crate::etcd::watch::WatchService;
use crate::groups::Groups;
use crate::health::HealthService;
use crate::held::{self, Account, CALL_BYTES, Kind, Received, Sent};
use crate::leader;
use crate::metrics::{Method, Metrics};
use crate::native;
use crate::native::NativeService;
use crate::service::caller::Caller;
use crate::service::context::Context;
use crate::service::principal::Principal;

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
    caller: Caller,
    /// The account of calls that look what is wrong.
    looks: Arc<Share>,
    connection: Arc<Connection>,
    groups: Arc<Groups>,
    /// Of the metadata group. Of others, the one that is asked is made for each call.
    usual: Services,
    health: HealthServer<HealthService>,
    plain: Router,
}

/// What is held for a connection: for what is asked on it, and for looks at what is wrong.
pub(crate) struct Accounts {
    pub(crate) usual: Arc<Share>,
    pub(crate) looks: Arc<Share>,
}

impl Accounts {
    /// Both of them.
    pub(crate) fn both(&self) -> [Arc<Share>; 2] {
        [Arc::clone(&self.usual), Arc::clone(&self.looks)]
    }
}

/// The services of a group, for one caller.
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

/// Makes the services of a group, for one caller.
struct Maker<'of> {
    caller: &'of Caller,
    groups: &'of Arc<Groups>,
}

impl Maker<'_> {
    fn all(&self) -> Services {
        Services {
            kv: self.kv(),
            watch: self.watch(),
            lease: self.lease(),
            cluster: self.cluster(),
            maintenance: self.maintenance(),
            auth: self.auth(),
            admin: self.admin(),
            native: self.native(),
        }
    }

    /// The answer of one of them, which is made for it.
    fn answer(&self, service: &str, request: Request<Received>) -> Answer {
        match service {
            KV => self.kv().call(request),
            WATCH => answer_watch(self.watch(), request),
            LEASE => self.lease().call(request),
            CLUSTER => self.cluster().call(request),
            MAINTENANCE => self.maintenance().call(request),
            AUTH => self.auth().call(request),
            NATIVE => self.native().call(request),
            ADMIN => self.admin().call(request),
            _ => answer_nothing(),
        }
    }

    fn kv(&self) -> KvServer<KvService> {
        let service = KvService { caller: self.caller.clone(), metrics: self.metrics() };
        KvServer::new(service).max_decoding_message_size(self.bytes_max())
    }

    fn watch(&self) -> WatchService {
        WatchService { caller: self.caller.clone(), metrics: self.metrics() }
    }

    fn lease(&self) -> LeaseServer<LeaseService> {
        let service = LeaseService { caller: self.caller.clone(), metrics: self.metrics() };
        LeaseServer::new(service).max_decoding_message_size(self.bytes_max())
    }

    fn cluster(&self) -> ClusterServer<ClusterService> {
        let service = ClusterService { caller: self.caller.clone(), metrics: self.metrics() };
        ClusterServer::new(service).max_decoding_message_size(self.bytes_max())
    }

    fn maintenance(&self) -> MaintenanceServer<MaintenanceService> {
        let service = MaintenanceService { caller: self.caller.clone(), metrics: self.metrics() };
        MaintenanceServer::new(service).max_decoding_message_size(self.bytes_max())
    }

    fn auth(&self) -> AuthServer<AuthService> {
        AuthServer::new(AuthService(self.metrics())).max_decoding_message_size(self.bytes_max())
    }

    fn admin(&self) -> AdminServer<AdminService> {
        let service = AdminService { context: self.caller.clone(), groups: Arc::clone(self.groups) };
        AdminServer::new(service).max_decoding_message_size(self.bytes_max())
    }

    fn native(&self) -> NativeServer<NativeService> {
        let service = NativeService { caller: self.caller.clone(), metrics: self.metrics() };
        NativeServer::new(service).max_decoding_message_size(self.bytes_max())
    }

    fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.groups.metrics)
    }

    fn bytes_max(&self) -> usize {
        self.caller.limits.message_bytes()
    }
}

impl Services {
    /// The answer of one of them.
    fn answer(&self, service: &str, request: Request<Received>) -> Answer {
        match service {
            KV => self.kv.clone().call(request),
            WATCH => answer_watch(self.watch.clone(), request),
            LEASE => self.lease.clone().call(request),
            CLUSTER => self.cluster.clone().call(request),
            MAINTENANCE => self.maintenance.clone().call(request),
            AUTH => self.auth.clone().call(request),
            NATIVE => self.native.clone().call(request),
            ADMIN => self.admin.clone().call(request),
            _ => answer_nothing(),
        }
    }
}

fn answer_watch(service: WatchService, request: Request<Received>) -> Answer {
    let answer = service.call(request);
    Box::pin(async move { Ok(answer.await) })
}

/// The answer where there is no such service.
fn answer_nothing() -> Answer {
    Box::pin(std::future::ready(Ok(Status::unimplemented("").into_http())))
}

impl Frontend {
    pub(crate) fn new(
        accounts: Accounts,
        address: IpAddr,
        connection: Arc<Connection>,
        groups: Arc<Groups>,
        plain: Router,
    ) -> Self {
        let context = Arc::clone(groups.metadata());
        let bytes = context.limits.message_bytes();
        let health = HealthService { groups: Arc::clone(&groups), services: &SERVICES };
        let caller = Caller { context, principal: principal(), address, share: accounts.usual };
        Self {
            usual: Maker { caller: &caller, groups: &groups }.all(),
            health: HealthServer::new(health).max_decoding_message_size(bytes),
            plain,
            caller,
            looks: accounts.looks,
            connection,
            groups,
        }
    }
}

/// Who asks on a connection. This is the one place that decides it.
fn principal() -> Principal {
    Principal::Everybody
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
        let share = if looks { &self.looks } else { &self.caller.share };
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
        let method = self.groups.metrics.begun(path);
        if let Some(method) = method
            && let Err(status) = self.require_leader(method, group, &request)
        {
            return Call::answered(status.into_http(), account(permit));
        }
        let unknown = method.is_none().then(|| request.uri().clone());
        let message_bytes_max = self.caller.limits.message_bytes();
        let request = request.map(|body| Received::new(body, kind, share, message_bytes_max));
        Call::new(self.answer(known, group, request), unknown, limit, account(permit))
    }
}

impl Frontend {
    /// Refuses a call that asks for a leader when its group has none, in the words of its protocol.
    fn require_leader(
        &self,
        method: Method,
        group: Option<&Arc<Context>>,
        request: &Request<Incoming>,
    ) -> Result<(), Status> {
        let context = group.unwrap_or(self.groups.metadata());
        leader::require(method, request.headers(), context).map_err(|error| {
            let is_native = method == Method::Native;
            let status = if is_native { native::error::status(&error) } else { etcd::error::status(error) };
            self.groups.metrics.refused(method, status.code());
            status
        })
    }

    fn answer(&self, service: &str, group: Option<&Arc<Context>>, request: Request<Received>) -> Answer {
        match (service, group) {
            (HEALTH, _) => self.health.clone().call(request),
            ("", _) => {
                let answer = self.plain.clone().call(request);
                Box::pin(async move { Ok(answer.await?.map(Body::new)) })
            }
            (_, None) => self.usual.answer(service, request),
            (_, Some(group)) => {
                let caller = self.caller.of_group(group);
                Maker { caller: &caller, groups: &self.groups }.answer(service, request)
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
