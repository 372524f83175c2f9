//! Brings a request to its service.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use ruvector_api::etcdserverpb::cluster_server::ClusterServer;
use ruvector_api::etcdserverpb::kv_server::KvServer;
use ruvector_api::etcdserverpb::lease_server::LeaseServer;
use ruvector_api::etcdserverpb::maintenance_server::MaintenanceServer;
use ruvector_api::ruvector::v1::admin_server::AdminServer;
use ruvector_api::ruvector::v1::native_server::NativeServer;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use crate::admin::AdminService;
use crate::context::Context;
use crate::etcd::cluster::ClusterService;
use crate::etcd::kv::KvService;
use crate::etcd::lease::LeaseService;
use crate::etcd::maintenance::MaintenanceService;
use crate::etcd::watch::WatchService;
use crate::http;
use crate::native::NativeService;

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
    admin: AdminServer<AdminService>,
    native: NativeServer<NativeService>,
    plain: Router,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

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
            native: NativeServer::new(NativeService(shared())).max_decoding_message_size(bytes),
            admin: AdminServer::new(AdminService(shared())).max_decoding_message_size(bytes),
            plain: http::router(shared()),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Frontend {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        match service {
            "etcdserverpb.KV" => with_etcd_codes(self.kv.clone().call(request)),
            "etcdserverpb.Watch" => {
                let answer = self.watch.clone().call(request);
                Box::pin(async move { Ok(answer.await) })
            }
            "etcdserverpb.Lease" => self.lease.clone().call(request),
            "etcdserverpb.Cluster" => self.cluster.clone().call(request),
            "etcdserverpb.Maintenance" => self.maintenance.clone().call(request),
            "ruvector.v1.Native" => self.native.clone().call(request),
            "ruvector.v1.Admin" => self.admin.clone().call(request),
            _ => {
                let answer = self.plain.clone().call(request);
                Box::pin(async move { Ok(answer.await?.map(Body::new)) })
            }
        }
    }
}

/// A message beyond the limit of the wire is refused by tonic with another code than by Go's gRPC, which
/// etcd's clients know.
fn with_etcd_codes(answer: Answer) -> Answer {
    Box::pin(async move {
        let mut response = answer.await?;
        // Only a refusal has its status in the headers.
        if let Some(code) = response.headers_mut().get_mut(Status::GRPC_STATUS)
            && code.as_bytes() == (Code::OutOfRange as i32).to_string().as_bytes()
            && is_too_large(&response)
        {
            let code = HeaderValue::from(Code::ResourceExhausted as i32);
            response.headers_mut().insert(Status::GRPC_STATUS, code);
        }
        Ok(response)
    })
}

fn is_too_large(response: &Response<Body>) -> bool {
    let message = response.headers().get(Status::GRPC_MESSAGE);
    message
        .is_some_and(|text| text.as_bytes().starts_with(b"Error,%20decoded%20message%20length%20too%20large"))
}
