//! Changes as they happen, resumed after a lost connection.

use std::time::Duration;

use crate::group::Channel;
use bytes::Bytes;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::watch_client::WatchClient;
use ruvector_api::mvccpb;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::client::Client;
use crate::connection::service;
use crate::error::ClientError;
use crate::keys::{KeyRange, KeyValue, revision_of};
use crate::verdict::{Effect, Verdict, judge, status_is_too_large, timeout_status};

/// The longest wait between two attempts to resume.
const RESUME_DELAY_MAX: Duration = Duration::from_secs(1);

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    /// The first revision to report; `None` for whatever comes next.
    pub start_revision: Option<i64>,
    /// Also tell what a key held before.
    pub previous: bool,
    /// Leave puts out.
    pub without_puts: bool,
    /// Leave deletes out.
    pub without_deletes: bool,
}

impl Default for WatchOptions {
    /// Everything from now on.
    fn default() -> Self {
        Self { start_revision: None, previous: false, without_puts: false, without_deletes: false }
    }
}

/// All that the watched keys saw at one or more successive revisions. No revision is ever split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchBatch {
    /// Everything up to this revision has been reported.
    pub revision: i64,
    /// In order.
    pub events: Vec<Event>,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key after it; for a deletion only its name and the deletion's revision.
    pub key_value: KeyValue,
    /// The key before it, if asked for and still known.
    pub previous: Option<KeyValue>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted, or its lease ended.
    Delete,
}

/// A watch that is under way. Dropping it ends it.
///
/// When a connection breaks it goes on at another endpoint, from the revision after the last one reported: every
/// event is delivered once and in order.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    request: pb::WatchCreateRequest,
    /// The first revision not yet reported, once known.
    next_revision: Option<i64>,
    stream: Option<OpenStream>,
}

#[derive(Debug)]
struct OpenStream {
    responses: Streaming<pb::WatchResponse>,
    /// The stream lasts as long as its requests may come.
    _requests: mpsc::Sender<pb::WatchRequest>,
    /// The position of the endpoint it is at.
    position: usize,
    /// Events of a revision whose rest is to come.
    partial: Vec<Event>,
}

impl Client {
    /// Begins to watch keys. When this returns, every later change will be reported.
    ///
    /// # Errors
    /// Any [`ClientError`] but [`ClientError::OutcomeUnknown`]; [`ClientError::Compacted`] if the start revision
    /// is no longer kept.
    pub async fn watch(
        &self,
        range: impl Into<KeyRange>,
        options: WatchOptions,
    ) -> Result<Watch, ClientError> {
        let mut watch = Watch {
            client: self.clone(),
            request: create_request(range.into(), &options),
            next_revision: options.start_revision,
            stream: None,
        };
        watch.open_within_request_timeout().await?;
        Ok(watch)
    }
}

impl Watch {
    /// Waits for the next events. Cancel-safe: if the future is dropped, nothing is lost.
    ///
    /// # Errors
    /// [`ClientError::Compacted`] if history was dropped before it could be reported, and whatever refusal a
    /// server gives. A lost connection is no error: the watch resumes, for as long as it takes.
    pub async fn next(&mut self) -> Result<WatchBatch, ClientError> {
        let mut delay = self.client.options().retry_delay;
        loop {
            let Some(stream) = &mut self.stream else {
                match self.open().await {
                    Ok(()) => delay = self.client.options().retry_delay,
                    Err(attempt) if attempt.may_retry => {
                        sleep(delay).await;
                        delay = (delay * 2).min(RESUME_DELAY_MAX);
                    }
                    Err(attempt) => return Err(attempt.error),
                }
                continue;
            };
            match stream.responses.message().await {
                Ok(Some(response)) => {
                    if let Some(batch) = self.take(response)? {
                        return Ok(batch);
                    }
                }
                // To resume would bring the same again.
                Err(status) if status_is_too_large(&status) => {
                    self.stream = None;
                    return Err(ClientError::TooLarge { reason: status.message().to_owned() });
                }
                // The node stopped or the connection broke.
                Ok(None) | Err(_) => self.abandon_stream(),
            }
        }
    }

    /// Takes a response in. Gives a batch when it completes one.
    fn take(&mut self, response: pb::WatchResponse) -> Result<Option<WatchBatch>, ClientError> {
        if response.canceled {
            self.stream = None;
            return Err(cancelled(&response));
        }
        let Some(stream) = &mut self.stream else { return Ok(None) };
        stream.partial.extend(response.events.into_iter().map(Into::into));
        if response.fragment {
            return Ok(None);
        }
        let events = std::mem::take(&mut stream.partial);
        // A response without events is a notice of progress: its header tells how far everything is reported.
        // One with events may have been overtaken by the store, so there the last event tells.
        let reported = match events.last() {
            Some(event) => event.key_value.mod_revision,
            None => revision_of(response.header.as_ref()),
        };
        self.next_revision = Some(self.next_revision.unwrap_or(0).max(reported + 1));
        Ok((!events.is_empty()).then_some(WatchBatch { revision: reported, events }))
    }

    async fn open_within_request_timeout(&mut self) -> Result<(), ClientError> {
        let options = self.client.options().clone();
        let endpoint_count = self.client.endpoints().count();
        let mut failures = 0;
        let begun = tokio::time::Instant::now();
        loop {
            match self.open().await {
                Ok(()) => return Ok(()),
                Err(attempt) => {
                    failures += 1;
                    let patience = options.patience(&attempt.error);
                    if !attempt.may_retry || (failures >= endpoint_count && begun.elapsed() >= patience) {
                        return Err(attempt.error);
                    }
                    if failures % endpoint_count == 0 {
                        sleep(options.retry_delay * 4).await;
                    }
                }
            }
        }
    }

