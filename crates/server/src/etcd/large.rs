//! Answers that are too large to be put together at once: what they are made of.

use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::response_op::Response as Inner;
use ruvector_node::state_machine::kv::RangeRequest;
use tonic::Response;

use super::error::status;
use crate::service::caller::Caller;
use crate::service::context::Version;
use crate::service::error::ServiceError;
use crate::service::measured::{Measured, WHOLE_BYTES_MAX};
use crate::wire::pieces::{KVS, Large, Message, Pieces, ROOM_BYTES, Walk};

/// Answers up to this size are part of what a call takes.
const SMALL_BYTES_MAX: usize = 1 << 10;
/// The field of the previous key-value in a `PutResponse`.
const PREV_KV: u32 = 2;
/// The field of the previous key-values in a `DeleteRangeResponse`.
const PREV_KVS: u32 = 3;

/// The answer to a range of a version, whose key-values are read when they are sent.
pub(crate) fn walked(
    mut request: RangeRequest,
    version: &Version,
    measured: &Measured,
    header: pb::ResponseHeader,
) -> Message {
    request.revision.get_or_insert(version.view.revision());
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
    caller: &Caller,
    answer: Answer,
    is_done: bool,
) -> Result<Response<Answer>, ServiceError> {
    let bytes = answer.encoded_len();
    if bytes <= WHOLE_BYTES_MAX {
        if !is_done && bytes > SMALL_BYTES_MAX {
            // It is counted when it is encoded; but then that of a transaction is no longer refused.
            drop(caller.take(bytes)?);
        }
        return Ok(Response::new(answer));
    }
    let message = answer.into_message();
    let held = ROOM_BYTES + message.held_bytes();
    let permit = if is_done { caller.share.take_anyway(held) } else { caller.take(held)? };
    Ok(in_pieces(message.into_pieces(caller.context.clone(), permit, status)?))
}

/// An answer that is read from a version of the store, and later ones, as the client takes it.
pub(crate) fn walk<Answer: InPieces>(
    caller: &Caller,
    message: Message,
    version: Version,
) -> Result<Response<Answer>, ServiceError> {
    let permit = caller.take(ROOM_BYTES)?;
    Ok(in_pieces(message.into_pieces(caller.context.clone(), permit, status)?.with_version(version)))
}

fn in_pieces<Answer: InPieces>(pieces: Pieces) -> Response<Answer> {
    let mut response = Response::new(Answer::default());
    response.extensions_mut().insert(Large::new(pieces));
    response
}
