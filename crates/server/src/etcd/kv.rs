//! The KV service.

use std::sync::Arc;

use prost::Message;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::kv_server::Kv;
use tonic::{Request, Response, Status};

use super::error::status;
use super::header::header;
use super::large;
use crate::metrics::{Method, Metrics};
use crate::service::caller::Caller;
use crate::service::error::ServiceError;
use crate::service::measured::{WHOLE_BYTES_MAX, measure};
use crate::service::read::{Found, FoundRange, TxnFreshness};
use crate::wire::pieces::told_bytes;
use crate::wire::{asked, convert};

/// The KV service.
pub(crate) struct KvService {
    pub(crate) caller: Caller,
    pub(crate) metrics: Arc<Metrics>,
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let answer = self.read(request.into_inner()).await;
        self.metrics.handled(Method::Range, answer.map_err(status))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let answer = self.write(request.into_inner()).await;
        self.metrics.handled(Method::Put, answer.map_err(status))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let answer = self.delete(request.into_inner()).await;
        self.metrics.handled(Method::DeleteRange, answer.map_err(status))
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let answer = self.transact(request.into_inner()).await;
        self.metrics.handled(Method::Txn, answer.map_err(status))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let answer = self.forget(request.into_inner()).await;
        self.metrics.handled(Method::Compact, answer.map_err(status))
    }
}

impl KvService {
    async fn read(&self, request: pb::RangeRequest) -> Result<Response<pb::RangeResponse>, ServiceError> {
        let serializable = request.serializable;
        let request = asked::range(request)?;
        let Found { version, range } = self.caller.range(request, serializable, told_bytes).await?;
        let header = header(&self.caller, version.view.revision());
        match range {
            FoundRange::Whole { response, again } => {
                let response = convert::range_response(&response, header);
                match again {
                    // It can be read again: so it need not be kept.
                    Some(request) if response.encoded_len() > WHOLE_BYTES_MAX => {
                        let measured = measure(&version.view, &request, told_bytes)?;
                        large::walk(
                            &self.caller,
                            large::walked(request, &version, &measured, header),
                            version,
                        )
                    }
                    _ => large::answer(&self.caller, response, false),
                }
            }
            FoundRange::Measured { request, measured } => {
                large::walk(&self.caller, large::walked(request, &version, &measured, header), version)
            }
        }
    }

    async fn write(&self, request: pb::PutRequest) -> Result<Response<pb::PutResponse>, ServiceError> {
        let (revision, put) = self.caller.put(asked::put(request)?).await?;
        let header = header(&self.caller, revision);
        large::answer(&self.caller, convert::put_response(&put, header), true)
    }

    async fn delete(
        &self,
        request: pb::DeleteRangeRequest,
    ) -> Result<Response<pb::DeleteRangeResponse>, ServiceError> {
        let (revision, delete) = self.caller.delete(asked::delete(request)?, told_bytes).await?;
        let header = header(&self.caller, revision);
        large::answer(&self.caller, convert::delete_response(&delete, header), true)
    }

    async fn transact(&self, request: pb::TxnRequest) -> Result<Response<pb::TxnResponse>, ServiceError> {
        let (freshness, request) = asked::txn(request, self.caller.limits.txn_operations)?;
        let serializable = match freshness {
            TxnFreshness::Write => {
                let (revision, txn) = self.caller.txn(request, told_bytes).await?;
                let header = header(&self.caller, revision);
                return large::answer(&self.caller, convert::txn_response(&txn, header), true);
            }
            TxnFreshness::Linearizable => false,
            // As in etcd, a transaction of nothing but comparisons is answered without a quorum.
            TxnFreshness::Serializable | TxnFreshness::Comparisons => true,
        };
        let context = Arc::clone(&self.caller.context);
        let tell = move |txn, revision| convert::txn_response(&txn, header(&context, revision));
        let response = self.caller.read_txn(request, serializable, told_bytes, tell).await?;
        large::answer(&self.caller, response, false)
    }

    async fn forget(
        &self,
        request: pb::CompactionRequest,
    ) -> Result<Response<pb::CompactionResponse>, ServiceError> {
        let revision = self.caller.compact(asked::compaction(request)).await?;
        let header = header(&self.caller, revision);
        Ok(Response::new(pb::CompactionResponse { header: Some(header) }))
    }
}
