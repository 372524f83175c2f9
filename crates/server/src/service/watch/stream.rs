//! One stream of a caller with all its watches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ruvector_node::state_machine::kv::{KvView, Revision};
use tokio::time::Interval;

use super::batch::{Batch, Told, batch_end, read_batch};
use super::change::Change;
use super::hub::HubStream;
use super::index::WatchIndex;
use super::watcher::{NewWatch, WatchForm, Watcher};
use crate::service::caller::Caller;
use crate::service::error::ServiceError;

/// How soon to look again whether the hub has read what a request for progress waits for.
const PROGRESS_RETRY: Duration = Duration::from_millis(20);
/// How many ids of watches that compaction has ended are remembered.
const OUTRUN_MAX: usize = 1_000;

/// One stream of a caller with all its watches: driven by whoever tells the caller, when that can take more.
///
/// What is to be told comes out of [`pop`](Self::pop). While [`busy`](Self::is_busy), there may be more, which
/// [`advance`](Self::advance) finds; otherwise [`wait`](Self::wait) waits for it.
///
/// Invariants: `index` holds exactly the watches that joined; all of those have been told every change through
/// `looked_through`, except what `unread` still covers; a watch that did not join is in `catching_up`.
pub(crate) struct WatchStream {
    caller: Caller,
    hub: HubStream,
    watchers: BTreeMap<i64, Watcher>,
    index: WatchIndex<i64>,
    /// Ids of watches that compaction has ended. They stay taken until the caller cancels them too; with more than
    /// [`OUTRUN_MAX`] the lowest is free again.
    outrun: BTreeSet<i64>,
    /// Watches that began in the past, each with its own position in history; they take turns.
    catching_up: VecDeque<i64>,
    /// Revisions with changes for watches that joined.
    unread: Option<Unread>,
    looked_through: Revision,
    /// What is found and not taken yet: what came of one request or of one batch.
    ready: VecDeque<Notice>,
    next_id: i64,
    /// Progress was asked for, when the store was at this revision.
    progress_asked: Option<Revision>,
    /// There may be something to tell without waiting.
    busy: bool,
    idle_check: Interval,
}

/// Something that a stream tells, as of a revision of the store.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A watch began.
    Created { id: i64, revision: Revision },
    /// No watch began.
    Refused { reason: WatchRefusal, revision: Revision },
    /// A watch was ended as asked.
    Canceled { id: i64, revision: Revision },
    /// A watch was ended, because its next changes are compacted away. A new one may begin at that revision.
    Outrun { id: i64, compacted: Revision },
    /// Changes for a watch, which has now been told everything through the revision.
    Changes { id: i64, through: Revision, changes: Vec<Arc<Change>>, form: WatchForm },
    /// A watch, or without an id every watch, has been told everything through the revision.
    Progress { id: Option<i64>, revision: Revision },
}

/// Why a watch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchRefusal {
    /// No key can be in its range.
    EmptyRange,
    /// There is a watch of that number in the stream.
    DuplicateId,
    /// The stream, or all of them, have as many watches as they may.
    TooMany,
}

#[derive(Clone, Copy)]
struct Unread {
    next: Revision,
    through: Revision,
}

/// What a stream waits for when it has nothing to tell.
pub(crate) enum Wake {
    /// There may be something to tell.
    Look,
    /// It is time to see which watches were told nothing for a while.
    IdleCheck,
}

impl WatchStream {
    /// A stream without watches.
    pub(crate) fn new(caller: Caller) -> Self {
        let hub = caller.watch_hub.open();
        let period = Duration::from_secs(caller.limits.watch_progress_seconds);
        Self {
            looked_through: hub.look().through,
            caller,
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
        }
    }

    /// Who is told.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The next that is to be told, if it is found already.
    pub(crate) fn pop(&mut self) -> Option<Notice> {
        self.ready.pop_front()
    }

