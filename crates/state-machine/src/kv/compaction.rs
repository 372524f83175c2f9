//! Forgetting old history.
//!
//! A compaction takes effect at once for readers. What it makes unreachable is taken out bit by bit with
//! the entries that follow, so that no entry takes long, and by their number alone, so that all replicas hold
//! the same records at the same index.
//!
//! To take a record out costs more than to write one: nobody has looked at it, its key or the version before it for
//! long, and all of them are waited for in memory. So a put that takes out many is a slow put. But that a put takes
//! out two is enough: of records that are compacted after every N puts N/2 puts later none is left, and there are never
//! more of them and of those that came since than those N, just as if all were taken out at once.

use super::command::{KvError, Outcome, Revision};
use super::store::Store;

/// How many records every applied entry takes out at least, if there are that many to take.
const STEPS_PER_ENTRY: u64 = 1;
/// How many more are taken out for each that the entry added, so that writers never outrun compaction: of single puts
/// each takes out twice what it adds.
const STEPS_PER_RECORD_ADDED: u64 = 1;
/// How many records one entry takes out at most.
const STEPS_PER_ENTRY_MAX: u64 = 4096;

impl Store {
    /// Makes the history below a revision unreadable; what is current at the revision stays.
    pub(super) fn compact(&mut self, revision: Revision) -> Result<Outcome, KvError> {
        if revision <= self.compacted {
            return Err(KvError::Compacted { requested: revision, compacted: self.compacted });
        }
        if revision > self.revision {
            return Err(KvError::FutureRevision { requested: revision, current: self.revision });
        }
        self.compacted = revision;
        Ok(Outcome::Compact)
    }

    /// Takes out the share of an entry that added `records_added` records.
    pub(super) fn forget_some(&mut self, records_added: u64) {
        // Mostly there is nothing to take out; looking at the oldest change would wait for memory every time.
        if self.forgotten == self.compacted {
            return;
        }
        let steps = STEPS_PER_ENTRY + records_added.saturating_mul(STEPS_PER_RECORD_ADDED);
        for _ in 0..steps.min(STEPS_PER_ENTRY_MAX) {
            match self.history.oldest() {
                Some(oldest) if oldest.mod_revision() <= self.compacted => self.forget_oldest_change(),
                Some(_) | None => {
                    self.forgotten = self.compacted;
                    break;
                }
            }
        }
    }
}
