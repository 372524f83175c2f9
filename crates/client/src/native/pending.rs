//! What is under way, and what becomes of it when answers come, connections break and time passes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use prost::Message;
use ruvector_api::ruvector::v1 as pb;
use ruvector_api::ruvector::v1::native_request::Request;
use ruvector_api::ruvector::v1::native_response::Response;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::verdict::{Effect, judge};

/// A frame that has so many bytes gets no further request. (A single request may be larger.)
const FRAME_BYTES_MAX: usize = 256 << 10;
/// How many requests one frame has at most.
const FRAME_REQUESTS_MAX: usize = 1024;
/// More than a frame takes beside its requests.
const FRAME_OVERHEAD_BYTES: usize = 64;
/// More than a request takes in a frame beside its own bytes.
const REQUEST_OVERHEAD_BYTES: usize = 8;
/// What a node says of a request that no frame can hold, as etcd does.
const TOO_LARGE: &str = "etcdserver: request is too large";
/// So many deadlines of answered requests may be kept whatever else is under way.
const DEADLINES_MIN: usize = 4096;
/// How many times the first delay a request that failed waits at most before it is sent again.
const DELAY_FACTOR_MAX: u32 = 20;

/// A request of a caller.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) effect: Effect,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Result<pb::NativeResponse, ClientError>>,
}

/// Everything that is not answered yet.
///
/// Invariants: every number was used for one request only; every request has its deadline in `deadlines`, which are in order; a write's number is at or above what is told as settled
/// until it is answered or given up.
#[derive(Debug)]
pub(super) struct Pending {
    /// In boxes, since a tree moves what it holds at every insertion and removal.
    requests: BTreeMap<u64, Box<Waiting>>,
    /// The numbers of the writes among them.
    writes: BTreeSet<u64>,
    next_number: u64,
    session: Session,
    /// What is to be sent on this connection, in order.
    unsent: VecDeque<u64>,
    /// Writes that wait for a session.
    held: VecDeque<u64>,
    /// What is sent again later, and when.
    delayed: BTreeSet<(Instant, u64)>,
    /// What was sent on this connection and when, the oldest first; some of it may have been answered.
    sent: VecDeque<(Instant, u64)>,
    /// When each request is given up; those of answered ones may be there, too.
    deadlines: VecDeque<(Instant, u64)>,
    retry_delay: Duration,
    /// The largest frame that the node takes, in bytes.
    frame_bytes_max: usize,
    /// One of these has an answer that is too large, and nobody knows which: each is sent when nothing else is under way.
    suspects: BTreeSet<u64>,
}

#[derive(Debug)]
struct Waiting {
    job: Job,
    sends: u32,
    /// The session that it was last sent in; 0 if in none.
    session: u64,
    /// It was sent on this connection, and no answer has come.
    is_under_way: bool,
    /// It was sent before and no certain answer came: it may have been done.
    may_be_done: bool,
    last_error: Option<ClientError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    None,
    /// Asked for under this number.
    Opening(u64),
    Open(u64),
}

impl Pending {
    pub(super) fn new(retry_delay: Duration) -> Self {
        Self {
            requests: BTreeMap::new(),
            writes: BTreeSet::new(),
            next_number: 1,
            session: Session::None,
            unsent: VecDeque::new(),
            held: VecDeque::new(),
            delayed: BTreeSet::new(),
            sent: VecDeque::new(),
            deadlines: VecDeque::new(),
            retry_delay,
            frame_bytes_max: usize::MAX,
            suspects: BTreeSet::new(),
        }
    }

