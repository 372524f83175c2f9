//! Answers of a watch stream, and how they come onto the wire.

use std::pin::Pin;
use std::sync::Arc;

use bytes::BufMut;
use futures::stream::Stream;
use prost::Message;
use ruvector_api::etcdserverpb as pb;
use ruvector_node::daemon::Permit;
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

use super::event::encoded;
use crate::service::watch::change::Change;

/// What a response takes beyond its events, in bytes: an upper estimate.
const RESPONSE_BYTES: usize = 128;

/// One answer: a response, and the changes that become its events. They are apart because the events are the
/// same for many watches, and are encoded once for all of them.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Has no events.
    response: pb::WatchResponse,
    changes: Vec<Arc<Change>>,
    with_previous: bool,
    /// What it takes until it is given to the connection.
    #[expect(dead_code, reason = "let go when dropped")]
    permit: Option<Arc<Permit>>,
}

/// The answers of one stream.
pub(crate) type Answers = Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>;

impl Answer {
    /// The changes in one answer.
    pub(super) fn whole(response: pb::WatchResponse, changes: Vec<Arc<Change>>, with_previous: bool) -> Self {
        Self { response, changes, with_previous, permit: None }
    }

    /// Counted until it is given to the connection.
    pub(super) fn held(self, permit: Permit) -> Self {
        Self { permit: Some(Arc::new(permit)), ..self }
    }

    /// About how long it is, without encoding it.
    pub(super) fn bytes(&self) -> usize {
        RESPONSE_BYTES + self.changes.iter().map(|change| change.bytes()).sum::<usize>()
    }

    /// The changes in one answer, or in several if they are too large for one; all but the last are marked.
    pub(super) fn fragments(
        response: &pb::WatchResponse,
        changes: Vec<Arc<Change>>,
        with_previous: bool,
        bytes_max: usize,
    ) -> Vec<Self> {
        let empty = || Self::whole(response.clone(), Vec::new(), with_previous);
        let mut answers = vec![empty()];
        let mut bytes = RESPONSE_BYTES;
        for change in changes {
            let last = answers.last_mut().expect("there is one from the start");
            bytes += encoded(&change, with_previous).len();
            if bytes <= bytes_max || last.changes.is_empty() {
                last.changes.push(change);
            } else {
                last.response.fragment = true;
                bytes = RESPONSE_BYTES + encoded(&change, with_previous).len();
                answers.push(Self { changes: vec![change], ..empty() });
            }
        }
        answers
    }

    fn encode(&self, to: &mut impl BufMut) {
        self.response.encode_raw(to);
        self.changes.iter().for_each(|change| to.put_slice(encoded(change, self.with_previous)));
    }

    fn encoded_len(&self) -> usize {
        let events = self.changes.iter().map(|change| encoded(change, self.with_previous).len());
        self.response.encoded_len() + events.sum::<usize>()
    }
}

impl From<pb::WatchResponse> for Answer {
    fn from(response: pb::WatchResponse) -> Self {
        Self::whole(response, Vec::new(), false)
    }
}

/// Requests as they are generated from the definitions, answers with encoded events.
#[derive(Debug, Default)]
pub(super) struct WatchCodec;

impl Codec for WatchCodec {
    type Encode = Answer;
    type Decode = pb::WatchRequest;
    type Encoder = AnswerEncoder;
    type Decoder = ProstDecoder<pb::WatchRequest>;

    fn encoder(&mut self) -> AnswerEncoder {
        AnswerEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<pb::WatchResponse, pb::WatchRequest>::default().decoder()
    }
}

/// Puts answers together.
#[derive(Debug)]
pub(super) struct AnswerEncoder;

impl Encoder for AnswerEncoder {
    type Item = Answer;
    type Error = Status;

    fn encode(&mut self, answer: Answer, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(answer.encoded_len());
        answer.encode(to);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ruvector_node::state_machine::kv::{Event, EventKind, KeyValue, LeaseId, Revision};

    use super::*;
    use crate::etcd::watch::event;

    fn key_value(value: usize, revision: i64) -> Arc<KeyValue> {
        Arc::new(KeyValue {
            key: "a".into(),
            value: vec![b'v'; value].into(),
            create_revision: Revision(2),
            mod_revision: Revision(revision),
            version: revision - 1,
            lease: Some(LeaseId(7)),
        })
    }

    /// A put, an overwriting put, a deletion, and so on, with values of these sizes.
    fn changes(sizes: &[usize]) -> Vec<Arc<Change>> {
        let change = |(position, size): (usize, &usize)| {
            let revision = 2 + position as i64;
            let kind = if position % 3 == 2 { EventKind::Delete } else { EventKind::Put };
            let prev_kv = (position > 0).then(|| key_value(1, revision - 1));
            Arc::new(Change::new(Event { kind, kv: key_value(*size, revision), prev_kv }))
        };
        sizes.iter().enumerate().map(change).collect()
    }

    fn response() -> pb::WatchResponse {
        let header = Some(pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 9, raft_term: 3 });
        pb::WatchResponse { header, watch_id: -1, ..Default::default() }
    }

    fn bytes(answer: &Answer) -> Vec<u8> {
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        assert_eq!(bytes.len(), answer.encoded_len());
        bytes
    }

    #[test]
    fn the_bytes_are_those_of_the_response_with_its_events() {
        let changes = changes(&[0, 3, 0, 1_000, 200]);
        for with_previous in [false, true, false] {
            let events = changes.iter().map(|change| event::wire(change.event(), with_previous)).collect();
            let expected = pb::WatchResponse { events, ..response() };
            let answer = Answer::whole(response(), changes.clone(), with_previous);
            assert_eq!(bytes(&answer), expected.encode_to_vec());
        }
        let canceled = pb::WatchResponse { canceled: true, cancel_reason: "why".to_owned(), ..response() };
        assert_eq!(bytes(&canceled.clone().into()), canceled.encode_to_vec());
    }

    #[test]
    fn fragments_keep_every_event_in_order_and_all_but_the_last_are_marked() {
        let sent = changes(&[400, 400, 400, 3_000, 10]);
        let answers = Answer::fragments(&response(), sent.clone(), false, 1_200);
        let sizes: Vec<_> = answers.iter().map(|answer| answer.changes.len()).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
        let marks: Vec<_> = answers.iter().map(|answer| answer.response.fragment).collect();
        assert_eq!(marks, [true, true, true, false]);
        let revisions =
            |changes: &[Arc<Change>]| -> Vec<_> { changes.iter().map(|change| change.revision()).collect() };
        let received: Vec<_> = answers.iter().flat_map(|answer| revisions(&answer.changes)).collect();
        assert_eq!(received, revisions(&sent));
        let small = answers.iter().filter(|answer| answer.changes[0].bytes() < 1_200);
        small.for_each(|answer| assert!(answer.encoded_len() <= 1_200));
    }

    #[test]
    fn what_fits_is_not_fragmented() {
        let answers = Answer::fragments(&response(), changes(&[400, 400]), false, 1_200);
        assert_eq!(answers.len(), 1);
        assert!(!answers[0].response.fragment);
    }
}
