//! One stream of a client with all its watches.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::watch_request::RequestUnion;
use ruvector_api::mvccpb;
use ruvector_node::state_machine::kv::{Event, KvError, KvView, Revision};
use tokio::time::Interval;
use tonic::{Status, Streaming};

use super::hub::HubStream;
use super::index::WatchIndex;
use super::range::WatchRange;
use super::watcher::{Watcher, wire_bytes};
use crate::context::Context;
use crate::etcd::error::EtcdError;
use crate::etcd::leader;

/// A batch is full when its events take this many bytes; the last revision in it is told whole.
const BATCH_BYTES: usize = 1 << 20;
/// How many revisions a batch covers at most, so that reading it keeps nobody waiting.
const BATCH_REVISIONS: i64 = 1_000;
/// How soon to look again whether the hub has read what a request for progress waits for.
const PROGRESS_RETRY: Duration = Duration::from_millis(20);
/// The id in answers that concern no watch, or all of them.
const NO_WATCH: i64 = -1;

/// One stream of a client with all its watches: pulled by the connection when the client can take more.
///
/// Invariants: `index` holds exactly the watches that joined; all of those have been told every change through
/// `looked_through`, except what `unread` still covers; a watch that did not join is in `catching_up`.
pub(super) struct Session {
    context: Arc<Context>,
    requests: Streaming<pb::WatchRequest>,
    hub: HubStream,
    watchers: BTreeMap<i64, Watcher>,
    index: WatchIndex<i64>,
    /// Watches that began in the past, each with its own position in history; they take turns.
    catching_up: VecDeque<i64>,
    /// Revisions with changes for watches that joined.
    unread: Option<Unread>,
    looked_through: Revision,
    /// Answers that wait to be pulled: those to one request or of one batch.
    ready: VecDeque<pb::WatchResponse>,
    next_id: i64,
    progress_asked: bool,
    idle_check: Interval,
    leader_lost: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

#[derive(Clone, Copy)]
struct Unread {
    next: Revision,
    through: Revision,
}

/// What a stream waits for when it has nothing to tell.
enum Wake {
    Request(Result<Option<pb::WatchRequest>, Status>),
    Look,
    IdleCheck,
    LeaderLost,
}

impl Session {
    pub(super) fn new(
        context: Arc<Context>,
        requests: Streaming<pb::WatchRequest>,
        leader_required: bool,
    ) -> Self {
        let hub = context.watch_hub.open();
        let period = Duration::from_secs(context.limits.watch_progress_seconds);
        let leader_lost =
            leader_required.then(|| leader::lost(context.handle.clone(), context.election_timeout).boxed());
        Self {
            looked_through: hub.look().through,
            context,
            requests,
            hub,
            watchers: BTreeMap::new(),
            index: WatchIndex::new(),
            catching_up: VecDeque::new(),
            unread: None,
            ready: VecDeque::new(),
            next_id: 0,
            progress_asked: false,
            idle_check: tokio::time::interval_at(tokio::time::Instant::now() + period, period),
            leader_lost,
        }
    }

    /// The next answer; `None` when the client has ended the stream.
    pub(super) async fn next(&mut self) -> Option<Result<pb::WatchResponse, Status>> {
        self.answer().await.transpose()
    }

