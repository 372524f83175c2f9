//! Takes frames of requests and has them done.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use prost::Message;
use ruvector_api::etcdserverpb as etcd;
use ruvector_api::ruvector::v1 as pb;
use ruvector_api::ruvector::v1::native_request::Request;
use ruvector_api::ruvector::v1::native_response::Response;
use ruvector_node::state_machine::kv::{self, Command, InSession, KvView, SessionClient, SessionId};
use ruvector_node::{Answer, Answers, Batch, Hold, Permit};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tonic::{Status, Streaming};

use super::client::client_at;
use super::window::{Broken, REQUEST_BYTES, Ready, WINDOW_BYTES, failure};
use crate::config::Limits;
use crate::context::{Client, Version};
use crate::etcd::error::{EtcdError, store_status};
use crate::etcd::{convert, kv as etcd_kv, large};

/// The half of a stream that takes requests.
pub(super) struct Intake {
    client: Client,
    /// The room for what is under way.
    window: Arc<Semaphore>,
    applied: UnboundedSender<Answer<kv::Response>>,
    ready: Sender<Ready>,
    broken: Broken,
}

/// A read, with its number.
pub(super) enum Read {
    Range(u64, kv::RangeRequest),
    Txn(u64, kv::TxnRequest),
}

/// What a frame asks for, sorted by how it is done. Every request is in one of the lists.
#[derive(Default)]
pub(super) struct Sorted {
    pub(super) writes: Vec<(u64, Bytes)>,
    pub(super) linearizable: Vec<Read>,
    pub(super) serializable: Vec<Read>,
    pub(super) refused: Vec<(u64, Status)>,
}

impl Intake {
    pub(super) fn new(
        client: Client,
        applied: UnboundedSender<Answer<kv::Response>>,
        ready: Sender<Ready>,
        broken: Broken,
    ) -> Self {
        Self { client, window: Arc::new(Semaphore::new(WINDOW_BYTES as usize)), applied, ready, broken }
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
            let (permit, is_refused) = match self.client.share.take(weight as usize) {
                Ok(permit) => (permit, false),
                Err(_) => (self.client.share.take_anyway(0), true),
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
        let status = Status::from(EtcdError::TooManyRequests);
        for request in &frame.requests {
            let response = failure(request.number, &status);
            let ready = Ready { response, hold: Arc::clone(&hold), answer: None };
            self.ready.send(ready).await.map_err(drop)?;
        }
        Ok(())
    }

    /// Has the requests of a frame done. Fails if nobody waits for answers any more.
    async fn take(&self, frame: pb::ClientFrame, hold: Arc<Hold>) -> Result<(), ()> {
        let sorted = Sorted::of(frame, client_at(self.client.address), &self.client.limits);
        if !sorted.writes.is_empty() {
            let answers = Answers { sender: self.applied.clone(), hold: Arc::clone(&hold) };
            self.client.handle.propose_batch(Batch { commands: sorted.writes, answers });
        }
        for (reads, serializable) in [(sorted.linearizable, false), (sorted.serializable, true)] {
            if !reads.is_empty() {
                let (client, ready) = (self.client.clone(), self.ready.clone());
                tokio::spawn(answer_reads(client, reads, serializable, ready, Arc::clone(&hold)));
            }
        }
        for (number, status) in sorted.refused {
            let response = failure(number, &status);
            let ready = Ready { response, hold: Arc::clone(&hold), answer: None };
            self.ready.send(ready).await.map_err(drop)?;
        }
        Ok(())
    }
}

impl Sorted {
    /// Sorts the requests of a frame.
    pub(super) fn of(frame: pb::ClientFrame, client: SessionClient, limits: &Limits) -> Self {
        let pb::ClientFrame { requests, session, settled_below } = frame;
        let mut sorted = Self::default();
        for pb::NativeRequest { number, request } in requests {
            let place = InSession { session: SessionId(session), sequence: number, settled_below };
            if let Err(status) = sorted.take(place, request, client, limits) {
                sorted.refused.push((number, status));
            }
        }
        sorted
    }

