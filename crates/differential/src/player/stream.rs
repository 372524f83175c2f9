//! Watch streams: what is said on them, and everything that comes back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::watch_client::WatchClient;
use ruvector_api::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use super::expectation::{EVERYTHING, Followed};
use super::{ANSWER_LIMIT, LOOK_INTERVAL, Node, Player};
use crate::fields::{Fields, Tell, Teller};
use crate::program::Saying;

/// The stream that watches everything.
const OBSERVER: u32 = 0;
/// The watch that is made and ended after everything that is said, to see that it was heard.
const PROBE: i64 = 1 << 40;
/// The id in answers that concern no watch, or all of them.
const NO_WATCH: i64 = -1;
/// Several times as long as etcd takes to look after watches that began in the past.
const CATCH_UP_TIME: Duration = Duration::from_millis(400);
/// How long is waited for an answer that may not come.
const PROGRESS_LIMIT: Duration = Duration::from_millis(500);
/// How long is waited for events that should come. What does not come is found by comparing.
const EVENTS_LIMIT: Duration = Duration::from_secs(4);

/// A watch stream. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Stream {
    /// The node that it leads to.
    pub(super) node: u32,
    requests: Option<UnboundedSender<pb::WatchRequest>>,
    heard: Arc<Mutex<Heard>>,
    task: JoinHandle<()>,
}

/// What came on a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    pub(super) responses: Vec<pb::WatchResponse>,
    end: Option<Status>,
}

impl Stream {
    fn open(node: u32, watch: WatchClient<Channel>) -> Self {
        let (requests, receiver) = unbounded_channel();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let task = tokio::spawn(listen(watch, receiver, Arc::clone(&heard)));
        Self { node, requests: Some(requests), heard, task }
    }

