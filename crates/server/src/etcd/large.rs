//! Answers that are too large to be put together at once: how large they will be, and what they are made of.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::response_op::Response as Inner;
use ruvector_node::state_machine::kv::{KvError, KvView, RangeRequest, Revision, TxnOp, TxnRequest};
use tonic::{Response, Status};

use crate::context::{Client, Version};
use crate::pieces::{self, LISTED_BYTES, Large, Message, ROOM_BYTES, Walk};

/// Answers up to this size are encoded whole.
pub(crate) const WHOLE_BYTES_MAX: usize = 32 << 10;
/// Answers up to this size are part of what a call takes.
const SMALL_BYTES_MAX: usize = 1 << 10;
/// The field of the key-values in a `RangeResponse`.
const KVS: u32 = 2;
/// The field of the previous key-value in a `PutResponse`.
const PREV_KV: u32 = 2;
/// The field of the previous key-values in a `DeleteRangeResponse`.
const PREV_KVS: u32 = 3;

/// What a range would answer with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// How many keys there are, as etcd counts.
    pub(crate) count: i64,
    /// There are more than the limit lets through.
    pub(crate) more: bool,
    /// How many key-values are in the answer.
    pub(crate) kvs: usize,
    /// How much they take, encoded.
    pub(crate) bytes: usize,
}

impl Measured {
    /// What the key-values take as a list in memory, if everything in it is counted as its own.
    pub(crate) fn listed_bytes(&self) -> usize {
        self.bytes.saturating_add(self.kvs.saturating_mul(LISTED_BYTES))
    }
}

/// Counts what a range would answer with, as [`KvView::range`] would, but without the answer.
pub(crate) fn measure(view: &KvView, request: &RangeRequest) -> Result<Measured, KvError> {
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
                measured.bytes += pieces::element_len(KVS, &kv);
            }
        }
        true
    })?;
    Ok(measured)
}

/// What the answer to a transaction may take in memory: that of its larger branch, as the store is now.
pub(crate) fn txn_listed_bytes(view: &KvView, request: &TxnRequest) -> usize {
    let branch =
        |operations: &[TxnOp]| operations.iter().map(|operation| listed_bytes(view, operation)).sum();
    let success: usize = branch(&request.success);
    success.max(branch(&request.failure))
}

fn listed_bytes(view: &KvView, operation: &TxnOp) -> usize {
    match operation {
        // One that can't be read fails the transaction.
        TxnOp::Range(request) if request.count_only => 0,
        TxnOp::Range(request) => measure(view, request).map_or(0, |measured| measured.listed_bytes()),
        TxnOp::Put(_) => 0,
        TxnOp::Delete(request) if request.prev_kv => {
            let all = RangeRequest::of(request.range.clone());
            measure(view, &all).map_or(0, |measured| measured.listed_bytes())
        }
        TxnOp::Delete(_) => 0,
        TxnOp::Txn(inner) => txn_listed_bytes(view, inner),
    }
}

/// The answer to a range at a revision, whose key-values are read when they are sent.
pub(crate) fn walked(
    mut request: RangeRequest,
    at: Revision,
    measured: &Measured,
    header: pb::ResponseHeader,
) -> Message {
    request.revision.get_or_insert(at);
    let mut message = Message::default();
    message.push(pb::RangeResponse { header: Some(header), ..Default::default() });
    message.push_walk(Walk { field: KVS, request, count: measured.kvs, bytes: measured.bytes });
    message.push(pb::RangeResponse { more: measured.more, count: measured.count, ..Default::default() });
    message
}

/// An answer that can be sent in pieces.
pub(crate) trait InPieces: prost::Message + Default {
    /// The same, to be encoded piece by piece.
    fn into_message(self) -> Message;
}

impl InPieces for pb::RangeResponse {
    fn into_message(mut self) -> Message {
        let kvs = std::mem::take(&mut self.kvs);
        let mut message = Message::default();
        message.push(Self { header: self.header.take(), ..Default::default() });
        message.push_list(KVS, kvs);
        message.push(self);
        message
    }
}

impl InPieces for pb::PutResponse {
    fn into_message(mut self) -> Message {
        let previous = self.prev_kv.take();
        let mut message = Message::default();
        message.push(self);
        message.push_list(PREV_KV, previous.into_iter().collect());
        message
    }
}

impl InPieces for pb::DeleteRangeResponse {
    fn into_message(mut self) -> Message {
        let previous = std::mem::take(&mut self.prev_kvs);
        let mut message = Message::default();
        message.push(self);
        message.push_list(PREV_KVS, previous);
        message
    }
}

impl InPieces for pb::TxnResponse {
    fn into_message(mut self) -> Message {
        let responses = std::mem::take(&mut self.responses);
        let mut message = Message::default();
        message.push(self);
        for response in responses {
            let (field, inner) = match response.response {
                Some(Inner::ResponseRange(inner)) => (1, inner.into_message()),
                Some(Inner::ResponsePut(inner)) => (2, inner.into_message()),
                Some(Inner::ResponseDeleteRange(inner)) => (3, inner.into_message()),
                Some(Inner::ResponseTxn(inner)) => (4, inner.into_message()),
                None => continue,
            };
            let mut operation = Message::default();
            operation.push_message(field, inner);
            message.push_message(3, operation);
        }
        message
    }
}

/// An answer whole if it is small, and otherwise in pieces, which are held for the client until it has taken them. With
/// `is_done` something was changed, and there is no refusing any more.
pub(crate) fn answer<Answer: InPieces>(
    client: &Client,
    answer: Answer,
    is_done: bool,
) -> Result<Response<Answer>, Status> {
    let bytes = answer.encoded_len();
    if bytes <= WHOLE_BYTES_MAX {
        if !is_done && bytes > SMALL_BYTES_MAX {
            // It is counted when it is encoded; but then that of a transaction is no longer refused.
            drop(client.take(bytes)?);
        }
        return Ok(Response::new(answer));
    }
    let message = answer.into_message();
    let held = ROOM_BYTES + message.held_bytes();
    let permit = if is_done { client.share.take_anyway(held) } else { client.take(held)? };
    Ok(in_pieces(message.into_pieces(client.context.clone(), permit)?))
}

/// An answer that is read from a version of the store, and later ones, as the client takes it.
pub(crate) fn walk<Answer: InPieces>(
    client: &Client,
    message: Message,
    version: Version,
) -> Result<Response<Answer>, Status> {
    let permit = client.take(ROOM_BYTES)?;
    Ok(in_pieces(message.into_pieces(client.context.clone(), permit)?.with_version(version)))
}

fn in_pieces<Answer: InPieces>(pieces: pieces::Pieces) -> Response<Answer> {
    let mut response = Response::new(Answer::default());
    response.extensions_mut().insert(Large::new(pieces));
    response
}
