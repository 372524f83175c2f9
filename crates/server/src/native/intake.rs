//! Takes frames of requests and has them done.

use std::sync::{Arc, PoisonError};

use prost::Message;
use ruvector_api::etcdserverpb as etcd;
use ruvector_api::ruvector::v1 as pb;
use ruvector_api::ruvector::v1::native_request::Request;
use ruvector_api::ruvector::v1::native_response::Response;
use ruvector_node::daemon::{Answer, Answers, Exhausted, Hold};
use ruvector_node::state_machine::kv::{self, Command, InSession, Revision, SessionId};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tonic::Streaming;

use super::error::failure;
use super::window::{Broken, READY_BYTES_MAX, READY_RESPONSES_MAX, REQUEST_BYTES, Ready, WINDOW_BYTES};
use crate::service::caller::Caller;
use crate::service::context::Version;
use crate::service::error::{InvalidRequest, ServiceError};
use crate::service::read::{Answered, Read, TxnFreshness};
use crate::service::sessions::SessionWrites;
use crate::wire::pieces::told_bytes;
use crate::wire::{asked, convert};

/// The half of a stream that takes requests.
pub(super) struct Intake {
    caller: Caller,
    /// The room for what is under way.
    window: Arc<Semaphore>,
    applied: UnboundedSender<Answer<kv::Response>>,
    ready: Sender<Ready>,
    broken: Broken,
}

/// What a frame asks for, sorted by how it is done. Every request is in one of the lists, with its number.
pub(super) struct Sorted {
    pub(super) writes: SessionWrites,
    pub(super) linearizable: Vec<(u64, Read)>,
    pub(super) serializable: Vec<(u64, Read)>,
    pub(super) refused: Vec<(u64, ServiceError)>,
}

impl Intake {
    pub(super) fn new(
        caller: Caller,
        applied: UnboundedSender<Answer<kv::Response>>,
        ready: Sender<Ready>,
        broken: Broken,
    ) -> Self {
        Self { caller, window: Arc::new(Semaphore::new(WINDOW_BYTES as usize)), applied, ready, broken }
    }

    /// Takes frames until the client has sent the last one, or is gone.
    pub(super) async fn run(self, mut frames: Streaming<pb::ClientFrame>) {
        loop {
            let frame = tokio::select! {
                frame = frames.message() => frame,
                () = self.ready.closed() => break,
            };
            let frame = match frame {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(status) => {
                    *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                    break;
                }
            };
            let weight = weight(&frame);
            let room = Arc::clone(&self.window).acquire_many_owned(weight);
            let window = tokio::select! {
                window = room => window,
                () = self.ready.closed() => break,
            };
            let Ok(window) = window else { break };
            let (permit, is_refused) = match self.caller.share.take(weight as usize) {
                Ok(permit) => (permit, false),
                Err(_) => (self.caller.share.take_anyway(0), true),
            };
            let hold = Arc::new(Hold { window, permit });
            let taken =
                if is_refused { self.refuse(&frame, hold).await } else { self.take(frame, hold).await };
            if taken.is_err() {
                break;
            }
        }
    }

    /// Answers every request of a frame that there is no room for it. Fails if nobody waits for answers any more.
    async fn refuse(&self, frame: &pb::ClientFrame, hold: Arc<Hold>) -> Result<(), ()> {
        let error = ServiceError::from(Exhausted);
        let responses = frame.requests.iter().map(|request| failure(request.number, &error)).collect();
        self.hand_over_failures(responses, hold).await
    }

    /// Has the requests of a frame done. Fails if nobody waits for answers any more.
    async fn take(&self, frame: pb::ClientFrame, hold: Arc<Hold>) -> Result<(), ()> {
        let sorted = Sorted::of(frame, self.caller.session_writes(), self.caller.limits.txn_operations);
        self.caller.propose_in_session(sorted.writes, || Answers {
            sender: self.applied.clone(),
            hold: Arc::clone(&hold),
        });
        for (reads, serializable) in [(sorted.linearizable, false), (sorted.serializable, true)] {
            if !reads.is_empty() {
                let (caller, ready) = (self.caller.clone(), self.ready.clone());
                tokio::spawn(answer_reads(caller, reads, serializable, ready, Arc::clone(&hold)));
            }
        }
        let failures = sorted.refused.iter().map(|(number, error)| failure(*number, error)).collect();
        self.hand_over_failures(failures, hold).await
    }

    async fn hand_over_failures(
        &self,
        responses: Vec<pb::NativeResponse>,
        hold: Arc<Hold>,
    ) -> Result<(), ()> {
        if responses.is_empty() {
            return Ok(());
        }
        let bytes = responses.iter().map(Message::encoded_len).sum();
        self.ready.send(Ready { responses, bytes, hold, permit: None }).await.map_err(drop)
    }
}

impl Sorted {
    /// Sorts the requests of a frame. `writes` takes those that write.
    pub(super) fn of(frame: pb::ClientFrame, writes: SessionWrites, txn_operations_max: usize) -> Self {
        let pb::ClientFrame { requests, session, settled_below } = frame;
        let mut sorted =
            Self { writes, linearizable: Vec::new(), serializable: Vec::new(), refused: Vec::new() };
        for pb::NativeRequest { number, request } in requests {
            let place = InSession { session: SessionId(session), sequence: number, settled_below };
            if let Err(error) = sorted.take(place, request, txn_operations_max) {
                sorted.refused.push((number, error));
            }
        }
        sorted
    }

