//! Large answers, encoded piece by piece as the client takes them.
//!
//! A message of gRPC is told its length first, so that is counted before ([`Message`]); what the message is made of
//! is not put together before there is room for it on the connection. Keys that come straight from a range are read
//! from the store again for each piece, at the revision of the answer: a client that stalls keeps no copy of them,
//! and after a moment not even the version of the store that the answer began with.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use hyper::body::Frame;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, int64, key_len};
use ruvector_api::mvccpb;
use ruvector_node::daemon::Permit;
use ruvector_node::state_machine::kv::{KeyValueRef, KvError, KvView, LeaseId, RangeRequest, Revision};
use tonic::Status;

use crate::chunks::{counted, trailers};
use crate::service::context::{Context, Version};
use crate::service::error::{InvalidRequest, ServiceError};
use crate::service::measured::LISTED_BYTES;

/// About so many bytes are encoded at a time.
const PIECE_BYTES: usize = 32 << 10;
/// Looking at so many keys, of which few may be wanted, keeps nobody else waiting.
const PIECE_KEYS: usize = 1_000;
/// What the HTTP/2 library keeps of a call's answer until the client takes it, beside one piece.
pub(crate) const UNSENT_BYTES_MAX: usize = 64 << 10;
/// What a large answer takes while it is sent, beside what it is made of.
pub(crate) const ROOM_BYTES: usize = UNSENT_BYTES_MAX + 2 * PIECE_BYTES;
/// What a part of an answer takes, beside what is in it.
const PART_BYTES: usize = 256;
/// For how long an answer keeps a version of the store. Keeping one costs memory as the store goes on from it.
const VERSION_KEPT: Duration = Duration::from_secs(2);

/// A message that is not encoded yet. Its length is known.
#[derive(Debug, Default)]
pub(crate) struct Message {
    parts: VecDeque<Part>,
    bytes: usize,
}

#[derive(Debug)]
enum Part {
    Encoded(Bytes),
    /// Key-values that are at hand, as the elements of a repeated field.
    List {
        field: u32,
        kvs: VecDeque<mvccpb::KeyValue>,
        offset: usize,
    },
    Walk(Walk),
}

/// Key-values of a range as the elements of a repeated field, read from the store piece by piece.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The field's number.
    pub(crate) field: u32,
    /// What is left to be read. Names a revision, and does not sort.
    pub(crate) request: RangeRequest,
    /// How many key-values are left.
    pub(crate) count: usize,
    /// What they take, encoded.
    pub(crate) bytes: usize,
}

impl Message {
    /// What it takes in memory until it is sent, beside the room for sending.
    pub(crate) fn held_bytes(&self) -> usize {
        let part_bytes = |part: &Part| match part {
            Part::Encoded(bytes) => bytes.len(),
            Part::List { kvs, .. } => list_bytes(kvs),
            Part::Walk(_) => 0,
        };
        self.parts.iter().map(|part| PART_BYTES + part_bytes(part)).sum()
    }

    /// Adds fields that are encoded already.
    pub(crate) fn push(&mut self, fields: impl prost::Message) {
        self.push_encoded(fields.encode_to_vec().into());
    }

    fn push_encoded(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        self.parts.push_back(Part::Encoded(bytes));
    }

    /// Adds a field that is a message itself.
    pub(crate) fn push_message(&mut self, field: u32, message: Self) {
        let mut prefix = Vec::new();
        encode_key(field, WireType::LengthDelimited, &mut prefix);
        encode_varint(message.bytes as u64, &mut prefix);
        self.push_encoded(prefix.into());
        self.bytes += message.bytes;
        self.parts.extend(message.parts);
    }

    /// Adds a repeated field of key-values.
    pub(crate) fn push_list(&mut self, field: u32, kvs: Vec<mvccpb::KeyValue>) {
        self.bytes += kvs.iter().map(|kv| element_len(field, &borrowed(kv))).sum::<usize>();
        self.parts.push_back(Part::List { field, kvs: kvs.into(), offset: 0 });
    }

    /// Adds a repeated field of key-values that are read when they are sent.
    pub(crate) fn push_walk(&mut self, walk: Walk) {
        self.bytes += walk.bytes;
        self.parts.push_back(Part::Walk(walk));
    }

