//! One stream of a client with all its watches: its requests, and what it is told.

use std::collections::VecDeque;
use std::pin::Pin;

use futures::FutureExt;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::watch_create_request::FilterType;
use ruvector_api::etcdserverpb::watch_request::RequestUnion;
use ruvector_node::state_machine::kv::Revision;
use tonic::{Status, Streaming};

use super::answer::Answer;
use crate::etcd::error::{EtcdError, request_status, status};
use crate::etcd::header::header;
use crate::service::caller::Caller;
use crate::service::error::ServiceError;
use crate::service::watch::stream::{Notice, Wake, WatchRefusal, WatchStream};
use crate::service::watch::watcher::{NewWatch, WatchForm};

/// An answer of at most so many bytes is part of what a call takes.
const SMALL_BYTES_MAX: usize = 4 << 10;
/// The id in answers that concern no watch, or all of them.
const NO_WATCH: i64 = -1;

/// One stream of a client with all its watches: pulled by the connection when the client can take more.
pub(super) struct Session {
    /// `None` when the client has sent the last one. That ends no watch: some clients close their side as soon as
    /// they have asked for one.
    requests: Option<Streaming<pb::WatchRequest>>,
    stream: WatchStream,
    /// Answers that wait to be pulled: those that one notice became.
    ready: VecDeque<Answer>,
    leader_lost: Option<Pin<Box<dyn Future<Output = ServiceError> + Send>>>,
}

/// What a stream waits for when it has nothing to tell.
enum Event {
    Request(Result<pb::WatchRequest, Status>),
    Wake(Wake),
    LeaderLost(ServiceError),
}

impl Session {
    pub(super) fn new(caller: Caller, requests: Streaming<pb::WatchRequest>, leader_required: bool) -> Self {
        let leader_lost = leader_required.then(|| caller.leader_lost().boxed());
        Self {
            requests: Some(requests),
            stream: WatchStream::new(caller),
            ready: VecDeque::new(),
            leader_lost,
        }
    }

    /// The next answer. The stream goes on until the connection drops it, or ends with the error.
    pub(super) async fn next(&mut self) -> Result<Answer, Status> {
        loop {
            if let Some(answer) = self.ready.pop_front() {
                return Ok(held(self.stream.caller(), answer).await);
            }
            if let Some(notice) = self.stream.pop() {
                self.answer(notice);
                continue;
            }
            if self.stream.is_busy() {
                // A cancellation must not wait until a long history is told.
                match next_request(&mut self.requests).now_or_never() {
                    Some(request) => self.take(request?).await.map_err(status)?,
                    None => self.stream.advance().await.map_err(status)?,
                }
                continue;
            }
            match self.wait().await {
                Event::Request(request) => self.take(request?).await.map_err(status)?,
                Event::Wake(wake) => self.stream.woken(wake).await.map_err(status)?,
                Event::LeaderLost(error) => return Err(status(error)),
            }
        }
    }

    async fn wait(&mut self) -> Event {
        let leader_lost = async {
            match &mut self.leader_lost {
                Some(lost) => lost.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            request = next_request(&mut self.requests) => Event::Request(request),
            wake = self.stream.wait() => Event::Wake(wake),
            error = leader_lost => Event::LeaderLost(error),
        }
    }

    async fn take(&mut self, request: pb::WatchRequest) -> Result<(), ServiceError> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.stream.create(asked(request)).await,
            Some(RequestUnion::CancelRequest(request)) => self.stream.cancel(request.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => self.stream.ask_progress().await,
            None => Ok(()),
        }
    }

    /// Makes answers of what is to be told.
    fn answer(&mut self, notice: Notice) {
        let response = |watch_id, revision| pb::WatchResponse {
            header: Some(header(self.stream.caller(), revision)),
            watch_id,
            ..Default::default()
        };
        let response = match notice {
            Notice::Created { id, revision } => pb::WatchResponse { created: true, ..response(id, revision) },
            Notice::Refused { reason, revision } => pb::WatchResponse {
                created: true,
                canceled: true,
                cancel_reason: refusal(reason).to_owned(),
                ..response(NO_WATCH, revision)
            },
            Notice::Canceled { id, revision } => {
                pb::WatchResponse { canceled: true, ..response(id, revision) }
            }
            // As in etcd, this answer's header has no revision.
            Notice::Outrun { id, compacted } => pb::WatchResponse {
                canceled: true,
                compact_revision: compacted.0,
                ..response(id, Revision(0))
            },
            Notice::Progress { id, revision } => response(id.unwrap_or(NO_WATCH), revision),
            Notice::Changes { id, through, changes, form } => {
                let bytes_max = self.stream.caller().limits.request_bytes;
                let response = response(id, through);
                if form.fragment {
                    let answers = Answer::fragments(&response, changes, form.with_previous, bytes_max);
                    self.ready.extend(answers);
                } else {
                    self.ready.push_back(Answer::whole(response, changes, form.with_previous));
                }
                return;
            }
        };
        self.ready.push_back(response.into());
    }
}

/// An answer with what it takes until it is given to the connection. It is encoded once for all who are told of it,
/// and once more for the connection.
async fn held(caller: &Caller, answer: Answer) -> Answer {
    let bytes = answer.bytes();
    match bytes <= SMALL_BYTES_MAX {
        true => answer,
        false => answer.held(caller.room(2 * bytes).await),
    }
}

/// The watch that a request asks for.
pub(super) fn asked(request: pb::WatchCreateRequest) -> NewWatch {
    let filtered = |kind: FilterType| request.filters.contains(&(kind as i32));
    let form = WatchForm {
        no_put: filtered(FilterType::Noput),
        no_delete: filtered(FilterType::Nodelete),
        with_previous: request.prev_kv,
        fragment: request.fragment,
    };
    NewWatch {
        id: (request.watch_id != 0).then_some(request.watch_id),
        key: request.key,
        range_end: request.range_end,
        start: (request.start_revision != 0).then_some(Revision(request.start_revision)),
        form,
        progress_notify: request.progress_notify,
    }
}

fn refusal(reason: WatchRefusal) -> &'static str {
    match reason {
        WatchRefusal::EmptyRange => "mvcc: watcher range is empty",
        WatchRefusal::DuplicateId => "mvcc: duplicate watch ID provided on the WatchStream",
        WatchRefusal::TooMany => EtcdError::TooManyRequests.text(),
    }
}

/// The next request; never returns when there will be no other.
async fn next_request(
    requests: &mut Option<Streaming<pb::WatchRequest>>,
) -> Result<pb::WatchRequest, Status> {
    if let Some(open) = requests {
        match open.message().await {
            Ok(Some(request)) => return Ok(request),
            Ok(None) => *requests = None,
            Err(status) => return Err(request_status(status)),
        }
    }
    std::future::pending().await
}
