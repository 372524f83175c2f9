//! The way of all groups to the node's one log: writes wait here, and are written and synced together by whoever has the time.
//!
//! A sync takes much longer than anything else a replica does. So it may run on another thread ([`FlushJob`]) while the
//! replicas go on: take messages, count acknowledgements, apply. Nothing is said of a write before its core was told that it
//! is durable, whichever way that came about. One sync makes durable what waits of all groups.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ruvector_protocol::{Entry, GroupId, Index, SnapshotMeta, Write, WriteId};
use ruvector_storage::{LogStore, StorageError};

/// The log, and what is to be written to it.
///
/// Invariants:
/// - writes reach the log in the order in which they were queued, each once: they are taken from the queue only by whoever
///   holds the log;
/// - the numbers of a group's writes rise on their way: in the queue, in the log, and where they count as durable;
/// - what counts as durable was synced, and so was all of its group that was queued before it;
/// - no group's log comes to begin earlier than it did.
#[derive(Clone, Debug)]
pub(crate) struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    held: Mutex<Held>,
    /// Locked for moments only, also by those who hold the log. So are those below.
    queue: Mutex<Vec<Write>>,
    /// Of each group the newest write that is durable and that its replica was not told of.
    durable: Mutex<BTreeMap<GroupId, WriteId>>,
    extent: Mutex<Extent>,
    /// The jobs that may be at work.
    jobs: AtomicUsize,
}

/// The log, in the hands of one.
#[derive(Debug)]
struct Held {
    log: LogStore,
    /// Of each group the newest write that the log took and that no sync was made for.
    unsynced: BTreeMap<GroupId, WriteId>,
}

/// What a node's log can tell of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogCounters {
    /// Bytes of all files.
    pub file_bytes: u64,
    /// Syncs since the start.
    pub syncs: u64,
    /// How often a group's entries were written once more since the start, so that old segments could go.
    pub rewrites: u64,
}

/// How much log there is, as of the last write.
#[derive(Debug, Default)]
struct Extent {
    counters: LogCounters,
    /// The segment that is written.
    segment: u64,
    groups: BTreeMap<GroupId, GroupExtent>,
}

/// How much log there is of a group, as of the last write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupExtent {
    /// The first index held; 1 in a new log.
    pub(crate) first: Index,
    /// Bytes of the entries held.
    pub(crate) entry_bytes: u64,
    /// How many segments were begun since the oldest one that is kept for these entries.
    pub(crate) segments: u64,
}

/// Writing and syncing what waits; may run on any thread. If it is dropped instead, what waits goes on waiting.
#[derive(Debug)]
pub struct FlushJob {
    journal: Journal,
    mark: JobMark,
}

/// As long as there is one, a job may hold the log.
#[derive(Debug)]
struct JobMark(Journal);

/// What a [`FlushJob`] did.
#[derive(Debug)]
pub struct Flushed {
    result: Result<(), StorageError>,
    /// Until the host knows of it the job counts as at work.
    mark: JobMark,
}

impl Flushed {
    /// The job is at work no more.
    pub(crate) fn into_result(self) -> Result<(), StorageError> {
        drop(self.mark);
        self.result
    }
}

impl FlushJob {
    /// Does the work. The host must be told of the outcome: [`Host::flushed`](crate::host::Host::flushed).
    #[must_use]
    pub fn run(self) -> Flushed {
        Flushed { result: self.journal.flush(), mark: self.mark }
    }
}

impl Journal {
    pub(crate) fn new(log: LogStore) -> Self {
        let extent = Extent {
            counters: LogCounters { file_bytes: log.size_bytes(), syncs: log.sync_count(), rewrites: 0 },
            segment: log.current_segment(),
            groups: log.groups().map(|group| (group, GroupExtent::of(&log, group))).collect(),
        };
        Self(Arc::new(Shared {
            held: Mutex::new(Held { log, unsynced: BTreeMap::new() }),
            queue: Mutex::default(),
            durable: Mutex::default(),
            extent: Mutex::new(extent),
            jobs: AtomicUsize::new(0),
        }))
    }

    /// A group's part of it.
    pub(crate) fn of_group(&self, group: GroupId) -> GroupJournal {
        GroupJournal { journal: self.clone(), group }
    }

    pub(crate) fn job(&self) -> FlushJob {
        self.0.jobs.fetch_add(1, Ordering::Relaxed);
        FlushJob { journal: self.clone(), mark: JobMark(self.clone()) }
    }

