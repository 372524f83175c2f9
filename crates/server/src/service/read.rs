//! Reads: of ranges, by transactions that do not write, and of many things at one version.

use std::sync::Arc;

use bytes::Bytes;
use ruvector_node::daemon::Permit;
use ruvector_node::state_machine::kv::{
    KeyRange, KeyValue, KeyValueRef, KvView, RangeRequest, RangeResponse, Revision, TxnRequest, TxnResponse,
};
use ruvector_node::{ReadLevel, ReadResult};

use super::caller::Caller;
use super::context::Version;
use super::error::ServiceError;
use super::measured::{Measured, WHOLE_BYTES_MAX, may_be_large, measure, txn_listed_bytes, txn_may_be_large};
use super::principal::Principal;

/// What was found in a range, and the version that it was read from.
pub(crate) struct Found {
    pub(crate) version: Version,
    pub(crate) range: FoundRange,
}

/// What was found in a range.
pub(crate) enum FoundRange {
    /// All of it. Comes with the request if it costs little to read it again.
    Whole { response: RangeResponse, again: Option<RangeRequest> },
    /// More than is put together at once. It is to be read from the version, piece by piece.
    Measured { request: RangeRequest, measured: Measured },
}

/// What a transaction needs to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Something to be read from a version that is at hand.
pub(crate) enum Read {
    Range(RangeRequest),
    Txn(TxnRequest),
}

/// What a [`Read`] found.
pub(crate) enum Answered {
    Range(RangeResponse),
    Txn(TxnResponse),
}

