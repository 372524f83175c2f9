//! The KV service.

use prost::Message;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::kv_server::Kv;
use ruvector_node::Permit;
use ruvector_node::state_machine::kv::{
    Command, DeleteRequest, KvView, Outcome, RangeRequest, RangeResponse, Revision, TxnOp, TxnRequest,
};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::error::{mismatched, store_status};
use super::large::{self, Measured, WHOLE_BYTES_MAX};
use super::{convert, leader, validate};
use crate::context::{Client, Version};
use crate::metrics::Method;

/// The KV service.
pub(crate) struct KvService(pub(crate) Client);

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.0.metrics.handled(Method::Range, self.read(&metadata, request).await)
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.0.metrics.handled(Method::Put, self.write(&metadata, request).await)
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.0.metrics.handled(Method::DeleteRange, self.delete(&metadata, request).await)
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.0.metrics.handled(Method::Txn, self.transact(&metadata, request).await)
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        self.0.metrics.handled(Method::Compact, self.forget(&metadata, request).await)
    }
}

impl KvService {
    async fn read(
        &self,
        metadata: &MetadataMap,
        request: pb::RangeRequest,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        leader::require(metadata, &self.0.handle)?;
        let serializable = request.serializable;
        let request = asked_range(request)?;
        let version = self.0.version(serializable).await?;
        let header = self.0.header(version.view.revision());
        if may_be_large(&request, &version.view) && !request.count_only {
            return self.read_measured(version, request, header).await;
        }
        let response = version.view.range(&request).map_err(store_status)?;
        let response = convert::range_response(&response, header);
        if request.sort.is_none() && response.encoded_len() > WHOLE_BYTES_MAX {
            // It can be read again: so it need not be kept.
            let measured = large::measure(&version.view, &request).map_err(store_status)?;
            let message = large::walked(request, version.view.revision(), &measured, header);
            return large::walk(&self.0, message, version);
        }
        large::answer(&self.0, response, false)
    }

    /// Reads what may be large: finds out first, and beside the network's thread.
    async fn read_measured(
        &self,
        version: Version,
        request: RangeRequest,
        header: pb::ResponseHeader,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let client = self.0.clone();
        let (at, reading) = (Version::clone(&version), request.clone());
        let (measured, whole) = evaluate(at, true, move |view| {
            let measured = large::measure(view, &reading).map_err(store_status)?;
            let is_whole = reading.sort.is_some() || measured.bytes <= WHOLE_BYTES_MAX;
            let whole = is_whole.then(|| read_whole(&client, view, &reading, &measured)).transpose()?;
            Ok((measured, whole))
        })
        .await?;
        if let Some(found) = whole {
            return large::answer(&self.0, convert::range_response(&found, header), false);
        }
        let message = large::walked(request, version.view.revision(), &measured, header);
        large::walk(&self.0, message, version)
    }

    async fn write(
        &self,
        metadata: &MetadataMap,
        request: pb::PutRequest,
    ) -> Result<Response<pb::PutResponse>, Status> {
        leader::require(metadata, &self.0.handle)?;
        match self.0.propose(asked_put(request)?).await? {
            (header, Outcome::Put(put)) => large::answer(&self.0, convert::put_response(&put, header), true),
            (_, other) => Err(mismatched("put", &other)),
        }
    }

    async fn delete(
        &self,
        metadata: &MetadataMap,
        request: pb::DeleteRangeRequest,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        leader::require(metadata, &self.0.handle)?;
        let request = asked_delete(request)?;
        let alone =
            TxnRequest { compare: vec![], success: vec![TxnOp::Delete(request.clone())], failure: vec![] };
        let _permit = self.take_for_answer(&alone).await?;
        match self.0.propose(Command::Delete(request)).await? {
            (header, Outcome::Delete(delete)) => {
                large::answer(&self.0, convert::delete_response(&delete, header), true)
            }
            (_, other) => Err(mismatched("deletion", &other)),
        }
    }

