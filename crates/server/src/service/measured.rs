//! How large an answer will be, found out before it is made.

use ruvector_node::state_machine::kv::{KeyValueRef, KvError, KvView, RangeRequest, TxnOp, TxnRequest};

/// Answers up to this size are put together whole.
pub(crate) const WHOLE_BYTES_MAX: usize = 32 << 10;
/// What a key-value takes in a list, beside its key and its value.
pub(crate) const LISTED_BYTES: usize = 320;
/// Reading this many keys takes about a millisecond: more would keep other clients of the thread waiting.
const KEYS_ON_NETWORK_THREAD: usize = 2_000;

/// What a range would answer with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// How many keys there are in the range, whatever the limit.
    pub(crate) count: i64,
    /// There are more than the limit lets through.
    pub(crate) more: bool,
    /// How many key-values are in the answer.
    pub(crate) kvs: usize,
    /// How much they take as they are told.
    pub(crate) bytes: usize,
}

impl Measured {
    /// What the key-values take as a list in memory, if everything in it is counted as its own.
    pub(crate) fn listed_bytes(&self) -> usize {
        self.bytes.saturating_add(self.kvs.saturating_mul(LISTED_BYTES))
    }
}

/// Counts what a range would answer with, as [`KvView::range`] would, but without the answer. `told_bytes` says how
/// much a key-value takes in the form in which the caller is told it.
pub(crate) fn measure(
    view: &KvView,
    request: &RangeRequest,
    told_bytes: impl Fn(&KeyValueRef<'_>) -> usize,
) -> Result<Measured, KvError> {
    let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let mut measured = Measured::default();
    view.visit(request, |visited| {
        measured.count += 1;
        if !measured.more {
            let mut kv = visited.key_value();
            if request.keys_only {
                kv.value = &[];
            }
            if !request.admits(&kv) {
            } else if measured.kvs == limit {
                measured.more = true;
            } else {
                measured.kvs += 1;
                measured.bytes += told_bytes(&kv);
            }
        }
        true
    })?;
    Ok(measured)
}

/// What the answer to a transaction may take in memory: that of its larger branch, as the store is now.
pub(super) fn txn_listed_bytes(
    view: &KvView,
    request: &TxnRequest,
    told_bytes: impl Fn(&KeyValueRef<'_>) -> usize + Copy,
) -> usize {
    let branch = |operations: &[TxnOp]| {
        operations.iter().map(|operation| listed_bytes(view, operation, told_bytes)).sum()
    };
    let success: usize = branch(&request.success);
    success.max(branch(&request.failure))
}

fn listed_bytes(
    view: &KvView,
    operation: &TxnOp,
    told_bytes: impl Fn(&KeyValueRef<'_>) -> usize + Copy,
) -> usize {
    let listed = |range: &RangeRequest| {
        // One that can't be read fails the transaction.
        measure(view, range, told_bytes).map_or(0, |measured| measured.listed_bytes())
    };
    match operation {
        TxnOp::Range(request) if request.count_only => 0,
        TxnOp::Range(request) => listed(request),
        TxnOp::Put(_) => 0,
        TxnOp::Delete(request) if request.prev_kv => listed(&RangeRequest::of(request.range.clone())),
        TxnOp::Delete(_) => 0,
        TxnOp::Txn(inner) => txn_listed_bytes(view, inner, told_bytes),
    }
}

/// Whether reading a range may take long.
pub(super) fn may_be_large(request: &RangeRequest, view: &KvView) -> bool {
    let one_key = request.range.range_end.is_empty();
    let few = request.limit > 0 && request.limit <= KEYS_ON_NETWORK_THREAD as i64 && request.sort.is_none();
    !one_key && !few && view.key_count() > KEYS_ON_NETWORK_THREAD
}

/// Whether a transaction reads more than single keys.
pub(super) fn txn_reads_many(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).any(|operation| match operation {
        TxnOp::Range(range) => !range.range.range_end.is_empty() && !range.count_only,
        TxnOp::Delete(delete) => !delete.range.range_end.is_empty() && delete.prev_kv,
        TxnOp::Put(_) => false,
        TxnOp::Txn(inner) => txn_reads_many(inner),
    })
}

/// Whether evaluating a transaction may take long.
pub(super) fn txn_may_be_large(request: &TxnRequest, view: &KvView) -> bool {
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