    async fn answer(&mut self) -> Result<Option<pb::WatchResponse>, Status> {
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Ok(Some(response));
            }
            // A cancellation must not wait until a long history is told.
            if let Some(request) = self.requests.message().now_or_never() {
                let Some(request) = request.ok().flatten() else { return Ok(None) };
                self.take(request).await?;
            } else if self.tell().await? {
                if self.ready.is_empty() {
                    tokio::task::yield_now().await;
                }
            } else {
                match self.wait().await {
                    Wake::Request(Ok(Some(request))) => self.take(request).await?,
                    Wake::Request(Ok(None) | Err(_)) => return Ok(None),
                    Wake::Look => {}
                    Wake::IdleCheck => self.tell_idle(),
                    Wake::LeaderLost => return Err(EtcdError::NoLeader.into()),
                }
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let leader_lost = async {
            match &mut self.leader_lost {
                Some(lost) => lost.await,
                None => std::future::pending().await,
            }
        };
        let retry_progress = async {
            match self.progress_asked {
                true => tokio::time::sleep(PROGRESS_RETRY).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            request = self.requests.message() => Wake::Request(request),
            () = self.hub.marked() => Wake::Look,
            () = retry_progress => Wake::Look,
            _ = self.idle_check.tick() => Wake::IdleCheck,
            () = leader_lost => Wake::LeaderLost,
        }
    }

    async fn take(&mut self, request: pb::WatchRequest) -> Result<(), Status> {
        let Some(request) = request.request_union else { return Ok(()) };
        let current = self.context.version(true).await?.view.revision();
        match request {
            RequestUnion::CreateRequest(request) => self.create(request, current),
            RequestUnion::CancelRequest(request) => self.cancel(request.watch_id, current),
            RequestUnion::ProgressRequest(_) => self.progress_asked = true,
        }
        Ok(())
    }

    fn create(&mut self, mut request: pb::WatchCreateRequest, current: Revision) {
        let header = Some(self.context.header(current));
        let created = |watch_id, refused: Option<&str>| pb::WatchResponse {
            header,
            watch_id,
            created: true,
            canceled: refused.is_some(),
            cancel_reason: refused.unwrap_or_default().to_owned(),
            ..Default::default()
        };
        let (key, range_end) = (std::mem::take(&mut request.key), std::mem::take(&mut request.range_end));
        let refused = match WatchRange::new(key, range_end) {
            None => "mvcc: watcher range is empty",
            Some(_) if self.watchers.contains_key(&request.watch_id) && request.watch_id != 0 => {
                "mvcc: duplicate watch ID provided on the WatchStream"
            }
            Some(_) if self.watchers.len() >= self.context.limits.watches_per_stream => {
                EtcdError::TooManyRequests.text()
            }
            Some(_) if !self.hub.count_watch() => EtcdError::TooManyRequests.text(),
            Some(range) => {
                let id = self.free_id(request.watch_id);
                let next = if request.start_revision == 0 { current.0 + 1 } else { request.start_revision };
                self.ready.push_back(created(id, None));
                self.watchers.insert(id, Watcher::new(&request, range, Revision(next)));
                self.catching_up.push_back(id);
                return;
            }
        };
        self.ready.push_back(created(NO_WATCH, Some(refused)));
    }

    /// The id asked for, or the next that is free if none was.
    fn free_id(&mut self, asked: i64) -> i64 {
        if asked != 0 {
            return asked;
        }
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// Ends a watch; one that is unknown is ignored, as in etcd.
    fn cancel(&mut self, id: i64, current: Revision) {
        if self.remove(id) {
            let header = self.context.header(current);
            let response = pb::WatchResponse { watch_id: id, canceled: true, ..Default::default() };
            self.ready.push_back(pb::WatchResponse { header: Some(header), ..response });
        }
    }

    /// Ends a watch whose next changes are compacted away.
    fn cancel_compacted(&mut self, view: &KvView, id: i64) {
        if self.remove(id) {
            self.ready.push_back(pb::WatchResponse {
                header: Some(self.context.header(view.revision())),
                watch_id: id,
                canceled: true,
                // A new watch may begin here. (etcd names the revision before, and loses deletions there.)
                compact_revision: view.compacted().0 + 1,
                cancel_reason: EtcdError::Compacted.text().to_owned(),
                ..Default::default()
            });
        }
    }

    fn remove(&mut self, id: i64) -> bool {
        let Some(watcher) = self.watchers.remove(&id) else { return false };
        if watcher.joined {
            self.index.remove(&watcher.range, id);
            self.hub.leave(&watcher.range, id);
        } else {
            self.catching_up.retain(|other| *other != id);
        }
        self.hub.uncount_watch();
        true
    }

    /// Does a bounded part of what there is to do; false if there is nothing.
    async fn tell(&mut self) -> Result<bool, Status> {
        let look = self.hub.look();
        self.looked_through = look.through;
        if let Some(from) = look.from {
            let next = self.unread.map_or(from, |unread| unread.next);
            self.unread = Some(Unread { next, through: look.through });
        }
        if self.unread.is_none() && self.catching_up.is_empty() && !self.progress_asked {
            return Ok(false);
        }
        let version = self.context.version(true).await?;
        Ok(if let Some(unread) = self.unread {
            self.tell_joined(&version.view, unread);
            true
        } else if let Some(id) = self.catching_up.pop_front() {
            self.catch_up(&version.view, id);
            true
        } else {
            self.tell_progress(&version.view)
        })
    }

    /// Tells the watches that joined a batch of the changes that they were marked for.
    fn tell_joined(&mut self, view: &KvView, unread: Unread) {
        let mut told: BTreeMap<i64, Vec<mvccpb::Event>> = BTreeMap::new();
        let (from, through) = (unread.next, batch_end(unread.next, unread.through));
        let events = view.recent_events(from, through);
        let read = read_batch(events, from, through, |event| {
            let mut bytes = 0;
            self.index.find(&event.kv.key, |id| {
                let watcher = &self.watchers[&id];
                if watcher.wants(event) {
                    let event = watcher.wire(event);
                    bytes += wire_bytes(&event);
                    told.entry(id).or_default().push(event);
                }
            });
            bytes
        });
        match read {
            Ok(through) => {
                told.into_iter().for_each(|(id, events)| self.push_events(id, through, events));
                let next = Revision(through.0 + 1);
                self.unread = (next <= unread.through).then_some(Unread { next, ..unread });
            }
            Err(_) => self.end_outrun(view, unread),
        }
    }

    /// Ends the watches that joined and were to be told what is compacted and gone, and goes on behind it for
    /// the others, which wait for a later revision.
    fn end_outrun(&mut self, view: &KvView, unread: Unread) {
        let outrun = |watcher: &Watcher| watcher.joined && watcher.next <= view.compacted();
        let outrun = self.watchers.iter().filter(|(_, watcher)| outrun(watcher));
        let outrun: Vec<_> = outrun.map(|(id, _)| *id).collect();
        outrun.into_iter().for_each(|id| self.cancel_compacted(view, id));
        let next = Revision(view.compacted().0 + 1);
        self.unread = (next <= unread.through).then_some(Unread { next, ..unread });
    }

    /// Lets a watch join if it is up to date, or tells it a batch of what it missed.
    fn catch_up(&mut self, view: &KvView, id: i64) {
        let watcher = self.watchers.get_mut(&id).expect("a watch that ends is taken out of the queue");
        if self.hub.join(&watcher.range, id, watcher.next, view.revision()) {
            watcher.joined = true;
            self.index.insert(&watcher.range, id);
            return;
        }
        let from = watcher.next.max(Revision(1));
        if from > self.looked_through {
            // The hub went on since this stream looked, so the version at hand may be too old.
            self.catching_up.push_back(id);
            return;
        }
        let through = batch_end(from, self.looked_through);
        let mut events = Vec::new();
        let read = read_batch(view.events(from, through), from, through, |event| {
            if !watcher.range.contains(&event.kv.key) || !watcher.wants(event) {
                return 0;
            }
            let event = watcher.wire(event);
            let bytes = wire_bytes(&event);
            events.push(event);
            bytes
        });
        match read {
            Ok(through) => {
                watcher.next = Revision(through.0 + 1);
                self.catching_up.push_back(id);
                self.push_events(id, through, events);
            }
            Err(_) => {
                self.catching_up.push_back(id);
                self.cancel_compacted(view, id);
            }
        }
    }

    fn push_events(&mut self, id: i64, through: Revision, events: Vec<mvccpb::Event>) {
        if events.is_empty() {
            return;
        }
        let header = Some(self.context.header(through));
        let watcher = self.watchers.get_mut(&id).expect("only watches of this stream are told");
        watcher.told = true;
        self.context.metrics.watch_events.inc_by(events.len() as u64);
        let response = pb::WatchResponse { header, watch_id: id, ..Default::default() };
        self.ready.extend(watcher.responses(response, events, self.context.limits.request_bytes));
    }

    /// Answers a request for progress once all watches have been told everything; true if that is done with.
    /// The answer counts for all watches, so with one that waits for a later revision there is none, as in etcd.
    fn tell_progress(&mut self, view: &KvView) -> bool {
        let next = self.watchers.values().map(|watcher| watcher.next).max().unwrap_or_default();
        if next > Revision(view.revision().0 + 1) {
            self.progress_asked = false;
        } else if next <= Revision(self.looked_through.0 + 1) {
            self.progress_asked = false;
            let header = Some(self.context.header(self.looked_through));
            self.ready.push_back(pb::WatchResponse { header, watch_id: NO_WATCH, ..Default::default() });
        }
        !self.progress_asked
    }

    /// Tells the watches that asked for it and were told nothing for a while how far they are.
    fn tell_idle(&mut self) {
        let up_to_date = Revision(self.looked_through.0 + 1);
        for (id, watcher) in &mut self.watchers {
            let told = std::mem::replace(&mut watcher.told, false);
            let idle = !told && watcher.joined && watcher.next <= up_to_date && self.unread.is_none();
            if watcher.progress_notify && idle {
                let header = Some(self.context.header(self.looked_through));
                self.ready.push_back(pb::WatchResponse { header, watch_id: *id, ..Default::default() });
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for (id, watcher) in &self.watchers {
            if watcher.joined {
                self.hub.leave(&watcher.range, *id);
            }
            self.hub.uncount_watch();
        }
    }
}

/// The last revision that a batch from a revision on may cover.
fn batch_end(from: Revision, through: Revision) -> Revision {
    through.min(Revision(from.0.saturating_add(BATCH_REVISIONS - 1)))
}

/// Reads whole revisions of `from..=through` until a batch is full. `take` answers how many bytes it made of an
/// event. Returns the revision that was read through.
fn read_batch(
    events: Result<impl Iterator<Item = Event>, KvError>,
    from: Revision,
    through: Revision,
    mut take: impl FnMut(&Event) -> usize,
) -> Result<Revision, KvError> {
    let mut bytes = 0;
    let mut revision = from;
    for event in events? {
        if event.kv.mod_revision > revision && bytes >= BATCH_BYTES {
            return Ok(Revision(event.kv.mod_revision.0 - 1));
        }
        revision = event.kv.mod_revision;
        bytes += take(&event);
    }
    Ok(through)
}