    /// What the node takes, which it says when the stream opens.
    pub(super) fn set_frame_bytes_max(&mut self, bytes: u64) {
        self.frame_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Takes a request.
    pub(super) fn add(&mut self, job: Job) {
        let number = self.next_number;
        self.next_number += 1;
        self.note_deadline(job.deadline, number);
        if job.effect == Effect::Write {
            self.writes.insert(number);
        }
        let waiting =
            Waiting { job, sends: 0, session: 0, is_under_way: false, may_be_done: false, last_error: None };
        self.requests.insert(number, Box::new(waiting));
        self.queue(number);
    }

    /// Whether there is something to send now.
    pub(super) fn has_unsent(&self) -> bool {
        let opens_session = !self.held.is_empty() && self.session == Session::None;
        opens_session || (!self.unsent.is_empty() && !self.is_alone_under_way())
    }

    /// Whether a suspect is under way, or must wait until nothing is.
    fn is_alone_under_way(&self) -> bool {
        let is_suspect = |number: &u64| self.suspects.contains(number);
        let is_under_way =
            |number: &u64| self.requests.get(number).is_some_and(|waiting| waiting.is_under_way);
        if self.suspects.is_empty() {
            return false;
        }
        if self.suspects.iter().any(is_under_way) {
            return true;
        }
        self.unsent.front().is_some_and(is_suspect) && self.requests.keys().any(is_under_way)
    }

    /// The next frame to send, if there is anything for one.
    pub(super) fn frame(&mut self, now: Instant) -> Option<pb::ClientFrame> {
        let mut requests = Vec::new();
        if self.session == Session::None && !self.held.is_empty() {
            let number = self.next_number;
            self.next_number += 1;
            self.session = Session::Opening(number);
            let request = Some(Request::OpenSession(pb::OpenSessionRequest {}));
            requests.push(pb::NativeRequest { number, request });
        }
        let session = if let Session::Open(session) = self.session { session } else { 0 };
        let mut bytes = 0;
        while bytes < FRAME_BYTES_MAX && requests.len() < FRAME_REQUESTS_MAX {
            if self.is_alone_under_way() {
                break;
            }
            let Some(number) = self.unsent.pop_front() else { break };
            let Some(waiting) = self.requests.get_mut(&number) else { continue };
            let request = pb::NativeRequest { number, request: Some(waiting.job.request.clone()) };
            let request_bytes = request.encoded_len();
            if request_bytes + FRAME_OVERHEAD_BYTES > self.frame_bytes_max {
                self.settle(number, Err(ClientError::Refused { reason: TOO_LARGE.to_owned() }));
                continue;
            }
            if bytes > 0 && bytes + request_bytes + FRAME_OVERHEAD_BYTES > self.frame_bytes_max {
                self.unsent.push_front(number);
                break;
            }
            waiting.sends += 1;
            waiting.session = session;
            waiting.is_under_way = true;
            self.sent.push_back((now, number));
            bytes += request_bytes + REQUEST_OVERHEAD_BYTES;
            requests.push(request);
        }
        let settled_below = self.writes.first().copied().unwrap_or(self.next_number);
        (!requests.is_empty()).then_some(pb::ClientFrame { requests, session, settled_below })
    }

    /// Since when the oldest request that was sent on this connection waits for its answer.
    pub(super) fn oldest_sent_at(&mut self) -> Option<Instant> {
        let is_waiting = |number: &u64| self.requests.get(number).is_some_and(|waiting| waiting.is_under_way);
        while let Some((sent_at, number)) = self.sent.front() {
            if is_waiting(number) {
                return Some(*sent_at);
            }
            self.sent.pop_front();
        }
        None
    }

    /// An answer came from the node at `endpoint`.
    pub(super) fn answered(&mut self, response: pb::NativeResponse, endpoint: &Endpoint, now: Instant) {
        if self.session == Session::Opening(response.number) {
            return self.session_answered(response, endpoint, now);
        }
        let number = response.number;
        let Some(Response::Failure(failure)) = &response.response else {
            return self.settle(number, Ok(response));
        };
        let status = Status::new(Code::from_i32(failure.code), failure.message.clone());
        if status.code() == Code::Aborted {
            return self.session_lost(number, &status);
        }
        let Some(waiting) = self.requests.get_mut(&number) else { return };
        waiting.is_under_way = false;
        let error = judge(&status, endpoint, waiting.job.effect).error;
        match error {
            ClientError::NoLeader { .. } | ClientError::Busy { .. } => {}
            ClientError::OutcomeUnknown { .. } | ClientError::TimedOut { .. } => waiting.may_be_done = true,
            ClientError::InvalidEndpoint { .. }
            | ClientError::NoEndpoints
            | ClientError::Unreachable { .. }
            | ClientError::Compacted { .. }
            | ClientError::TooLarge { .. }
            | ClientError::Refused { .. }
            | ClientError::Unsupported { .. }
            | ClientError::Malformed { .. } => return self.settle(number, Err(error)),
        }
        waiting.last_error = Some(error);
        let delay = self.retry_delay * waiting.sends.clamp(1, DELAY_FACTOR_MAX);
        self.delayed.insert((now + delay, number));
    }

    /// The connection broke: what was under way on it may have been done, and is sent again on the next.
    pub(super) fn disconnected(&mut self, reason: &str) {
        if matches!(self.session, Session::Opening(_)) {
            self.session = Session::None;
        }
        self.sent.clear();
        self.unsent.clear();
        self.held.clear();
        let delayed: BTreeSet<u64> = self.delayed.iter().map(|(_, number)| *number).collect();
        let numbers: Vec<u64> =
            self.requests.keys().copied().filter(|number| !delayed.contains(number)).collect();
        for number in numbers {
            if let Some(waiting) = self.requests.get_mut(&number).filter(|waiting| waiting.is_under_way) {
                waiting.is_under_way = false;
                waiting.may_be_done = true;
                waiting.last_error = Some(ClientError::TimedOut { reason: reason.to_owned() });
            }
            self.queue(number);
        }
    }

    /// The connection broke because of an answer that is larger than this side takes. If a single request was under way, it is that one's,
    /// and to send it again would bring it again. If several were, each will be sent again on its own.
    pub(super) fn too_large(&mut self, status: &Status, endpoint: &Endpoint) {
        let under_way = self.requests.iter().filter(|(_, waiting)| waiting.is_under_way);
        let under_way: Vec<(u64, Effect)> =
            under_way.map(|(number, waiting)| (*number, waiting.job.effect)).collect();
        match under_way[..] {
            [(only, effect)] => self.settle(only, Err(judge(status, endpoint, effect).error)),
            _ => self.suspects.extend(under_way.into_iter().map(|(number, _)| number)),
        }
    }

    /// No connection could be made.
    pub(super) fn not_connected(&mut self, error: &ClientError) {
        for waiting in self.requests.values_mut() {
            waiting.last_error = Some(error.clone());
        }
    }

    /// Gives up what was never sent: nobody could be reached for too long.
    pub(super) fn fail_unsent(&mut self, error: &ClientError) {
        let unsent = self.requests.iter().filter(|(_, waiting)| waiting.sends == 0);
        let unsent: Vec<u64> = unsent.map(|(number, _)| *number).collect();
        for number in unsent {
            self.settle(number, Err(error.clone()));
        }
    }

    /// Gives up everything.
    pub(super) fn fail_all(&mut self, error: &ClientError) {
        let numbers: Vec<u64> = self.requests.keys().copied().collect();
        for number in numbers {
            self.settle(number, Err(error.clone()));
        }
    }

    /// Time has passed: what waited to be sent again is, and what nobody waits for any longer is given up.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some((_, number)) = self.delayed.first().copied().filter(|(at, _)| *at <= now) {
            self.delayed.pop_first();
            self.queue(number);
        }
        while let Some((_, number)) = self.deadlines.pop_front_if(|(at, _)| *at <= now) {
            self.give_up(number);
        }
    }

    /// When [`wake`](Self::wake) is due.
    pub(super) fn next_wake(&mut self) -> Option<Instant> {
        while self.deadlines.pop_front_if(|(_, number)| !self.requests.contains_key(number)).is_some() {}
        let deadline = self.deadlines.front().map(|(at, _)| *at);
        let delayed = self.delayed.first().map(|(at, _)| *at);
        deadline.into_iter().chain(delayed).min()
    }

    /// Nearly all requests come with the latest deadline of all, and are answered long before it. So theirs are a queue, from which they
    /// are not taken when they are answered, but when they come to its front or are more than half of it.
    fn note_deadline(&mut self, deadline: Instant, number: u64) {
        if self.deadlines.len() > 2 * self.requests.len() + DEADLINES_MIN {
            self.deadlines.retain(|(_, number)| self.requests.contains_key(number));
        }
        let is_last = self.deadlines.back().is_none_or(|(last, _)| *last <= deadline);
        let place = if is_last {
            self.deadlines.len()
        } else {
            self.deadlines.partition_point(|(other, _)| *other <= deadline)
        };
        self.deadlines.insert(place, (deadline, number));
    }

    fn queue(&mut self, number: u64) {
        let is_open = matches!(self.session, Session::Open(_));
        match self.requests.get(&number) {
            Some(waiting) if waiting.job.effect == Effect::Write && !is_open => self.held.push_back(number),
            Some(_) => self.unsent.push_back(number),
            None => {}
        }
    }

    fn session_answered(&mut self, response: pb::NativeResponse, endpoint: &Endpoint, now: Instant) {
        let held = std::mem::take(&mut self.held);
        self.session = Session::None;
        match response.response {
            Some(Response::OpenSession(opened)) => {
                self.session = Session::Open(opened.session);
                held.into_iter().for_each(|number| self.queue(number));
            }
            Some(Response::Failure(failure)) => {
                let status = Status::new(Code::from_i32(failure.code), failure.message);
                self.session_refused(held, &judge(&status, endpoint, Effect::Write).error, now);
            }
            _ => self.wait_for_session(held, now),
        }
    }

    /// No session was opened. What was to be sent in it waits for another try, unless that is refused as well.
    fn session_refused(&mut self, held: VecDeque<u64>, error: &ClientError, now: Instant) {
        if matches!(error, ClientError::Refused { .. }) {
            held.into_iter().for_each(|number| self.settle(number, Err(error.clone())));
        } else {
            self.wait_for_session(held, now);
        }
    }

    fn wait_for_session(&mut self, held: VecDeque<u64>, now: Instant) {
        let at = now + self.retry_delay;
        self.delayed.extend(held.into_iter().map(|number| (at, number)));
    }

    /// The server has no such session. What was sent once was not done, for the session was gone before; of what was sent
    /// before nobody knows.
    fn session_lost(&mut self, number: u64, status: &Status) {
        let Some(waiting) = self.requests.get_mut(&number) else { return };
        waiting.is_under_way = false;
        if self.session == Session::Open(waiting.session) {
            self.session = Session::None;
        }
        if waiting.may_be_done {
            let reason = status.message().to_owned();
            return self.settle(number, Err(ClientError::OutcomeUnknown { reason }));
        }
        // Its number belongs to the old session.
        let Some(waiting) = self.requests.remove(&number) else { return };
        self.writes.remove(&number);
        self.suspects.remove(&number);
        self.add(waiting.job);
    }

    fn give_up(&mut self, number: u64) {
        let Some(waiting) = self.requests.get(&number) else { return };
        let may_be_done = waiting.may_be_done || waiting.is_under_way;
        let silent = || ClientError::TimedOut { reason: "the nodes are silent".to_owned() };
        let last_error = waiting.last_error.clone().unwrap_or_else(silent);
        let error = match waiting.job.effect {
            Effect::Write if may_be_done => ClientError::OutcomeUnknown { reason: reason_of(&last_error) },
            Effect::Write | Effect::Read => last_error,
        };
        self.settle(number, Err(error));
    }

    fn settle(&mut self, number: u64, result: Result<pb::NativeResponse, ClientError>) {
        self.writes.remove(&number);
        self.suspects.remove(&number);
        if let Some(waiting) = self.requests.remove(&number) {
            // The caller may have gone.
            let _ = waiting.job.reply.send(result);
        }
    }
}

/// The node's words, without what is said to the caller around them.
fn reason_of(error: &ClientError) -> String {
    match error {
        ClientError::NoLeader { reason }
        | ClientError::Busy { reason }
        | ClientError::TimedOut { reason }
        | ClientError::OutcomeUnknown { reason }
        | ClientError::Unreachable { reason, .. } => reason.clone(),
        ClientError::InvalidEndpoint { .. }
        | ClientError::NoEndpoints
        | ClientError::Compacted { .. }
        | ClientError::TooLarge { .. }
        | ClientError::Refused { .. }
        | ClientError::Unsupported { .. }
        | ClientError::Malformed { .. } => error.to_string(),
    }
}

#[cfg(test)]
#[path = "pending_tests.rs"]
mod tests;
