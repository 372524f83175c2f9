//! The replica's way to its log: writes wait here, and are written and synced together by whoever has the time.
//!
//! A sync takes much longer than anything else a replica does. So it may run on another thread ([`FlushJob`]) while the replica
//! goes on: takes messages, counts acknowledgements, applies. Nothing is said of a write before the core was told that it is
//! durable, whichever way that came about.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use ruvector_protocol::{Index, Write, WriteId};
use ruvector_storage::{LogStore, StorageError};

use super::GROUP;

/// The log, and what is to be written to it.
///
/// Invariant: writes reach the log in the order in which they were queued, each once. They are taken from the queue only by
/// whoever holds the log.
#[derive(Clone, Debug)]
pub(super) struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    held: Mutex<Held>,
    /// Locked for moments only, also by those who hold the log.
    queue: Mutex<Vec<Write>>,
    extent: Mutex<LogExtent>,
    /// The jobs that may be at work.
    jobs: AtomicUsize,
}

/// The log, in the hands of one.
#[derive(Debug)]
struct Held {
    log: LogStore,
    /// The newest write that the log took and that no sync was made for.
    unsynced: Option<WriteId>,
}

/// How much log there is, as of the last write.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogExtent {
    /// The first index held; 1 in a new log.
    pub(super) first: Index,
    /// Bytes of the entries held.
    pub(super) entry_bytes: u64,
    /// Bytes of all files.
    pub(super) file_bytes: u64,
    /// Syncs since the start.
    pub(super) syncs: u64,
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
    /// Everything through this write is durable; `None` if nothing waited any more.
    result: Result<Option<WriteId>, StorageError>,
    /// Until the replica knows of it the job counts as at work.
    mark: JobMark,
}

impl Flushed {
    /// The job is at work no more.
    pub(super) fn into_result(self) -> Result<Option<WriteId>, StorageError> {
        drop(self.mark);
        self.result
    }
}

impl FlushJob {
    /// Does the work. The replica must be told of the outcome: [`Replica::flushed`](super::Replica::flushed).
    #[must_use]
    pub fn run(self) -> Flushed {
        Flushed { result: self.journal.flush(), mark: self.mark }
    }
}

impl Journal {
    pub(super) fn new(log: LogStore) -> Self {
        let extent = Mutex::new(LogExtent::of(&log));
        let held = Mutex::new(Held { log, unsynced: None });
        Self(Arc::new(Shared { held, queue: Mutex::default(), extent, jobs: AtomicUsize::new(0) }))
    }

    /// Queues a write.
    pub(super) fn push(&self, write: Write) {
        self.queue().push(write);
    }

    pub(super) fn job(&self) -> FlushJob {
        self.0.jobs.fetch_add(1, Ordering::Relaxed);
        FlushJob { journal: self.clone(), mark: JobMark(self.clone()) }
    }

    /// Whether a job may be at work, so that [`with`](Self::with) would wait for it. It ends with [`Flushed::into_result`], or when it
    /// is dropped.
    pub(super) fn is_busy(&self) -> bool {
        self.0.jobs.load(Ordering::Relaxed) > 0
    }

    /// Writes and syncs everything that is queued, behind a job that is at work; returns the newest write, if any was not
    /// synced before.
    pub(super) fn flush(&self) -> Result<Option<WriteId>, StorageError> {
        let mut held = self.hold()?;
        held.log.sync()?;
        self.measure(&held.log);
        Ok(held.unsynced.take())
    }

    /// Does something with the log as it is with everything that was queued. Waits for a job that is at work.
    pub(super) fn with<T>(
        &self,
        action: impl FnOnce(&mut LogStore) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let mut held = self.hold()?;
        let done = action(&mut held.log)?;
        self.measure(&held.log);
        Ok(done)
    }

    pub(super) fn extent(&self) -> LogExtent {
        *self.0.extent.lock().expect(NO_PANIC)
    }

    fn hold(&self) -> Result<MutexGuard<'_, Held>, StorageError> {
        let mut held = self.0.held.lock().expect("a broken invariant of the log has ended the node");
        for write in std::mem::take(&mut *self.queue()) {
            held.log.append(&write)?;
            held.unsynced = Some(write.id);
        }
        Ok(held)
    }

    fn measure(&self, log: &LogStore) {
        *self.0.extent.lock().expect(NO_PANIC) = LogExtent::of(log);
    }

    fn queue(&self) -> MutexGuard<'_, Vec<Write>> {
        self.0.queue.lock().expect(NO_PANIC)
    }
}

impl Drop for JobMark {
    fn drop(&mut self) {
        self.0.0.jobs.fetch_sub(1, Ordering::Relaxed);
    }
}

const NO_PANIC: &str = "nothing panics while holding this lock";

impl LogExtent {
    fn of(log: &LogStore) -> Self {
        Self {
            first: log.bounds(GROUP).map_or(Index(1), |(first, _)| first),
            entry_bytes: log.group_bytes(GROUP),
            file_bytes: log.size_bytes(),
            syncs: log.sync_count(),
        }
    }
}
