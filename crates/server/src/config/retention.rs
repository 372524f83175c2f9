//! How much history is kept.

use ruvector_node::state_machine::kv::Retention;
use serde::{Deserialize, Serialize};

use super::error::{ConfigError, check_bounds};

/// How much history is kept, where 0 is for no bound. What of both is reached first counts. The settings of the node that leads hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionOptions {
    /// Seconds for which changes are kept; an hour if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Bytes of changes that are kept, keys and values and 128 for each; 512 MiB if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

const AGE_SECONDS: u64 = 3_600;
const BYTES: u64 = 512 << 20;

impl RetentionOptions {
    /// A node is not asked to remember longer than a thousand years.
    const AGE_SECONDS_MAX: u64 = 1_000 * 366 * 24 * 3_600;
    /// With less, a follower that is slow for a moment would lose changes that others write meanwhile: each watch is told of
    /// many changes at once.
    const BYTES_MIN: u64 = 1 << 20;

    pub(super) fn or(self, fallback: Self) -> Self {
        Self { age_seconds: self.age_seconds.or(fallback.age_seconds), bytes: self.bytes.or(fallback.bytes) }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn into_retention(self) -> Result<Retention, ConfigError> {
        let age_seconds = self.age_seconds.unwrap_or(AGE_SECONDS);
        let bytes = self.bytes.unwrap_or(BYTES);
        check_bounds("retention.age_seconds", age_seconds, 0, Self::AGE_SECONDS_MAX)?;
        if bytes != 0 {
            check_bounds("retention.bytes", bytes, Self::BYTES_MIN, u64::MAX)?;
        }
        Ok(Retention {
            age_ms: (age_seconds != 0).then_some(age_seconds * 1_000),
            bytes: (bytes != 0).then_some(bytes),
        })
    }
}