    /// Writes and syncs everything that is queued, behind a job that is at work.
    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        let mut held = self.hold()?;
        held.log.sync()?;
        let synced = std::mem::take(&mut held.unsynced);
        self.measure(&held.log, synced.keys().copied());
        // Whoever holds the log comes here alone, so what is told of a group rises.
        for (group, write) in synced {
            let before = self.durable().insert(group, write);
            assert!(
                before.is_none_or(|before| before < write),
                "write {} of group {group} is durable after {before:?}",
                write.0
            );
        }
        Ok(())
    }

    /// Of each group the newest write that is durable and that its replica was not told of.
    pub(crate) fn take_durable(&self) -> BTreeMap<GroupId, WriteId> {
        std::mem::take(&mut self.durable())
    }

    pub(crate) fn counters(&self) -> LogCounters {
        self.extent().counters
    }

    /// The segment that is written, and the groups for which more than so many before it are kept, most of which others have
    /// written. One that wrote most of them itself has its own reasons to keep them.
    pub(crate) fn held_too_long(&self, segments_max: u64, segment_bytes: u64) -> (u64, Vec<GroupId>) {
        let extent = self.extent();
        let is_others = |of: &GroupExtent| of.entry_bytes < of.segments.saturating_mul(segment_bytes) / 2;
        let too_long = extent.groups.iter().filter(|(_, of)| of.segments > segments_max && is_others(of));
        (extent.segment, too_long.map(|(group, _)| *group).collect())
    }

    /// The segment that is written.
    pub(crate) fn segment(&self) -> u64 {
        self.extent().segment
    }

    fn hold(&self) -> Result<MutexGuard<'_, Held>, StorageError> {
        let mut held = self.0.held.lock().expect("a broken invariant of the log has ended the node");
        for write in std::mem::take(&mut *self.queue()) {
            held.log.append(&write)?;
            let before = held.unsynced.insert(write.group, write.id);
            assert!(
                before.is_none_or(|before| before < write.id),
                "write {} of group {} follows {before:?} in the queue",
                write.id.0,
                write.group
            );
        }
        Ok(held)
    }

    fn measure(&self, log: &LogStore, changed: impl Iterator<Item = GroupId>) {
        let mut extent = self.extent();
        extent.counters.file_bytes = log.size_bytes();
        extent.counters.syncs = log.sync_count();
        if extent.segment != log.current_segment() {
            extent.segment = log.current_segment();
            // For groups that write nothing, too, the log has gone on.
            extent.groups.iter_mut().for_each(|(group, of)| of.segments = log.segments_held(*group));
        }
        let mut fallen = None;
        for group in changed {
            let now = GroupExtent::of(log, group);
            let before = extent.groups.insert(group, now);
            fallen = before
                .filter(|before| before.first > now.first)
                .map(|before| (group, before, now))
                .or(fallen);
        }
        drop(extent);
        assert!(fallen.is_none(), "the log of a group begins earlier than before: {fallen:?}");
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Write>> {
        self.0.queue.lock().expect(NO_PANIC)
    }

    fn durable(&self) -> MutexGuard<'_, BTreeMap<GroupId, WriteId>> {
        self.0.durable.lock().expect(NO_PANIC)
    }

    fn extent(&self) -> MutexGuard<'_, Extent> {
        self.0.extent.lock().expect(NO_PANIC)
    }
}

/// A group's part of the log.
#[derive(Clone, Debug)]
pub(crate) struct GroupJournal {
    journal: Journal,
    group: GroupId,
}

impl GroupJournal {
    /// Queues a write.
    pub(crate) fn push(&self, write: Write) {
        assert_eq!(write.group, self.group, "a replica writes of its own group");
        self.journal.queue().push(write);
    }

    /// Whether a job may be at work, so that reading would wait for it. It ends with [`Flushed::into_result`], or when it
    /// is dropped.
    pub(crate) fn is_busy(&self) -> bool {
        self.journal.0.jobs.load(Ordering::Relaxed) > 0
    }

    /// Writes and syncs everything that is queued, also of other groups. Returns the newest write of this one that is durable
    /// and that its replica was not told of.
    pub(crate) fn flush(&self) -> Result<Option<WriteId>, StorageError> {
        self.journal.flush()?;
        Ok(self.journal.durable().remove(&self.group))
    }

    /// Entries, durable or not, as many as fit `bytes_max`. Waits for a job that is at work.
    pub(crate) fn read(
        &self,
        from: Index,
        through: Index,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StorageError> {
        self.with(|log| log.read(self.group, from, through, bytes_max))
    }

    /// First and last index held. Waits for a job that is at work.
    pub(crate) fn bounds(&self) -> Result<Option<(Index, Index)>, StorageError> {
        self.with(|log| Ok(log.bounds(self.group)))
    }

    /// Has the group's log begin behind `base`, durably. Waits for a job that is at work.
    pub(crate) fn compact(&self, base: &SnapshotMeta) -> Result<(), StorageError> {
        self.with(|log| {
            log.compact(self.group, base)?;
            log.sync()
        })
    }

    /// Writes the group's entries once more, behind everything else, and so gives up the segments that they were in. Durable
    /// with the next flush. Waits for a job that is at work.
    pub(crate) fn rewrite(&self) -> Result<(), StorageError> {
        self.with(|log| log.rewrite(self.group))?;
        self.journal.extent().counters.rewrites += 1;
        Ok(())
    }

    /// Makes the group's first write, durably.
    pub(crate) fn begin(&self, write: &Write) -> Result<(), StorageError> {
        self.with(|log| {
            log.append(write)?;
            log.sync()
        })
    }

    pub(crate) fn extent(&self) -> GroupExtent {
        let none = GroupExtent { first: Index(1), entry_bytes: 0, segments: 0 };
        self.journal.extent().groups.get(&self.group).copied().unwrap_or(none)
    }

    /// Does something with the log as it is with everything that was queued.
    fn with<T>(
        &self,
        action: impl FnOnce(&mut LogStore) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut held = self.journal.hold()?;
        let done = action(&mut held.log)?;
        self.journal.measure(&held.log, std::iter::once(self.group));
        Ok(done)
    }
}

impl Drop for JobMark {
    fn drop(&mut self) {
        let jobs = self.0.0.jobs.fetch_sub(1, Ordering::Relaxed);
        assert!(jobs > 0, "a job has ended that was not counted");
    }
}

const NO_PANIC: &str = "nothing panics while holding this lock";

impl GroupExtent {
    fn of(log: &LogStore, group: GroupId) -> Self {
        Self {
            first: log.bounds(group).map_or(Index(1), |(first, _)| first),
            entry_bytes: log.group_bytes(group),
            segments: log.segments_held(group),
        }
    }
}