    /// Makes it an answer, which holds the permit until all of it is sent. `told` says what a client is told when
    /// that fails midway.
    pub(crate) fn into_pieces(
        self,
        context: Arc<Context>,
        permit: Permit,
        told: fn(ServiceError) -> Status,
    ) -> Result<Pieces, InvalidRequest> {
        // More than gRPC can express.
        let bytes = u32::try_from(self.bytes).map_err(|_| InvalidRequest::AnswerTooLarge)?;
        let mut header = vec![0];
        header.put_u32(bytes);
        let mut parts = self.parts;
        parts.push_front(Part::Encoded(header.into()));
        Ok(Pieces {
            left: self.bytes + 5,
            parts,
            offset: 0,
            version: Arc::default(),
            coming: None,
            context,
            permit: Arc::new(permit),
            told,
            has_ended: false,
        })
    }
}

/// What key-values take in a list. What is in them is counted although the store has it too: it may have forgotten
/// it before the client has taken it.
fn list_bytes(kvs: &VecDeque<mvccpb::KeyValue>) -> usize {
    kvs.iter().map(|kv| kv.key.len() + kv.value.len() + LISTED_BYTES).sum()
}

/// The field of the key-values in a `RangeResponse`.
pub(crate) const KVS: u32 = 2;

/// How much a key-value takes in the answer to a range, encoded.
pub(crate) fn told_bytes(kv: &KeyValueRef<'_>) -> usize {
    element_len(KVS, kv)
}

/// How long a key-value is as an element of a repeated field.
fn element_len(field: u32, kv: &KeyValueRef<'_>) -> usize {
    let inside = inside_len(kv);
    key_len(field) + encoded_len_varint(inside as u64) + inside
}

fn inside_len(kv: &KeyValueRef<'_>) -> usize {
    let numbers = numbers(kv).map(|(field, number)| int64::encoded_len(field, &number)).sum::<usize>();
    let lease = kv.lease.map_or(0, |lease| int64::encoded_len(6, &lease.0));
    bytes_len(1, kv.key) + numbers + bytes_len(5, kv.value) + lease
}

/// The fields between key and value, with their numbers; as prost, without those that are 0.
fn numbers(kv: &KeyValueRef<'_>) -> impl Iterator<Item = (u32, i64)> {
    let numbers = [(2, kv.create_revision.0), (3, kv.mod_revision.0), (4, kv.version)];
    numbers.into_iter().filter(|(_, number)| *number != 0)
}

/// A key-value at hand as one in the store.
pub(crate) fn borrowed(kv: &mvccpb::KeyValue) -> KeyValueRef<'_> {
    KeyValueRef {
        key: &kv.key,
        value: &kv.value,
        create_revision: Revision(kv.create_revision),
        mod_revision: Revision(kv.mod_revision),
        version: kv.version,
        lease: (kv.lease != 0).then_some(LeaseId(kv.lease)),
    }
}

/// A version of the store that is asked for.
type Coming = Pin<Box<dyn Future<Output = Result<Version, ServiceError>> + Send>>;

/// An answer on its way to the client.
pub(crate) struct Pieces {
    /// Bytes that were promised and not given yet.
    left: usize,
    parts: VecDeque<Part>,
    /// How much of the first key-value was given.
    offset: usize,
    version: Arc<Mutex<Option<Version>>>,
    coming: Option<Coming>,
    context: Arc<Context>,
    permit: Arc<Permit>,
    told: fn(ServiceError) -> Status,
    has_ended: bool,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pieces").field("left", &self.left).finish_non_exhaustive()
    }
}

/// An answer that takes the place of an empty one: put among a response's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Large(Arc<Mutex<Option<Pieces>>>);

impl Large {
    pub(crate) fn new(pieces: Pieces) -> Self {
        Self(Arc::new(Mutex::new(Some(pieces))))
    }

