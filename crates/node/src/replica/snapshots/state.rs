//! Which snapshots are being written, and what waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ruvector_protocol::{Index, Timestamp};
use ruvector_storage::SnapshotInfo;

use crate::replica::event::Ticket;

/// What a replica knows of its own snapshots.
///
/// Invariants:
/// - at most one is written for the replica's own use, and [`NAMED_RUNNING_MAX`] for operators;
/// - compactions wait only while one is written for the replica's own use;
/// - a time to try again follows a failure;
/// - what the writers are told to be applied is.
#[derive(Debug)]
pub(in crate::replica) struct Snapshots {
    /// The newest that the node made for its own use or received.
    pub(super) newest: Option<SnapshotInfo>,
    /// One is being written.
    pub(super) running: bool,
    /// How many of those that operators asked for are being written.
    pub(super) named_running: usize,
    /// The log is to be dropped behind the next one as far as it can be: it keeps too many segments.
    pub(super) releases_log: bool,
    /// How many failed in a row.
    pub(super) failures: u32,
    /// After a failure: when the next is tried.
    pub(super) retry_at: Option<Timestamp>,
    /// How long to wait after the first failure in a row, in microseconds.
    pub(super) retry_us: u64,
    /// Compactions that wait for a snapshot that covers them.
    pub(super) compactions: Vec<(Ticket, Index)>,
    /// The index that is applied, for the threads that write snapshots to see whether the replica is busy.
    pub(super) applied: Arc<AtomicU64>,
}

/// How often the wait after a failed snapshot is doubled at most: what fails for long is not to keep the disk busy.
const RETRY_DOUBLINGS_MAX: u32 = 6;
/// How many snapshots are written at a time at most because operators asked for them. Each holds a version of the state.
pub(super) const NAMED_RUNNING_MAX: usize = 4;

impl Snapshots {
    /// After a failure the next is tried in `retry_us`, and later after each that follows.
    pub(in crate::replica) fn new(newest: Option<SnapshotInfo>, retry_us: u64) -> Self {
        Self {
            newest,
            running: false,
            named_running: 0,
            releases_log: false,
            failures: 0,
            retry_at: None,
            retry_us,
            compactions: Vec::new(),
            applied: Arc::default(),
        }
    }

    /// Tells those that write snapshots what is applied.
    pub(in crate::replica) fn tell_applied(&self, index: Index) {
        self.applied.store(index.0, Ordering::Relaxed);
    }

    /// When to try again what failed.
    pub(in crate::replica) fn deadline(&self) -> Option<Timestamp> {
        self.retry_at.filter(|_| !self.running)
    }

    pub(super) fn failed(&mut self, now: Timestamp) {
        let doublings = self.failures.min(RETRY_DOUBLINGS_MAX);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now.after_micros(self.retry_us << doublings));
    }

    /// Sees that what is said of the type holds.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub(in crate::replica) fn check_invariants(&self, applied: Index) {
        let named = self.named_running;
        assert!(named <= NAMED_RUNNING_MAX, "{named} snapshots are written for operators");
        let (waiting, is_running) = (self.compactions.len(), self.running);
        assert!(waiting == 0 || is_running, "{waiting} compactions wait, and no snapshot is written");
        let (retry_at, failures) = (self.retry_at, self.failures);
        assert!(retry_at.is_none() || failures > 0, "tried again at {retry_at:?} without a failure");
        let told = self.applied.load(Ordering::Relaxed);
        assert!(told <= applied.0, "{told} is told to be applied, and {applied} is");
    }

    pub(in crate::replica) fn newest(&self) -> Option<Index> {
        self.newest.as_ref().map(|info| info.meta.position.index)
    }

    pub(in crate::replica) fn newest_info(&self) -> Option<&SnapshotInfo> {
        self.newest.as_ref()
    }
}
