//! One stream of a client with all its watches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use ruvector_api::etcdserverpb as pb;
use ruvector_api::etcdserverpb::watch_request::RequestUnion;
use ruvector_node::state_machine::kv::{KvView, Revision};
use ruvector_node::{Permit, Share};
use tokio::time::Interval;
use tonic::{Status, Streaming};

use super::answer::Answer;
use super::batch::{Batch, Told, batch_end, read_batch};
use super::change::Change;
use super::hub::HubStream;
use super::index::WatchIndex;
use super::range::WatchRange;
use super::watcher::Watcher;
use crate::context::{Client, Context};
use crate::etcd::error::{EtcdError, request_status};
use crate::etcd::leader;
use crate::held::ROOM_RETRY;

/// How soon to look again whether the hub has read what a request for progress waits for.
const PROGRESS_RETRY: Duration = Duration::from_millis(20);
/// An answer of at most so many bytes is part of what a call takes.
const SMALL_BYTES_MAX: usize = 4 << 10;
/// The id in answers that concern no watch, or all of them.
const NO_WATCH: i64 = -1;
/// How many ids of watches that compaction has ended are remembered.
const OUTRUN_MAX: usize = 1_000;

/// One stream of a client with all its watches: pulled by the connection when the client can take more.
///
/// Invariants: `index` holds exactly the watches that joined; all of those have been told every change through
/// `looked_through`, except what `unread` still covers; a watch that did not join is in `catching_up`.
pub(super) struct Session {
    context: Arc<Context>,
    /// The account of what the stream's answers take.
    share: Arc<Share>,
    /// `None` when the client has sent the last one. That ends no watch: some clients close their side as soon as they have
    /// asked for one.
    requests: Option<Streaming<pb::WatchRequest>>,
    hub: HubStream,
    watchers: BTreeMap<i64, Watcher>,
    index: WatchIndex<i64>,
    /// Ids of watches that compaction has ended. As in etcd they stay taken until the client cancels them too; with more than
    /// [`OUTRUN_MAX`] the lowest is free again.
    outrun: BTreeSet<i64>,
    /// Watches that began in the past, each with its own position in history; they take turns.
    catching_up: VecDeque<i64>,
    /// Revisions with changes for watches that joined.
    unread: Option<Unread>,
    looked_through: Revision,
    /// Answers that wait to be pulled: those to one request or of one batch.
    ready: VecDeque<Answer>,
    next_id: i64,
    /// Progress was asked for, when the store was at this revision.
    progress_asked: Option<Revision>,
    /// There may be something to tell without waiting.
    busy: bool,
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
    Request(Result<pb::WatchRequest, Status>),
    Look,
    IdleCheck,
    LeaderLost,
}

impl Session {
    pub(super) fn new(client: Client, requests: Streaming<pb::WatchRequest>, leader_required: bool) -> Self {
        let Client { context, share, .. } = client;
        let hub = context.watch_hub.open();
        let period = Duration::from_secs(context.limits.watch_progress_seconds);
        let leader_lost =
            leader_required.then(|| leader::lost(context.handle.clone(), context.election_timeout).boxed());
        Self {
            looked_through: hub.look().through,
            context,
            share,
            requests: Some(requests),
            hub,
            watchers: BTreeMap::new(),
            index: WatchIndex::new(),
            outrun: BTreeSet::new(),
            catching_up: VecDeque::new(),
            unread: None,
            ready: VecDeque::new(),
            next_id: 0,
            progress_asked: None,
            busy: false,
            idle_check: tokio::time::interval_at(tokio::time::Instant::now() + period, period),
            leader_lost,
        }
    }