    /// Whether there may be something to tell without waiting.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Looks for what is to be told: does a bounded part of the work.
    pub(crate) async fn advance(&mut self) -> Result<(), ServiceError> {
        self.busy = self.tell().await?;
        if self.busy && self.ready.is_empty() {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Waits until there may be something to tell. May be given up and begun again.
    pub(crate) async fn wait(&mut self) -> Wake {
        let retry_progress = async {
            match self.progress_asked {
                Some(_) => tokio::time::sleep(PROGRESS_RETRY).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.hub.marked() => Wake::Look,
            () = retry_progress => Wake::Look,
            _ = self.idle_check.tick() => Wake::IdleCheck,
        }
    }

    /// Does what it has waited for.
    pub(crate) async fn woken(&mut self, wake: Wake) -> Result<(), ServiceError> {
        self.busy = self.tell().await?;
        match wake {
            Wake::Look => {}
            Wake::IdleCheck => self.tell_idle(),
        }
        Ok(())
    }

    /// Adds a watch.
    pub(crate) async fn create(&mut self, asked: NewWatch) -> Result<(), ServiceError> {
        let current = self.current().await?;
        self.create_at(asked, current)
    }

    /// Ends a watch; one that is unknown is ignored.
    pub(crate) async fn cancel(&mut self, id: i64) -> Result<(), ServiceError> {
        let revision = self.current().await?;
        if self.remove(id) || self.outrun.remove(&id) {
            self.ready.push_back(Notice::Canceled { id, revision });
        }
        Ok(())
    }

    /// Has it told how far all watches are.
    pub(crate) async fn ask_progress(&mut self) -> Result<(), ServiceError> {
        self.progress_asked = Some(self.current().await?);
        Ok(())
    }

    /// The store's revision, for what is asked now.
    async fn current(&mut self) -> Result<Revision, ServiceError> {
        self.busy = true;
        Ok(self.caller.version(true).await?.view.revision())
    }

    fn create_at(&mut self, asked: NewWatch, current: Revision) -> Result<(), ServiceError> {
        let asked_id = asked.id;
        let reason = match Watcher::new(asked, current) {
            None => WatchRefusal::EmptyRange,
            Some(_) if asked_id.is_some_and(|id| self.is_taken(id)) => WatchRefusal::DuplicateId,
            Some(_) if self.watchers.len() >= self.caller.limits.watches_per_stream => WatchRefusal::TooMany,
            Some(watcher) => {
                self.caller.principal.may_watch(&watcher.range)?;
                if self.hub.count_watch() {
                    let id = asked_id.unwrap_or_else(|| self.free_id());
                    self.ready.push_back(Notice::Created { id, revision: current });
                    self.watchers.insert(id, watcher);
                    self.catching_up.push_back(id);
                    return Ok(());
                }
                WatchRefusal::TooMany
            }
        };
        self.ready.push_back(Notice::Refused { reason, revision: current });
        Ok(())
    }

    /// The next id that is free.
    fn free_id(&mut self) -> i64 {
        while self.is_taken(self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn is_taken(&self, id: i64) -> bool {
        self.watchers.contains_key(&id) || self.outrun.contains(&id)
    }

    /// Ends a watch whose next changes are compacted away.
    fn cancel_compacted(&mut self, view: &KvView, id: i64) {
        if self.remove(id) {
            self.ready.push_back(Notice::Outrun { id, compacted: view.compacted() });
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
    async fn tell(&mut self) -> Result<bool, ServiceError> {
        let look = self.hub.look();
        self.looked_through = look.through;
        if let Some(from) = look.from {
            let next = self.unread.map_or(from, |unread| unread.next);
            self.unread = Some(Unread { next, through: look.through });
        }
        if let Some(unread) = self.unread {
            if !self.tell_recent(unread) {
                let version = self.caller.version(true).await?;
                self.tell_history(&version.view, unread);
            }
            return Ok(self.unread.is_some()
                || !self.catching_up.is_empty()
                || self.progress_asked.is_some());
        }
        if self.catching_up.is_empty() && self.progress_asked.is_none() {
            return Ok(false);
        }
        let version = self.caller.version(true).await?;
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
        let watcher = self.watchers.get_mut(&id).expect("only watches of this stream are told");
        watcher.told = true;
        self.caller.counters.watch_events.inc_by(changes.len() as u64);
        self.ready.push_back(Notice::Changes { id, through, changes, form: watcher.form });
    }

    /// Answers a request for progress once all watches have been told everything that there was when it came; true
    /// if more is to be done at once. The answer counts for all watches, so with one that waits for a later
    /// revision there is none.
    fn tell_progress(&mut self, view: &KvView) -> bool {
        let Some(asked_at) = self.progress_asked else { return false };
        // Without watches there is nothing to be told first, and the hub may not even look.
        let told = if self.watchers.is_empty() { view.revision() } else { self.looked_through };
        let next = self.watchers.values().map(|watcher| watcher.next).max().unwrap_or_default();
        if next > Revision(view.revision().0 + 1) {
            self.progress_asked = None;
        } else if next <= Revision(told.0 + 1) && told >= asked_at {
            self.progress_asked = None;
            self.ready.push_back(Notice::Progress { id: None, revision: told });
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
                self.ready.push_back(Notice::Progress { id: Some(*id), revision: self.looked_through });
            }
        }
    }
}

impl Drop for WatchStream {
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