    async fn transact(
        &self,
        metadata: &MetadataMap,
        request: pb::TxnRequest,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        leader::require(metadata, &self.0.handle)?;
        let (freshness, request) = asked_txn(request, self.0.limits.txn_operations)?;
        let serializable = match freshness {
            TxnFreshness::Write => return self.transact_by_log(request).await,
            TxnFreshness::Linearizable => false,
            // As in etcd, a transaction of nothing but comparisons is answered without a quorum.
            TxnFreshness::Serializable | TxnFreshness::Comparisons => true,
        };
        let version = self.0.version(serializable).await?;
        let header = self.0.header(version.view.revision());
        let is_large = txn_may_be_large(&request, &version.view);
        let client = self.0.clone();
        let response = evaluate(version, is_large, move |view| {
            let listed = if is_large { large::txn_listed_bytes(view, &request) } else { 0 };
            let _permit = client.take(listed)?;
            let response = view.read_only_txn(&request).map_err(store_status)?;
            Ok(convert::txn_response(&response, header))
        })
        .await?;
        large::answer(&self.0, response, false)
    }

    /// What it may read is counted before: once it is applied there is no refusing it.
    async fn transact_by_log(&self, request: TxnRequest) -> Result<Response<pb::TxnResponse>, Status> {
        let _permit = self.take_for_answer(&request).await?;
        match self.0.propose(Command::Txn(request)).await? {
            (header, Outcome::Txn(txn)) => large::answer(&self.0, convert::txn_response(&txn, header), true),
            (_, other) => Err(mismatched("transaction", &other)),
        }
    }

    /// Holds what the answer to a transaction that writes may take, if it reads more than single keys.
    async fn take_for_answer(&self, request: &TxnRequest) -> Result<Option<Permit>, Status> {
        if !txn_reads_many(request) {
            return Ok(None);
        }
        let version = self.0.version(true).await?;
        let is_large = txn_may_be_large(request, &version.view);
        let reading = request.clone();
        let listed =
            evaluate(version, is_large, move |view| Ok(large::txn_listed_bytes(view, &reading))).await?;
        self.0.take(listed).map(Some)
    }

    async fn forget(
        &self,
        metadata: &MetadataMap,
        request: pb::CompactionRequest,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        leader::require(metadata, &self.0.handle)?;
        // `physical` asks to wait for the space to be given up, which is part of applying here.
        match self.0.propose(asked_compaction(request)).await? {
            (header, Outcome::Compact) => Ok(Response::new(pb::CompactionResponse { header: Some(header) })),
            (_, other) => Err(mismatched("compaction", &other)),
        }
    }
}

/// Reads all of a measured range at once, if there is room for it.
fn read_whole(
    client: &Client,
    view: &KvView,
    request: &RangeRequest,
    measured: &Measured,
) -> Result<RangeResponse, Status> {
    let _permit = client.take(measured.listed_bytes())?;
    view.range(request).map_err(store_status)
}

pub(crate) fn asked_range(request: pb::RangeRequest) -> Result<RangeRequest, Status> {
    validate::range(&request)?;
    convert::range_request(request)
}

pub(crate) fn asked_put(request: pb::PutRequest) -> Result<Command, Status> {
    validate::put(&request)?;
    Ok(Command::Put(convert::put_request(request)))
}

pub(crate) fn asked_delete(request: pb::DeleteRangeRequest) -> Result<DeleteRequest, Status> {
    validate::delete(&request)?;
    Ok(convert::delete_request(request))
}

pub(crate) fn asked_txn(
    request: pb::TxnRequest,
    operations_max: usize,
) -> Result<(TxnFreshness, TxnRequest), Status> {
    validate::txn(&request, operations_max)?;
    Ok((TxnFreshness::of(&request), convert::txn_request(request)?))
}

pub(crate) fn asked_compaction(request: pb::CompactionRequest) -> Command {
    Command::Compact { revision: Revision(request.revision) }
}

/// What a transaction needs.
pub(crate) enum TxnFreshness {
    /// It may write.
    Write,
    /// It reads, and something in it must be fresh.
    Linearizable,
    /// It reads, and everything it reads may be old.
    Serializable,
    /// It neither reads nor writes.
    Comparisons,
}