    /// The next answer. The stream goes on until the connection drops it, or ends with the error.
    pub(super) async fn next(&mut self) -> Result<Answer, Status> {
        loop {
            if let Some(answer) = self.ready.pop_front() {
                let permit = room(&self.context, &self.share, answer.bytes()).await;
                return Ok(answer.held(permit));
            }
            if self.busy {
                // A cancellation must not wait until a long history is told.
                if let Some(request) = self.request().now_or_never() {
                    self.take(request?).await?;
                    continue;
                }
                self.busy = self.tell().await?;
                if self.busy && self.ready.is_empty() {
                    tokio::task::yield_now().await;
                }
                continue;
            }
            match self.wait().await {
                Wake::Request(request) => {
                    self.busy = true;
                    self.take(request?).await?;
                }
                Wake::Look => self.busy = self.tell().await?,
                Wake::IdleCheck => {
                    self.busy = self.tell().await?;
                    self.tell_idle();
                }
                Wake::LeaderLost => return Err(EtcdError::NoLeader.into()),
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
                Some(_) => tokio::time::sleep(PROGRESS_RETRY).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            request = next_request(&mut self.requests) => Wake::Request(request),
            () = self.hub.marked() => Wake::Look,
            () = retry_progress => Wake::Look,
            _ = self.idle_check.tick() => Wake::IdleCheck,
            () = leader_lost => Wake::LeaderLost,
        }
    }

    async fn request(&mut self) -> Result<pb::WatchRequest, Status> {
        next_request(&mut self.requests).await
    }

    async fn take(&mut self, request: pb::WatchRequest) -> Result<(), Status> {
        let Some(request) = request.request_union else { return Ok(()) };
        let current = self.context.version(true).await?.view.revision();
        match request {
            RequestUnion::CreateRequest(request) => self.create(request, current),
            RequestUnion::CancelRequest(request) => self.cancel(request.watch_id, current),
            RequestUnion::ProgressRequest(_) => self.progress_asked = Some(current),
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
            Some(_) if request.watch_id != 0 && self.is_taken(request.watch_id) => {
                "mvcc: duplicate watch ID provided on the WatchStream"
            }
            Some(_) if self.watchers.len() >= self.context.limits.watches_per_stream => {
                EtcdError::TooManyRequests.text()
            }
            Some(_) if !self.hub.count_watch() => EtcdError::TooManyRequests.text(),
            Some(range) => {
                let id = self.free_id(request.watch_id);
                let next = if request.start_revision == 0 { current.0 + 1 } else { request.start_revision };
                self.ready.push_back(created(id, None).into());
                self.watchers.insert(id, Watcher::new(&request, range, Revision(next)));
                self.catching_up.push_back(id);
                return;
            }
        };
        self.ready.push_back(created(NO_WATCH, Some(refused)).into());
    }

    /// The id asked for, or the next that is free if none was.
    fn free_id(&mut self, asked: i64) -> i64 {
        if asked != 0 {
            return asked;
        }
        while self.is_taken(self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn is_taken(&self, id: i64) -> bool {
        self.watchers.contains_key(&id) || self.outrun.contains(&id)
    }

    /// Ends a watch; one that is unknown is ignored, as in etcd.
    fn cancel(&mut self, id: i64, current: Revision) {
        if self.remove(id) || self.outrun.remove(&id) {
            let header = self.context.header(current);
            let response = pb::WatchResponse { watch_id: id, canceled: true, ..Default::default() };
            self.ready.push_back(pb::WatchResponse { header: Some(header), ..response }.into());
        }
    }

    /// Ends a watch whose next changes are compacted away. As in etcd, this answer's header has no revision.
    fn cancel_compacted(&mut self, view: &KvView, id: i64) {
        if self.remove(id) {
            let response = pb::WatchResponse {
                header: Some(self.context.header(Revision(0))),
                watch_id: id,
                canceled: true,
                // A new watch may begin here.
                compact_revision: view.compacted().0,
                ..Default::default()
            };
            self.ready.push_back(response.into());
            self.outrun.insert(id);
            if self.outrun.len() > OUTRUN_MAX {
                self.outrun.pop_first();
            }
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

    /// Does a bounded part of what there is to do; false if there is nothing left to do at once.
    async fn tell(&mut self) -> Result<bool, Status> {
        let look = self.hub.look();
        self.looked_through = look.through;
        if let Some(from) = look.from {
            let next = self.unread.map_or(from, |unread| unread.next);
            self.unread = Some(Unread { next, through: look.through });
        }
        if let Some(unread) = self.unread {
            if !self.tell_recent(unread) {
                let version = self.context.version(true).await?;
                self.tell_history(&version.view, unread);
            }
            return Ok(self.unread.is_some()
                || !self.catching_up.is_empty()
                || self.progress_asked.is_some());
        }
        if self.catching_up.is_empty() && self.progress_asked.is_none() {
            return Ok(false);
        }
        let version = self.context.version(true).await?;
        Ok(if let Some(id) = self.catching_up.pop_front() {
            self.catch_up(&version.view, id);
            true
        } else {
            self.tell_progress(&version.view)
        })
    }

    /// Tells the watches that joined the changes that they were marked for, out of the hub's window; false if
    /// that does not reach back far enough.
    fn tell_recent(&mut self, unread: Unread) -> bool {
        let mut batch = Batch::new(&self.index, &self.watchers);
        let read = self.hub.recent(unread.next, unread.through, |changes| {
            read_batch(changes, unread.through, |change| batch.take(change))
        });
        let told = batch.told();
        read.map(|through| self.push_batch(told, through, unread)).is_some()
    }

    /// Tells the watches that joined a batch of the changes that they were marked for, out of history.
    fn tell_history(&mut self, view: &KvView, unread: Unread) {
        let mut batch = Batch::new(&self.index, &self.watchers);
        let (from, through) = (unread.next, batch_end(unread.next, unread.through));
        let read = view.recent_events(from, through).map(|events| {
            let changes = events.map(|event| Arc::new(Change::new(event)));
            read_batch(changes, through, |change| batch.take(change))
        });
        let told = batch.told();
        match read {
            Ok(through) => self.push_batch(told, through, unread),
            Err(_) => self.end_outrun(view, unread),
        }
    }

    /// Answers with a batch, which covers what was unread through a revision.
    fn push_batch(&mut self, told: Told, through: Revision, unread: Unread) {
        told.into_iter().for_each(|(id, changes)| self.push_changes(id, through, changes));
        let next = Revision(through.0 + 1);
        self.unread = (next <= unread.through).then_some(Unread { next, ..unread });
    }

    /// Ends the watches that joined and were to be told what is compacted and gone, and goes on behind it for
    /// the others, which wait for a later revision.
    fn end_outrun(&mut self, view: &KvView, unread: Unread) {
        let outrun = |watcher: &Watcher| watcher.joined && watcher.next < view.compacted();
        let outrun = self.watchers.iter().filter(|(_, watcher)| outrun(watcher));
        let outrun: Vec<_> = outrun.map(|(id, _)| *id).collect();
        outrun.into_iter().for_each(|id| self.cancel_compacted(view, id));
        let next = view.compacted();
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
        let mut changes = Vec::new();
        let read = view.events(from, through).map(|events| {
            let wanted = |change: &Arc<Change>| {
                watcher.range.contains(&change.event().kv.key) && watcher.wants(change.event())
            };
            read_batch(events.map(|event| Arc::new(Change::new(event))), through, |change| {
                if !wanted(change) {
                    return 0;
                }
                changes.push(Arc::clone(change));
                change.bytes()
            })
        });
        match read {
            Ok(through) => {
                watcher.next = Revision(through.0 + 1);
                self.catching_up.push_back(id);
                self.push_changes(id, through, changes);
            }
            Err(_) => {
                self.catching_up.push_back(id);
                self.cancel_compacted(view, id);
            }
        }
    }

    fn push_changes(&mut self, id: i64, through: Revision, changes: Vec<Arc<Change>>) {
        if changes.is_empty() {
            return;
        }
        let header = Some(self.context.header(through));
        let watcher = self.watchers.get_mut(&id).expect("only watches of this stream are told");
        watcher.told = true;
        self.context.metrics.watch_events.inc_by(changes.len() as u64);
        let response = pb::WatchResponse { header, watch_id: id, ..Default::default() };
        self.ready.extend(watcher.answers(response, changes, self.context.limits.request_bytes));
    }

    /// Answers a request for progress once all watches have been told everything that there was when it came; true if more is
    /// to be done at once. The answer counts for all watches, so with one that waits for a later revision there is none, as in etcd.
    fn tell_progress(&mut self, view: &KvView) -> bool {
        let Some(asked_at) = self.progress_asked else { return false };
        // Without watches there is nothing to be told first, and the hub may not even look.
        let told = if self.watchers.is_empty() { view.revision() } else { self.looked_through };
        let next = self.watchers.values().map(|watcher| watcher.next).max().unwrap_or_default();
        if next > Revision(view.revision().0 + 1) {
            self.progress_asked = None;
        } else if next <= Revision(told.0 + 1) && told >= asked_at {
            self.progress_asked = None;
            let header = Some(self.context.header(told));
            let response = pb::WatchResponse { header, watch_id: NO_WATCH, ..Default::default() };
            self.ready.push_back(response.into());
        }
        self.progress_asked.is_none()
    }

    /// Tells the watches that asked for it and were told nothing for a while how far they are.
    fn tell_idle(&mut self) {
        let up_to_date = Revision(self.looked_through.0 + 1);
        for (id, watcher) in &mut self.watchers {
            let told = std::mem::replace(&mut watcher.told, false);
            let idle = !told && watcher.joined && watcher.next <= up_to_date && self.unread.is_none();
            if watcher.progress_notify && idle {
                let header = Some(self.context.header(self.looked_through));
                let response = pb::WatchResponse { header, watch_id: *id, ..Default::default() };
                self.ready.push_back(response.into());
            }
        }
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

/// Waits for the room that an answer of so many bytes takes until it is given to the connection. A client that does not take
/// its answers is not told more before it does.
async fn room(context: &Context, share: &Arc<Share>, bytes: usize) -> Option<Permit> {
    if bytes <= SMALL_BYTES_MAX {
        return None;
    }
    // It is encoded once for all who are told of it, and once more for the connection. One that is larger than what a client
    // gets must come through, too.
    let bytes = (2 * bytes).min(context.budget.bytes_max() / 8);
    loop {
        match share.take(bytes) {
            Ok(permit) => return Some(permit),
            Err(_) => tokio::time::sleep(ROOM_RETRY).await,
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

#[cfg(test)]
mod tests;