    /// Opens the stream at the preferred endpoint and waits until the server confirms the watch.
    async fn open(&mut self) -> Result<(), Verdict> {
        let (position, connection) = self.client.preferred();
        let endpoint = connection.endpoint.clone();
        let channel = connection.channel.clone();
        let mut request = self.request.clone();
        request.start_revision = self.next_revision.unwrap_or(0);
        // A node that hangs must leave time to ask the others.
        let limit = self.client.options().request_timeout / 3;
        let opened = match timeout(limit, open_stream(channel, request)).await {
            Ok(opened) => opened,
            Err(_) => Err(timeout_status(&endpoint)),
        };
        match opened {
            Ok((responses, requests, confirmation)) if confirmation.canceled => {
                drop((responses, requests));
                Err(Verdict { error: cancelled(&confirmation), may_retry: false })
            }
            Ok((responses, requests, confirmation)) => {
                let revision = revision_of(confirmation.header.as_ref());
                self.next_revision.get_or_insert(revision + 1);
                self.stream =
                    Some(OpenStream { responses, _requests: requests, position, partial: Vec::new() });
                Ok(())
            }
            Err(status) => {
                self.client.prefer_another_than(position);
                Err(judge(&status, &endpoint, Effect::Read))
            }
        }
    }

    fn abandon_stream(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.client.prefer_another_than(stream.position);
        }
    }
}

type Opened = (Streaming<pb::WatchResponse>, mpsc::Sender<pb::WatchRequest>, pb::WatchResponse);

async fn open_stream(channel: Channel, request: pb::WatchCreateRequest) -> Result<Opened, Status> {
    let (requests, receiver) = mpsc::channel(1);
    let create = pb::watch_request::RequestUnion::CreateRequest(request);
    // There is room for one, and the receiver is held here.
    let _ = requests.send(pb::WatchRequest { request_union: Some(create) }).await;
    let mut responses =
        service!(WatchClient<Channel>, channel).watch(ReceiverStream::new(receiver)).await?.into_inner();
    match responses.message().await? {
        Some(confirmation) => Ok((responses, requests, confirmation)),
        None => Err(Status::unavailable("the stream ended before the watch was confirmed")),
    }
}

fn create_request(range: KeyRange, options: &WatchOptions) -> pb::WatchCreateRequest {
    use pb::watch_create_request::FilterType;

    let (key, range_end): (Bytes, Bytes) = range.into_bounds();
    let mut filters = Vec::new();
    if options.without_puts {
        filters.push(FilterType::Noput.into());
    }
    if options.without_deletes {
        filters.push(FilterType::Nodelete.into());
    }
    pb::WatchCreateRequest {
        key,
        range_end,
        start_revision: options.start_revision.unwrap_or(0),
        progress_notify: true,
        filters,
        prev_kv: options.previous,
        watch_id: 0,
        fragment: true,
    }
}

fn cancelled(response: &pb::WatchResponse) -> ClientError {
    if response.compact_revision > 0 {
        return ClientError::Compacted {
            oldest: Some(response.compact_revision),
            reason: format!("the oldest is {}", response.compact_revision),
        };
    }
    let reason = &response.cancel_reason;
    ClientError::Refused {
        reason: if reason.is_empty() { "the server ended the watch".to_owned() } else { reason.clone() },
    }
}

impl From<mvccpb::Event> for Event {
    fn from(event: mvccpb::Event) -> Self {
        let kind = match event.r#type() {
            mvccpb::event::EventType::Put => EventKind::Put,
            mvccpb::event::EventType::Delete => EventKind::Delete,
        };
        Self { kind, key_value: event.kv.unwrap_or_default().into(), previous: event.prev_kv.map(Into::into) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_asked_for_goes_into_the_request() {
        let options = WatchOptions {
            start_revision: Some(5),
            previous: true,
            without_puts: true,
            without_deletes: false,
        };
        let request = create_request(KeyRange::Prefix("a".into()), &options);
        let expected = pb::WatchCreateRequest {
            key: "a".into(),
            range_end: "b".into(),
            start_revision: 5,
            progress_notify: true,
            filters: vec![pb::watch_create_request::FilterType::Noput.into()],
            prev_kv: true,
            watch_id: 0,
            fragment: true,
        };
        assert_eq!(request, expected);
        let options = WatchOptions { without_deletes: true, ..WatchOptions::default() };
        let request = create_request(KeyRange::One("a".into()), &options);
        assert_eq!(request.filters, [i32::from(pb::watch_create_request::FilterType::Nodelete)]);
        assert_eq!((request.start_revision, request.prev_kv, request.range_end), (0, false, Bytes::new()));
    }

    #[test]
    fn an_event_is_told_with_all_its_fields() {
        let kv = |key: &'static str, mod_revision| mvccpb::KeyValue {
            key: key.into(),
            mod_revision,
            ..Default::default()
        };
        for (r#type, kind) in [(0, EventKind::Put), (1, EventKind::Delete)] {
            let event = mvccpb::Event { r#type, kv: Some(kv("new", 9)), prev_kv: Some(kv("old", 8)) };
            let expected =
                Event { kind, key_value: kv("new", 9).into(), previous: Some(kv("old", 8).into()) };
            assert_eq!(Event::from(event), expected);
        }
    }
}
