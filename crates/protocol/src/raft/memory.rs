//! What replicas remember of how far the others had come.
//!
//! What a replica has acknowledged, durably, and what is committed of that, is in its log for good: no leader replaces
//! it. So a leader notes the lower of the two for each follower, and for itself, and says it with every message to that
//! follower. A replica whose log ends before has lost durable entries: its disk was rolled back. It stops
//! ([`Effect::EntriesLost`]), for its promises are forgotten with the entries. Now and then a leader tells all that it remembers to all
//! others, with a heartbeat; who remembers more answers so, and each writes down what is news. Whoever leads next knows it then, also
//! when all were started again. The write carries the commit index, too, so that the last entries before a pause are known to be
//! committed by all who have them.
//!
//! There is no false alarm. What was not synced was not acknowledged, and what was not committed is not
//! remembered. A newcomer, which may have had anything, is not concerned; when it becomes a member again it has all that was
//! committed before, and so whatever is remembered of it.
//!
//! What nobody had written down yet is forgotten when all replicas that know it have been started again: that is what was acknowledged in
//! the last second or so. A log that is rolled back forgets what its own replica remembered, and nothing that others did.

use super::core::Core;
use super::follower::Follower;
use super::leader::Leader;
use super::planted::PlantedBug;
use crate::io::Effect;
use crate::progress::Progress;
use crate::types::{Index, NodeId};

/// After how many heartbeat intervals a leader tells again what it remembers.
const REMIND_HEARTBEATS: u64 = 10;

impl Core {
    /// A replica has acknowledged, or written itself, everything through an index.
    fn remember(&mut self, node: NodeId, acknowledged: Index) {
        let index = acknowledged.min(self.commit());
        let remembered = self.remembered.entry(node).or_default();
        *remembered = index.max(*remembered);
    }

    /// What a follower is known to have had.
    pub(super) fn acknowledged_by(&self, follower: NodeId, progress: &Progress) -> Index {
        if self.config.planted(PlantedBug::RollbackForgotten) {
            return Index(0);
        }
        let remembered = self.remembered.get(&follower).copied().unwrap_or_default();
        remembered.max(progress.counted(progress.matched).min(self.commit()))
    }

    /// Whether this replica has what it is known to have had; if not, it stops.
    pub(super) fn has_what_it_had(&mut self, acknowledged: Index) -> bool {
        let last = self.log.last().index;
        let is_lost = acknowledged > last && !self.is_newcomer();
        if is_lost {
            self.effects.push(Effect::EntriesLost { acknowledged, last });
        }
        !is_lost
    }

    /// Another remembers this. Strangers are not remembered.
    pub(super) fn hear_remembered(&mut self, told: &[(NodeId, Index)]) {
        for &(node, index) in told {
            if self.is_peer(node) {
                let remembered = self.remembered.entry(node).or_default();
                *remembered = index.max(*remembered);
            }
        }
    }
}

impl Core {
    /// Whether the next write is to tell what is remembered. Asked once for each time that it is due.
    pub(super) fn takes_memory_down(&mut self) -> bool {
        let is_due = std::mem::take(&mut self.is_memory_due);
        is_due && self.writes.is_news(&self.remembered) && !self.config.planted(PlantedBug::MemoryNotWritten)
    }
}

impl Follower {
    /// Hears what its leader remembers, and returns what to tell it.
    pub(super) fn remind(core: &mut Core, told: &[(NodeId, Index)]) -> Vec<(NodeId, Index)> {
        if told.is_empty() {
            return Vec::new();
        }
        core.hear_remembered(told);
        core.is_memory_due = true;
        let is_news =
            |&(node, index): &(NodeId, Index)| told.iter().all(|known| known.0 != node || known.1 < index);
        core.remembered.iter().map(|(node, index)| (*node, *index)).filter(is_news).collect()
    }
}

impl Leader {
    /// What the next heartbeats say is remembered: nothing most of the time.
    pub(super) fn reminder(&mut self, core: &mut Core) -> Vec<(NodeId, Index)> {
        if self.remind_due > core.now || core.config.planted(PlantedBug::RollbackForgotten) {
            return Vec::new();
        }
        self.remind_due =
            core.now.after_micros(core.config.heartbeat_interval_us.saturating_mul(REMIND_HEARTBEATS));
        core.remember(core.config.node, core.writes.durable_index());
        for (node, progress) in &self.followers {
            core.remember(*node, progress.counted(progress.matched));
        }
        core.is_memory_due = true;
        core.remembered.iter().map(|(node, index)| (*node, *index)).collect()
    }
}
