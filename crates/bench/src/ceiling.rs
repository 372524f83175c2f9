//! A server of etcd's key-value service that answers at once and does nothing: no consensus, no disk, no store.
//! What it reaches is what unary gRPC can do on this machine with tonic on one thread.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use ruvector_api::etcdserverpb::kv_server::{Kv, KvServer};
use ruvector_api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
};
use ruvector_api::mvccpb::KeyValue;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The longest answer.
const KEYS_MAX: i64 = 1000;
/// As large as the values that the loads of reads ask for.
const VALUE: Bytes = Bytes::from_static(&[b'v'; 256]);

/// Answers until the process ends.
///
/// # Errors
/// If the address is taken.
pub(crate) async fn serve(address: SocketAddr) -> Result<()> {
    let server = Server::builder().tcp_nodelay(true).add_service(KvServer::new(Nothing));
    server.serve(address).await.with_context(|| format!("can't serve on {address}"))
}

/// The service that does nothing.
struct Nothing;

fn header() -> Option<ResponseHeader> {
    Some(ResponseHeader { cluster_id: u64::MAX, member_id: u64::MAX, revision: 1 << 20, raft_term: 2 })
}

#[tonic::async_trait]
impl Kv for Nothing {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        let count = request.limit.clamp(1, KEYS_MAX);
        let pair = KeyValue {
            key: request.key,
            create_revision: 1 << 19,
            mod_revision: 1 << 20,
            version: 2,
            value: VALUE,
            lease: 0,
        };
        let kvs = (0..count).map(|_| pair.clone()).collect();
        Ok(Response::new(RangeResponse { header: header(), kvs, more: false, count }))
    }

    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Ok(Response::new(PutResponse { header: header(), prev_kv: None }))
    }

    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Ok(Response::new(DeleteRangeResponse { header: header(), deleted: 0, prev_kvs: Vec::new() }))
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Ok(Response::new(TxnResponse { header: header(), succeeded: true, responses: Vec::new() }))
    }

    async fn compact(&self, _: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        Ok(Response::new(CompactionResponse { header: header() }))
    }
}