    fn take(
        &mut self,
        place: InSession,
        request: Option<Request>,
        txn_operations_max: usize,
    ) -> Result<(), ServiceError> {
        let number = place.sequence;
        let command = match request {
            Some(Request::Put(put)) => Command::Put(asked::put(put)?),
            Some(Request::DeleteRange(delete)) => Command::Delete(asked::delete(delete)?),
            Some(Request::Compaction(compaction)) => {
                Command::Compact { revision: asked::compaction(compaction) }
            }
            Some(Request::Txn(txn)) => {
                let (freshness, txn) = asked::txn(txn, txn_operations_max)?;
                match freshness {
                    TxnFreshness::Write => Command::Txn(txn),
                    // Here comparisons alone are fresh, too, as everything is that does not ask to be old.
                    TxnFreshness::Linearizable | TxnFreshness::Comparisons => {
                        self.linearizable.push((number, Read::Txn(txn)));
                        return Ok(());
                    }
                    TxnFreshness::Serializable => {
                        self.serializable.push((number, Read::Txn(txn)));
                        return Ok(());
                    }
                }
            }
            Some(Request::Range(range)) => {
                let serializable = range.serializable;
                let read = (number, Read::Range(asked::range(range)?));
                if serializable { &mut self.serializable } else { &mut self.linearizable }.push(read);
                return Ok(());
            }
            Some(Request::OpenSession(_)) => return self.writes.open(number),
            None => return Err(InvalidRequest::Unknown.into()),
        };
        self.writes.push(place, &command)
    }
}

/// About how much of the window a frame takes.
pub(super) fn weight(frame: &pb::ClientFrame) -> u32 {
    let requests = u32::try_from(frame.requests.len()).unwrap_or(u32::MAX).saturating_mul(REQUEST_BYTES);
    let bytes = u32::try_from(frame.encoded_len()).unwrap_or(u32::MAX);
    // A frame that is larger than the window must have it to itself.
    requests.saturating_add(bytes).clamp(1, WINDOW_BYTES)
}

/// Answers reads that arrived together, all from one version.
async fn answer_reads(
    caller: Caller,
    reads: Vec<(u64, Read)>,
    serializable: bool,
    ready: Sender<Ready>,
    hold: Arc<Hold>,
) {
    let version = caller.version(serializable).await;
    let mut answers = Answering { caller: &caller, ready, hold, responses: Vec::new(), bytes: 0 };
    for (number, read) in reads {
        let answered = match &version {
            Ok(version) if read.may_be_large(&version.view) => {
                answers.answer_large(number, read, version).await
            }
            Ok(version) => {
                let answered = read.answer(&version.view, &caller.principal);
                let response =
                    answered.map(|answered| read_response(number, answered, version.view.revision()));
                answers.push(response.unwrap_or_else(|error| failure(number, &error))).await
            }
            Err(error) => answers.push(failure(number, error)).await,
        };
        if answered.is_err() {
            return;
        }
    }
    // Whoever waited for them may be gone.
    let _ = answers.hand_over().await;
}

/// Answers on their way to the other half, so many at once that each costs little.
struct Answering<'a> {
    caller: &'a Caller,
    ready: Sender<Ready>,
    hold: Arc<Hold>,
    responses: Vec<pb::NativeResponse>,
    bytes: usize,
}

impl Answering<'_> {
    /// Takes a small answer along. Fails if nobody waits for answers any more.
    async fn push(&mut self, response: pb::NativeResponse) -> Result<(), ()> {
        self.bytes += response.encoded_len();
        self.responses.push(response);
        match self.responses.len() < READY_RESPONSES_MAX && self.bytes < READY_BYTES_MAX {
            true => Ok(()),
            false => self.hand_over().await,
        }
    }

    /// Answers what may be large, on another thread. What nobody could take is refused before it is made.
    async fn answer_large(&mut self, number: u64, read: Read, version: &Version) -> Result<(), ()> {
        let tell = move |answered, revision| {
            let response = read_response(number, answered, revision);
            let bytes = response.encoded_len();
            ((response, bytes), held_bytes(bytes))
        };
        match self.caller.read_at(Version::clone(version), read, told_bytes, tell).await {
            Ok(((response, bytes), permit)) => {
                let hold = Arc::clone(&self.hold);
                let ready = Ready { responses: vec![response], bytes, hold, permit: Some(permit) };
                self.ready.send(ready).await.map_err(drop)
            }
            Err(error) => self.push(failure(number, &error)).await,
        }
    }

    /// Hands over what there is, if there is room for it on the client's account.
    async fn hand_over(&mut self) -> Result<(), ()> {
        let mut responses = std::mem::take(&mut self.responses);
        let mut bytes = std::mem::take(&mut self.bytes);
        if responses.is_empty() {
            return Ok(());
        }
        let permit = match self.caller.take(held_bytes(bytes)) {
            Ok(permit) => Some(permit),
            Err(error) => {
                responses = responses.iter().map(|response| failure(response.number, &error)).collect();
                bytes = responses.iter().map(Message::encoded_len).sum();
                None
            }
        };
        let hold = Arc::clone(&self.hold);
        self.ready.send(Ready { responses, bytes, hold, permit }).await.map_err(drop)
    }
}

/// What answers take until they are on their way: once as they are, once encoded.
fn held_bytes(encoded: usize) -> usize {
    2 * encoded
}

/// The answer to a read at a revision, without the header that etcd's answers have.
pub(super) fn read_response(number: u64, answered: Answered, revision: Revision) -> pb::NativeResponse {
    let header = etcd::ResponseHeader::default;
    let response = match answered {
        Answered::Range(found) => {
            Response::Range(etcd::RangeResponse { header: None, ..convert::range_response(&found, header()) })
        }
        Answered::Txn(done) => {
            Response::Txn(etcd::TxnResponse { header: None, ..convert::txn_response(&done, header()) })
        }
    };
    pb::NativeResponse { number, revision: revision.0, response: Some(response) }
}
