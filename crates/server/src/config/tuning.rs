//! The `[tuning]` table: the node's own settings, which know nothing of files.

use ruvector_node::Tuning;
use ruvector_node::config::MESSAGE_BYTES_MAX;
use serde::{Deserialize, Serialize};

use super::error::{ConfigError, check_bounds};

/// The keys of [`Tuning`] in a file.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Tuning", deny_unknown_fields, default = "Tuning::default")]
pub(super) struct TuningKeys {
    heartbeat_interval_ms: u64,
    election_timeout_ms: u64,
    clock_drift_ppm: u64,
    snapshot_entries: u64,
    snapshot_log_bytes: u64,
    retained_entries: u64,
    hash_check_entries: u64,
    pending_proposals_max: usize,
    pending_bytes_max: usize,
    request_timeout_ms: u64,
    inline_sync_max_us: u64,
    gather_max_us: u64,
    segment_bytes: u64,
    tail_bytes_max: usize,
    uncommitted_bytes_max: usize,
    inflight_bytes_max: usize,
    append_bytes_max: usize,
    snapshot_chunk_bytes: usize,
    /// Follows from `limits.request_bytes`.
    #[serde(skip)]
    command_bytes_max: usize,
}

impl TuningKeys {
    /// Refuses what no cluster could live with.
    pub(super) fn check(tuning: &Tuning) -> Result<(), ConfigError> {
        // Fewer lost heartbeats than this must not cost an election.
        let election_least = tuning.heartbeat_interval_ms.saturating_mul(HEARTBEATS_MISSED);
        let bounds = [
            ("tuning.heartbeat_interval_ms", tuning.heartbeat_interval_ms, 1, INTERVAL_MS_MAX),
            ("tuning.election_timeout_ms", tuning.election_timeout_ms, election_least, INTERVAL_MS_MAX),
            ("tuning.clock_drift_ppm", tuning.clock_drift_ppm, 0, 999_999),
            ("tuning.request_timeout_ms", tuning.request_timeout_ms, 1, REQUEST_MS_MAX),
            ("tuning.gather_max_us", tuning.gather_max_us, 0, GATHER_US_MAX),
            ("tuning.snapshot_entries", tuning.snapshot_entries, 1, u64::MAX),
            ("tuning.append_bytes_max", tuning.append_bytes_max as u64, 1, MESSAGE_BYTES_MAX as u64),
            ("tuning.snapshot_chunk_bytes", tuning.snapshot_chunk_bytes as u64, 1, MESSAGE_BYTES_MAX as u64),
            ("tuning.pending_proposals_max", tuning.pending_proposals_max as u64, 1, u64::MAX),
        ];
        for (key, given, least, most) in bounds {
            check_bounds(key, given, least, most)?;
        }
        Ok(())
    }
}

const HEARTBEATS_MISSED: u64 = 3;
/// A cluster that takes longer to notice a lost leader is of no use.
const INTERVAL_MS_MAX: u64 = 60_000;
const REQUEST_MS_MAX: u64 = 3_600_000;
/// Who waits longer for company is not served faster by it.
const GATHER_US_MAX: u64 = 1_000_000;

/// [`TuningKeys`] where the table may be left out.
pub(super) mod optional {
    use ruvector_node::Tuning;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::config::tuning::TuningKeys;

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Wrapped(#[serde(with = "TuningKeys")] Tuning);

    pub(in crate::config) fn serialize<S: Serializer>(
        tuning: &Option<Tuning>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        tuning.clone().map(Wrapped).serialize(serializer)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Tuning>, D::Error> {
        Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|wrapped| wrapped.0))
    }
}