impl Caller {
    /// Reads a range. `told_bytes` says how much a key-value takes in the form in which the caller is told it.
    pub(crate) async fn range(
        &self,
        request: RangeRequest,
        serializable: bool,
        told_bytes: impl Fn(&KeyValueRef<'_>) -> usize + Send + 'static,
    ) -> Result<Found, ServiceError> {
        self.principal.may_read(&request)?;
        let version = self.version(serializable).await?;
        if may_be_large(&request, &version.view) && !request.count_only {
            return Box::pin(self.range_measured(version, request, told_bytes)).await;
        }
        let response = version.view.range(&request)?;
        let again = request.sort.is_none().then_some(request);
        Ok(Found { version, range: FoundRange::Whole { response, again } })
    }

    /// Reads what may be large: finds out first, and beside the network's thread.
    async fn range_measured(
        &self,
        version: Version,
        request: RangeRequest,
        told_bytes: impl Fn(&KeyValueRef<'_>) -> usize + Send + 'static,
    ) -> Result<Found, ServiceError> {
        let caller = self.clone();
        let (at, reading) = (Version::clone(&version), request.clone());
        let (measured, whole) = evaluate(at, true, move |view| {
            let measured = measure(view, &reading, told_bytes)?;
            let is_whole = reading.sort.is_some() || measured.bytes <= WHOLE_BYTES_MAX;
            let whole = is_whole.then(|| read_whole(&caller, view, &reading, &measured)).transpose()?;
            Ok((measured, whole))
        })
        .await?;
        let range = match whole {
            Some(response) => FoundRange::Whole { response, again: None },
            None => FoundRange::Measured { request, measured },
        };
        Ok(Found { version, range })
    }

    /// Evaluates a transaction that does not write. `tell` makes what the caller is told, on the thread that reads.
    pub(crate) async fn read_txn<T: Send + 'static>(
        &self,
        request: TxnRequest,
        serializable: bool,
        told_bytes: impl Fn(&KeyValueRef<'_>) -> usize + Copy + Send + 'static,
        tell: impl FnOnce(TxnResponse, Revision) -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        self.principal.may_read_txn(&request)?;
        let version = self.version(serializable).await?;
        if !txn_may_be_large(&request, &version.view) {
            let response = version.view.read_only_txn(&request)?;
            return Ok(tell(response, version.view.revision()));
        }
        let caller = self.clone();
        let reading = evaluate(version, true, move |view| {
            let _permit = caller.take(txn_listed_bytes(view, &request, told_bytes))?;
            let response = view.read_only_txn(&request)?;
            Ok(tell(response, view.revision()))
        });
        Box::pin(reading).await
    }

    /// Reads what may be large from a version that others read, too, beside the network's thread. `tell` makes what the caller
    /// is told, and says how many bytes that takes until it is on its way: they are held. What nobody could take is refused
    /// before it is made.
    pub(crate) async fn read_at<T: Send + 'static>(
        &self,
        version: Version,
        read: Read,
        told_bytes: impl Fn(&KeyValueRef<'_>) -> usize + Copy + Send + 'static,
        tell: impl FnOnce(Answered, Revision) -> (T, usize) + Send + 'static,
    ) -> Result<(T, Permit), ServiceError> {
        let caller = self.clone();
        evaluate(version, true, move |view| {
            let mut permit = caller.take(read.listed_bytes(view, told_bytes)?)?;
            let (told, bytes) = tell(read.answer(view, &caller.principal)?, view.revision());
            permit.shrink_to(bytes);
            permit.grow(bytes - permit.bytes())?;
            Ok((told, permit))
        })
        .await
    }

    /// Reads one key as fresh as asked, with what there is to say of that freshness.
    pub(crate) async fn read_key(
        &self,
        level: ReadLevel,
        key: Bytes,
    ) -> Result<(ReadResult<KvView>, Option<Arc<KeyValue>>), ServiceError> {
        let range = RangeRequest::of(KeyRange { key, range_end: Bytes::new() });
        self.principal.may_read(&range)?;
        let read = self.handle.read(level).await?;
        let found = read.published.view.range(&range)?.kvs.into_iter().next();
        Ok((read, found))
    }
}

impl Read {
    /// Reads it.
    pub(crate) fn answer(&self, view: &KvView, principal: &Principal) -> Result<Answered, ServiceError> {
        Ok(match self {
            Self::Range(range) => {
                principal.may_read(range)?;
                Answered::Range(view.range(range)?)
            }
            Self::Txn(txn) => {
                principal.may_read_txn(txn)?;
                Answered::Txn(view.read_only_txn(txn)?)
            }
        })
    }

    /// What is found may take so much in memory.
    fn listed_bytes(
        &self,
        view: &KvView,
        told_bytes: impl Fn(&KeyValueRef<'_>) -> usize + Copy,
    ) -> Result<usize, ServiceError> {
        Ok(match self {
            Self::Range(range) if range.count_only => 0,
            Self::Range(range) => measure(view, range, told_bytes)?.listed_bytes(),
            Self::Txn(txn) => txn_listed_bytes(view, txn, told_bytes),
        })
    }

    /// Whether it may take so long that it has to be read beside the network's thread.
    pub(crate) fn may_be_large(&self, view: &KvView) -> bool {
        match self {
            Self::Range(range) => may_be_large(range, view),
            Self::Txn(txn) => txn_may_be_large(txn, view),
        }
    }
}

/// Reads all of a measured range at once, if there is room for it.
fn read_whole(
    caller: &Caller,
    view: &KvView,
    request: &RangeRequest,
    measured: &Measured,
) -> Result<RangeResponse, ServiceError> {
    let _permit = caller.take(measured.listed_bytes())?;
    Ok(view.range(request)?)
}

/// Reads from a version, on another thread if that may take long. The wait for that thread is in a box: every call would
/// carry the room for it.
pub(super) async fn evaluate<T: Send + 'static>(
    version: Version,
    large: bool,
    read: impl FnOnce(&KvView) -> Result<T, ServiceError> + Send + 'static,
) -> Result<T, ServiceError> {
    if !large {
        return read(&version.view);
    }
    let reading = Box::pin(tokio::task::spawn_blocking(move || read(&version.view)));
    reading.await.unwrap_or_else(|error| Err(ServiceError::ReadEnded(error.to_string())))
}