impl TxnFreshness {
    /// As in etcd, a transaction that holds another is no serializable one.
    fn of(request: &pb::TxnRequest) -> Self {
        use pb::request_op::Request;
        let mut reads = 0_usize;
        let mut serializable = 0_usize;
        for operation in request.success.iter().chain(&request.failure) {
            let freshness = match &operation.request {
                Some(Request::RequestRange(range)) if range.serializable => Self::Serializable,
                Some(Request::RequestRange(_)) => Self::Linearizable,
                Some(Request::RequestTxn(inner)) => match Self::of(inner) {
                    Self::Write => Self::Write,
                    Self::Linearizable | Self::Serializable | Self::Comparisons => Self::Linearizable,
                },
                Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) | None => Self::Write,
            };
            reads += 1;
            match freshness {
                Self::Write => return Self::Write,
                Self::Linearizable | Self::Comparisons => {}
                Self::Serializable => serializable += 1,
            }
        }
        match reads {
            0 => Self::Comparisons,
            _ if reads == serializable => Self::Serializable,
            _ => Self::Linearizable,
        }
    }
}

/// Reading this many keys takes about a millisecond: more would keep other clients of the thread waiting.
const KEYS_ON_NETWORK_THREAD: usize = 2_000;

pub(crate) fn may_be_large(request: &RangeRequest, view: &KvView) -> bool {
    let one_key = request.range.range_end.is_empty();
    let few = request.limit > 0 && request.limit <= KEYS_ON_NETWORK_THREAD as i64 && request.sort.is_none();
    !one_key && !few && view.key_count() > KEYS_ON_NETWORK_THREAD
}

/// Whether a transaction reads more than single keys.
fn txn_reads_many(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).any(|operation| match operation {
        TxnOp::Range(range) => !range.range.range_end.is_empty() && !range.count_only,
        TxnOp::Delete(delete) => !delete.range.range_end.is_empty() && delete.prev_kv,
        TxnOp::Put(_) => false,
        TxnOp::Txn(inner) => txn_reads_many(inner),
    })
}

pub(crate) fn txn_may_be_large(request: &TxnRequest, view: &KvView) -> bool {
    let mut operations = request.success.iter().chain(&request.failure);
    operations.any(|operation| operation_may_be_large(operation, view))
}

fn operation_may_be_large(operation: &TxnOp, view: &KvView) -> bool {
    match operation {
        TxnOp::Range(request) => may_be_large(request, view),
        TxnOp::Delete(request) => {
            request.prev_kv
                && !request.range.range_end.is_empty()
                && view.key_count() > KEYS_ON_NETWORK_THREAD
        }
        TxnOp::Put(_) => false,
        TxnOp::Txn(inner) => txn_may_be_large(inner, view),
    }
}

/// Reads from a version, on another thread if that may take long.
pub(crate) async fn evaluate<T: Send + 'static>(
    version: Version,
    large: bool,
    read: impl FnOnce(&KvView) -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    if !large {
        return read(&version.view);
    }
    let reading = tokio::task::spawn_blocking(move || read(&version.view));
    reading.await.unwrap_or_else(|error| Err(Status::internal(format!("the read did not end: {error}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(serializable: bool) -> pb::RequestOp {
        let range = pb::RangeRequest { serializable, ..Default::default() };
        pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(range)) }
    }

    fn put() -> pb::RequestOp {
        pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(pb::PutRequest::default())) }
    }

    fn txn(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::TxnRequest {
        pb::TxnRequest { compare: Vec::new(), success, failure }
    }

    #[test]
    fn a_transaction_is_as_fresh_as_its_freshest_part() {
        let of = |success, failure| TxnFreshness::of(&txn(success, failure));
        assert!(matches!(of(vec![], vec![]), TxnFreshness::Comparisons));
        assert!(matches!(of(vec![range(true)], vec![range(true)]), TxnFreshness::Serializable));
        assert!(matches!(of(vec![range(true)], vec![range(false)]), TxnFreshness::Linearizable));
        assert!(matches!(of(vec![range(true)], vec![put()]), TxnFreshness::Write));
        let inner = |operation| {
            let request = pb::request_op::Request::RequestTxn(txn(vec![operation], vec![]));
            pb::RequestOp { request: Some(request) }
        };
        assert!(matches!(of(vec![inner(range(true))], vec![]), TxnFreshness::Linearizable));
        assert!(matches!(of(vec![inner(put())], vec![]), TxnFreshness::Write));
    }
}