    pub(crate) fn into_pieces(self) -> Option<Pieces> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Pieces {
    /// Begins with a version that is at hand.
    pub(crate) fn with_version(mut self, version: Version) -> Self {
        self.keep(version);
        self
    }

    /// Keeps a version for a while.
    fn keep(&mut self, version: Version) {
        let kept = Arc::new(Mutex::new(Some(version)));
        let forgetting = Arc::downgrade(&kept);
        self.version = kept;
        tokio::spawn(async move {
            tokio::time::sleep(VERSION_KEPT).await;
            if let Some(kept) = forgetting.upgrade() {
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        });
    }

    pub(crate) fn is_end(&self) -> bool {
        self.has_ended
    }

    pub(crate) fn poll_frame(&mut self, task: &mut Task<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if self.left == 0 {
            return Poll::Ready(Some(self.end(&Status::ok(""))));
        }
        let piece = match ready!(self.poll_piece(task)) {
            Ok(piece) => piece,
            Err(error) => {
                let status = (self.told)(error);
                return Poll::Ready(Some(self.end(&status)));
            }
        };
        if piece.is_empty() && !self.parts.is_empty() {
            // None of the keys that were looked at is wanted.
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(left) =
            self.left.checked_sub(piece.len()).filter(|left| *left == 0 || !self.parts.is_empty())
        else {
            tracing::error!(left = self.left, piece = piece.len(), "an answer is not as long as was counted");
            return Poll::Ready(Some(self.end(&Status::internal("the answer changed while it was sent"))));
        };
        self.left = left;
        Poll::Ready(Some(Ok(Frame::data(counted(Arc::clone(&self.permit), piece)))))
    }

    fn end(&mut self, status: &Status) -> Result<Frame<Bytes>, Status> {
        self.has_ended = true;
        self.parts.clear();
        trailers(status)
    }

    fn poll_piece(&mut self, task: &mut Task<'_>) -> Poll<Result<BytesMut, ServiceError>> {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES.min(self.left));
        let mut scratch = Scratch::default();
        while piece.len() < PIECE_BYTES
            && let Some(part) = self.parts.front_mut()
        {
            let is_done = match part {
                Part::Encoded(bytes) => {
                    piece.extend_from_slice(bytes);
                    true
                }
                Part::List { field, kvs, offset } => {
                    fill_from_list(&mut piece, &mut scratch, *field, kvs, offset)
                }
                Part::Walk(walk) => {
                    let kept = self.version.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let Some(version) = kept else {
                        if !piece.is_empty() {
                            break;
                        }
                        let context = Arc::clone(&self.context);
                        let coming = self
                            .coming
                            .get_or_insert_with(|| async move { context.version(true).await }.boxed());
                        let version = ready!(coming.poll_unpin(task));
                        self.coming = None;
                        match version {
                            Ok(version) => self.keep(version),
                            Err(error) => return Poll::Ready(Err(error)),
                        }
                        continue;
                    };
                    match walk.fill(&version.view, &mut piece, &mut scratch, &mut self.offset) {
                        Ok(Filled::All) => true,
                        Ok(Filled::Some) => break,
                        Err(error) => return Poll::Ready(Err(error.into())),
                    }
                }
            };
            if is_done {
                self.parts.pop_front();
            }
        }
        Poll::Ready(Ok(piece))
    }
}

/// Adds key-values to a piece; true if there are no more.
fn fill_from_list(
    piece: &mut BytesMut,
    scratch: &mut Scratch,
    field: u32,
    kvs: &mut VecDeque<mvccpb::KeyValue>,
    offset: &mut usize,
) -> bool {
    while let Some(kv) = kvs.front() {
        if !scratch.element(field, &borrowed(kv)).copy(offset, piece) {
            return false;
        }
        kvs.pop_front();
    }
    true
}

/// What a walk gave to a piece.
enum Filled {
    /// All that was left of it.
    All,
    /// As much as a piece takes, or as much as can be looked at without keeping others waiting.
    Some,
}

impl Walk {
    fn fill(
        &mut self,
        view: &KvView,
        piece: &mut BytesMut,
        scratch: &mut Scratch,
        offset: &mut usize,
    ) -> Result<Filled, KvError> {
        let mut next = None;
        let mut looked_at = 0;
        let (request, count) = (&self.request, &mut self.count);
        let visited = view.visit(request, |visited| {
            if *count == 0 {
                return false;
            }
            let mut kv = visited.key_value();
            looked_at += 1;
            if looked_at > PIECE_KEYS {
                next = Some(Bytes::copy_from_slice(kv.key));
                return false;
            }
            if !request.admits(&kv) {
                return true;
            }
            if request.keys_only {
                kv.value = &[];
            }
            if !scratch.element(self.field, &kv).copy(offset, piece) {
                next = Some(Bytes::copy_from_slice(kv.key));
                return false;
            }
            *count -= 1;
            true
        });
        visited?;
        Ok(match next {
            Some(next) => {
                self.request.range.key = next;
                Filled::Some
            }
            None => Filled::All,
        })
    }
}

/// Room to put the ends of key-values together.
#[derive(Debug, Default)]
struct Scratch {
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// A key-value as an element of a repeated field, in three pieces.
struct Element<'a> {
    head: &'a [u8],
    value: &'a [u8],
    tail: &'a [u8],
}

impl Scratch {
    /// The bytes that prost makes of a [`KeyValue`](ruvector_api::mvccpb::KeyValue), value apart.
    fn element<'a>(&'a mut self, field: u32, kv: &KeyValueRef<'a>) -> Element<'a> {
        self.tail.clear();
        if let Some(lease) = kv.lease {
            int64::encode(6, &lease.0, &mut self.tail);
        }
        let head = &mut self.head;
        head.clear();
        encode_key(field, WireType::LengthDelimited, head);
        encode_varint(inside_len(kv) as u64, head);
        if !kv.key.is_empty() {
            encode_key(1, WireType::LengthDelimited, head);
            encode_varint(kv.key.len() as u64, head);
            head.extend_from_slice(kv.key);
        }
        numbers(kv).for_each(|(field, number)| int64::encode(field, &number, head));
        if !kv.value.is_empty() {
            encode_key(5, WireType::LengthDelimited, head);
            encode_varint(kv.value.len() as u64, head);
        }
        Element { head: &self.head, value: kv.value, tail: &self.tail }
    }
}

/// How long a field of bytes is; as prost, none if it is empty.
fn bytes_len(field: u32, bytes: &[u8]) -> usize {
    match bytes.len() {
        0 => 0,
        length => key_len(field) + encoded_len_varint(length as u64) + length,
    }
}

impl Element<'_> {
    /// Copies what comes behind an offset, as far as the piece takes it; true if that is all. The offset moves on.
    fn copy(&self, offset: &mut usize, piece: &mut BytesMut) -> bool {
        let mut skip = *offset;
        for part in [self.head, self.value, self.tail] {
            let begin = skip.min(part.len());
            skip -= begin;
            let room = PIECE_BYTES.saturating_sub(piece.len());
            let taken = (part.len() - begin).min(room);
            piece.extend_from_slice(&part[begin..begin + taken]);
            *offset += taken;
            if begin + taken < part.len() {
                return false;
            }
        }
        *offset = 0;
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prost::Message as _;
    use ruvector_api::etcdserverpb as pb;

    use super::*;

    fn kv(key_bytes: usize, value_bytes: usize, lease: i64) -> mvccpb::KeyValue {
        mvccpb::KeyValue {
            key: vec![b'k'; key_bytes].into(),
            create_revision: i64::from(value_bytes as u32 % 3),
            mod_revision: 300,
            version: 1,
            value: vec![b'v'; value_bytes].into(),
            lease,
        }
    }

    #[test]
    fn a_list_is_what_prost_makes_of_it_in_pieces_of_bounded_size() {
        let kvs = vec![
            kv(1, 0, 0),
            kv(200, 3, 7),
            kv(1, 5 * PIECE_BYTES, -1),
            kv(130, 127, 0),
            kv(1, PIECE_BYTES - 20, 1 << 40),
            kv(PIECE_BYTES, 128, 1),
        ];
        let whole = pb::RangeResponse { kvs: kvs.clone(), ..Default::default() }.encode_to_vec();
        let length: usize = kvs.iter().map(|kv| element_len(2, &borrowed(kv))).sum();
        assert_eq!(length, whole.len());
        let (mut kvs, mut offset, mut given) = (VecDeque::from(kvs), 0, Vec::new());
        loop {
            let mut piece = BytesMut::new();
            let is_done = fill_from_list(&mut piece, &mut Scratch::default(), 2, &mut kvs, &mut offset);
            assert!(piece.len() <= PIECE_BYTES && (is_done || piece.len() == PIECE_BYTES));
            given.extend_from_slice(&piece);
            if is_done {
                break;
            }
        }
        assert!(given == whole);
    }
}
