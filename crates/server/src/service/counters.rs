//! What the service counts.

use prometheus_client::metrics::counter::Counter;

/// What the service counts, of all groups together. Whoever shows metrics has the same counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    /// Events told to watches.
    pub(crate) watch_events: Counter,
    /// Commands that were not applied, or not for certain.
    pub(crate) proposals_failed: Counter,
}