    fn take(
        &mut self,
        place: InSession,
        request: Option<Request>,
        client: SessionClient,
        limits: &Limits,
    ) -> Result<(), Status> {
        let number = place.sequence;
        let command = match request {
            Some(Request::Put(put)) => etcd_kv::asked_put(put)?,
            Some(Request::DeleteRange(delete)) => Command::Delete(etcd_kv::asked_delete(delete)?),
            Some(Request::Compaction(compaction)) => etcd_kv::asked_compaction(compaction),
            Some(Request::Txn(txn)) => {
                let (freshness, txn) = etcd_kv::asked_txn(txn, limits.txn_operations)?;
                match freshness {
                    etcd_kv::TxnFreshness::Write => Command::Txn(txn),
                    // Here comparisons alone are fresh, too, as everything is that does not ask to be old.
                    etcd_kv::TxnFreshness::Linearizable | etcd_kv::TxnFreshness::Comparisons => {
                        self.linearizable.push(Read::Txn(number, txn));
                        return Ok(());
                    }
                    etcd_kv::TxnFreshness::Serializable => {
                        self.serializable.push(Read::Txn(number, txn));
                        return Ok(());
                    }
                }
            }
            Some(Request::Range(range)) => {
                let serializable = range.serializable;
                let read = Read::Range(number, etcd_kv::asked_range(range)?);
                if serializable { &mut self.serializable } else { &mut self.linearizable }.push(read);
                return Ok(());
            }
            Some(Request::OpenSession(_)) => {
                self.writes.push((number, Command::OpenSession { client }.encode()));
                return Ok(());
            }
            None => return Err(Status::invalid_argument("a request of a kind that this node does not know")),
        };
        if place.session == SessionId(0) {
            return Err(Status::failed_precondition("writes need a session: open one first"));
        }
        self.writes.push((number, place.encode(&command)));
        Ok(())
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
    client: Client,
    reads: Vec<Read>,
    serializable: bool,
    ready: Sender<Ready>,
    hold: Arc<Hold>,
) {
    let version = client.version(serializable).await;
    for read in reads {
        let number = read.number();
        let answer = match &version {
            Ok(version) => answer_read(&client, Arc::clone(version), read).await,
            Err(status) => Err(status.clone()),
        };
        let (response, answer) = match answer {
            Ok((response, permit)) => (response, Some(permit)),
            Err(status) => (failure(number, &status), None),
        };
        if ready.send(Ready { response, hold: Arc::clone(&hold), answer }).await.is_err() {
            return;
        }
    }
}

/// The answer, with what it takes until it is on its way. One that nobody could take is refused before it is made.
async fn answer_read(
    client: &Client,
    version: Version,
    read: Read,
) -> Result<(pb::NativeResponse, Permit), Status> {
    let is_large = read.may_be_large(&version.view);
    let client = client.clone();
    etcd_kv::evaluate(version, is_large, move |view| {
        let mut permit = client.take(0)?;
        if is_large {
            permit = client.take(read.listed_bytes(view)?)?;
        }
        let response = read.answer(view)?;
        // Once as it is, once encoded.
        let bytes = 2 * response.encoded_len();
        permit.shrink_to(bytes);
        permit.grow(bytes - permit.bytes()).map_err(|_| Status::from(EtcdError::TooManyRequests))?;
        Ok((response, permit))
    })
    .await
}

impl Read {
    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Range(number, _) | Self::Txn(number, _) => *number,
        }
    }

    /// What the answer may take in memory.
    fn listed_bytes(&self, view: &KvView) -> Result<usize, Status> {
        Ok(match self {
            Self::Range(_, range) if range.count_only => 0,
            Self::Range(_, range) => large::measure(view, range).map_err(store_status)?.listed_bytes(),
            Self::Txn(_, txn) => large::txn_listed_bytes(view, txn),
        })
    }

    fn may_be_large(&self, view: &KvView) -> bool {
        match self {
            Self::Range(_, range) => etcd_kv::may_be_large(range, view),
            Self::Txn(_, txn) => etcd_kv::txn_may_be_large(txn, view),
        }
    }

    pub(super) fn answer(&self, view: &KvView) -> Result<pb::NativeResponse, Status> {
        let (number, revision) = (self.number(), view.revision().0);
        Ok(pb::NativeResponse { number, revision, response: Some(self.evaluate(view)?) })
    }

    fn evaluate(&self, view: &KvView) -> Result<Response, Status> {
        let header = etcd::ResponseHeader::default;
        match self {
            Self::Range(_, range) => {
                let found = view.range(range).map_err(store_status)?;
                let response = convert::range_response(&found, header());
                Ok(Response::Range(etcd::RangeResponse { header: None, ..response }))
            }
            Self::Txn(_, txn) => {
                let done = view.read_only_txn(txn).map_err(store_status)?;
                let response = convert::txn_response(&done, header());
                Ok(Response::Txn(etcd::TxnResponse { header: None, ..response }))
            }
        }
    }
}
