//! The `[tuning]` table: the node's own settings, which know nothing of files.

use ruvector_node::Tuning;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// The keys of [`Tuning`] in a file.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Tuning", deny_unknown_fields, default = "Tuning::default")]
pub(super) struct TuningKeys {
    heartbeat_interval_ms: u64,
    election_timeout_ms: u64,
    clock_drift_ppm: u64,
    snapshot_entries: u64,
    retained_entries: u64,
    hash_check_entries: u64,
    pending_proposals_max: usize,
    request_timeout_ms: u64,
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
        let value = |key, reason: String| Err(ConfigError::Value { key, reason });
        if tuning.heartbeat_interval_ms == 0 {
            return value("tuning.heartbeat_interval_ms", "must not be 0".to_owned());
        }
        // Fewer lost heartbeats than this must not cost an election.
        let least = tuning.heartbeat_interval_ms.saturating_mul(3);
        if tuning.election_timeout_ms < least {
            let given = tuning.election_timeout_ms;
            return value(
                "tuning.election_timeout_ms",
                format!("must be at least 3 heartbeat intervals, {least}, not {given}"),
            );
        }
        if tuning.clock_drift_ppm >= 1_000_000 {
            return value("tuning.clock_drift_ppm", "must be below 1000000".to_owned());
        }
        if tuning.pending_proposals_max == 0 || tuning.request_timeout_ms == 0 || tuning.snapshot_entries == 0
        {
            return value(
                "tuning",
                "must not have 0 for pending_proposals_max, request_timeout_ms or snapshot_entries"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// [`TuningKeys`] where the table may be left out.
pub(super) mod optional {
    use ruvector_node::Tuning;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::TuningKeys;

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
