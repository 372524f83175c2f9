//! Whether a mistake is planted, so that tests can be seen to find it.

use ruvector_protocol::PlantedBug;

use super::ReplicaConfig;

impl ReplicaConfig {
    /// Whether this replica is to show a certain bug. Never without the feature `planted-bugs`.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn planted(&self, bug: PlantedBug) -> bool {
        self.planted_bug == Some(bug)
    }

    /// Whether this replica is to show a certain bug. Never without the feature `planted-bugs`.
    #[cfg(not(feature = "planted-bugs"))]
    #[allow(clippy::unused_self)]
    pub(super) const fn planted(&self, _bug: PlantedBug) -> bool {
        false
    }
}