    pub(super) fn heard(&self) -> Heard {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn say(&self, request: pb::WatchRequest) {
        if let Some(requests) = &self.requests {
            // A stream that has ended is told by what was heard of it.
            let _ = requests.send(request);
        }
    }

    /// Waits until everything that was said is answered: answers come in the order of what was said.
    async fn probe(&self) -> Result<()> {
        let mut create =
            pb::WatchCreateRequest { key: "\0probe".into(), watch_id: PROBE, ..Default::default() };
        create.filters = vec![0, 1];
        let cancel = pb::WatchCancelRequest { watch_id: PROBE };
        let before = self.probes_ended();
        for request_union in [RequestUnion::CreateRequest(create), RequestUnion::CancelRequest(cancel)] {
            self.say(pb::WatchRequest { request_union: Some(request_union) });
        }
        let limit = Instant::now() + ANSWER_LIMIT;
        while self.probes_ended() == before && self.heard().end.is_none() {
            ensure!(Instant::now() < limit, "a watch stream does not answer");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// Waits for an answer to a request for progress, which comes when the watches have been told everything, or never.
    async fn await_progress(&self, before: usize) {
        let limit = Instant::now() + PROGRESS_LIMIT;
        let told =
            || self.heard().responses.iter().skip(before).any(|response| response.watch_id == NO_WATCH);
        while !told() && Instant::now() < limit {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    fn probes_ended(&self) -> usize {
        let heard = self.heard();
        heard.responses.iter().filter(|response| response.watch_id == PROBE && response.canceled).count()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(
    mut watch: WatchClient<Channel>,
    requests: UnboundedReceiver<pb::WatchRequest>,
    heard: Arc<Mutex<Heard>>,
) {
    let lock = || heard.lock().unwrap_or_else(PoisonError::into_inner);
    let ended = match watch.watch(UnboundedReceiverStream::new(requests)).await {
        Err(status) => status,
        Ok(responses) => {
            let mut responses = responses.into_inner();
            loop {
                match responses.message().await {
                    Ok(Some(response)) => lock().responses.push(response),
                    Ok(None) => break Status::ok("the end"),
                    Err(status) => break status,
                }
            }
        }
    };
    lock().end = Some(ended);
}

impl Player {
    /// Begins to watch everything.
    pub(super) async fn observe(&mut self) -> Result<()> {
        let create = pb::WatchCreateRequest {
            key: EVERYTHING.into(),
            range_end: EVERYTHING.into(),
            start_revision: self.symbols.base + 1,
            prev_kv: true,
            ..Default::default()
        };
        let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        self.say(0, &Saying { stream: OBSERVER, request: Some(request) }).await.map(drop)
    }

    /// Says something and waits until it is heard. What is answered is part of the streams' fields.
    pub(super) async fn say(&mut self, node: u32, saying: &Saying) -> Result<Fields> {
        let Node { watch, .. } = self.node(node);
        let stream = self.streams.entry(saying.stream).or_insert_with(|| Stream::open(node, watch));
        let Some(mut request) = saying.request.clone() else {
            stream.requests = None;
            return Ok(Fields::default());
        };
        self.symbols.resolve_watch(&mut request);
        let before = stream.heard().responses.len();
        stream.say(request.clone());
        if stream.requests.is_some() {
            stream.probe().await?;
            if let Some(RequestUnion::ProgressRequest(_)) = request.request_union {
                stream.await_progress(before).await;
            }
        }
        if let Some(RequestUnion::CreateRequest(create)) = request.request_union {
            let start_revision = create.start_revision;
            let heard = stream.heard().responses;
            let created = heard
                .iter()
                .skip(before)
                .position(|response| response.created && !response.canceled && response.watch_id != PROBE);
            let follow =
                created.map(|at| Followed::new(saying.stream, before + at, &heard[before + at], create));
            self.followed
                .extend(follow.map(|followed| followed.at(self.symbols.now, self.symbols.compacted)));
            self.begins_in_past |= (1..=self.symbols.now).contains(&start_revision);
        }
        Ok(Fields::default())
    }

    /// Waits until every watch was told what the watch of everything says that it should be told, or for long.
    ///
    /// # Errors
    /// If the watch of everything itself ends or falls silent.
    pub async fn settle(&mut self) -> Result<()> {
        let limit = Instant::now() + ANSWER_LIMIT;
        let changes = loop {
            let heard = self.streams[&OBSERVER].heard();
            if let Some(end) = heard.end {
                bail!("the watch of everything ended: {end}");
            }
            let events: Vec<_> = heard.responses.into_iter().flat_map(|response| response.events).collect();
            let through = events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
            if through >= self.symbols.now || self.symbols.now == self.symbols.base {
                break events;
            }
            ensure!(Instant::now() < limit, "the watch of everything stays behind");
            tokio::time::sleep(LOOK_INTERVAL).await;
        };
        let limit = Instant::now() + EVENTS_LIMIT;
        loop {
            let streams = &self.streams;
            let heard: BTreeMap<u32, Heard> =
                streams.iter().map(|(number, stream)| (*number, stream.heard())).collect();
            let waits = |followed: &Followed| {
                let Heard { responses, end } = &heard[&followed.stream];
                end.is_none() && followed.waits(responses, &changes)
            };
            if !self.followed.iter().any(waits) {
                return Ok(());
            }
            if Instant::now() >= limit {
                self.followed.retain(|followed| !waits(followed));
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Gives watches that began in the past, and may have nothing to tell, the time to come to the present: a compaction ends
    /// those that have not, and etcd lets them move on every tenth of a second.
    pub async fn await_watches(&mut self) {
        if std::mem::take(&mut self.begins_in_past) {
            tokio::time::sleep(CATCH_UP_TIME).await;
        }
    }

    /// Everything that came on all streams.
    #[must_use]
    pub fn streams(&self) -> Fields {
        let mut fields = Fields::default();
        for (number, stream) in &self.streams {
            fields.add(&format!("stream {number}"), Fields::of(&stream.heard(), &self.symbols));
        }
        fields
    }
}

/// What came, by watch: how changes are put together into responses, and how the responses to several watches follow
/// each other, is free.
impl Tell for Heard {
    fn tell(&self, to: &mut Teller<'_>) {
        let mut watches: BTreeMap<i64, Vec<&pb::WatchResponse>> = BTreeMap::new();
        for response in self.responses.iter().filter(|response| response.watch_id != PROBE) {
            watches.entry(response.watch_id).or_default().push(response);
        }
        for (id, responses) in watches {
            to.within(&format!("watch {id}"), &Watched(responses));
        }
        to.perhaps("end", self.end.as_ref());
    }
}

/// What came for one watch.
struct Watched<'heard>(Vec<&'heard pb::WatchResponse>);

impl Tell for Watched<'_> {
    fn tell(&self, to: &mut Teller<'_>) {
        let mut number = 0;
        let mut glued = false;
        for response in &self.0 {
            let pb::WatchResponse {
                header,
                watch_id: _,
                created,
                canceled,
                compact_revision,
                cancel_reason,
                fragment,
                events,
            } = response;
            let revision = header.as_ref().map_or(0, |header| header.revision);
            if events.is_empty() || *created || *canceled {
                to.put(&format!("[{number}]"), format!("created {created} canceled {canceled}"));
                to.revision(&format!("[{number}].header.revision"), revision);
                to.revision(&format!("[{number}].compact_revision"), *compact_revision);
                to.text(&format!("[{number}].cancel_reason"), cancel_reason);
                number += 1;
            }
            for event in events {
                to.within(&format!("[{number}]"), event);
                let own = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
                to.flag(&format!("[{number}].header_covers"), revision >= own);
                number += 1;
            }
            glued = *fragment;
        }
        to.flag("ends_within_fragments", glued);
        to.number("length", number);
    }
}
