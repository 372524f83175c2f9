//! What a node measures of itself, under etcd's metric names where those exist.

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The node's histograms. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Seconds that a write and sync of the log took.
    pub(crate) log_sync_seconds: Histogram,
    /// Seconds that applying a batch took.
    pub(crate) apply_seconds: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            log_sync_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 18)),
            apply_seconds: Histogram::new(exponential_buckets(0.000_01, 2.0, 18)),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "etcd_disk_wal_fsync_duration_seconds",
            "How long writing and syncing the log took",
            self.log_sync_seconds.clone(),
        );
        registry.register(
            "etcd_server_apply_duration_seconds",
            "How long applying a batch of committed entries took",
            self.apply_seconds.clone(),
        );
        // etcd's boards show it beside the log's syncs, as what else a write waits for.
        registry.register(
            "etcd_disk_backend_commit_duration_seconds",
            "The same as etcd_server_apply_duration_seconds: the store is in memory, and applying is its commit",
            self.apply_seconds.clone(),
        );
    }
}
