//! Forgetting old history.
//!
//! A compaction takes effect at once for readers. What it makes unreachable is taken out bit by bit with
//! the entries that follow, so that no entry takes long, and by their number alone, so that all replicas hold
//! the same records at the same index.
//!
//! To take a record out costs more than to write one: nobody has looked at it, its key or the version before it for
//! long, and all of them are waited for in memory. So a put that takes out many is a slow put. But it is enough that
//! entries take out a little more than they add: of records that are compacted after every N none is left before the
//! next compaction, and there are never more of them and of those that came since than those N, just as if all were taken
//! out at once.

use super::command::{KvError, Outcome, Revision};
use super::store::Store;

/// How many records an entry that adds none takes out, if there are that many to take.
const STEPS_PER_IDLE_ENTRY: u64 = 2;
/// For so many records that entries add, they take out one more, so that writers never outrun compaction.
const RECORDS_PER_EXTRA_STEP: u64 = 4;
/// How many records one entry takes out at most.
const STEPS_PER_ENTRY_MAX: u64 = 4096;

impl Store {
    /// Makes the history below a revision unreadable; what is current at the revision stays, and so do the changes of the
    /// revision itself, from which a watch may begin.
    pub(super) fn compact(&mut self, revision: Revision) -> Result<Outcome, KvError> {
        if revision <= self.compacted {
            return Err(KvError::Compacted { requested: revision, compacted: self.compacted });
        }
        if revision > self.revision {
            return Err(KvError::FutureRevision { requested: revision, current: self.revision });
        }
        self.compacted = revision;
        self.stripped = 0;
        Ok(Outcome::Compact)
    }

    /// Takes out the share of an entry before which the next record would have got the number `next_before`.
    pub(super) fn forget_some(&mut self, next_before: u64) {
        // Mostly there is nothing to take out; looking at the oldest change would wait for memory every time.
        if self.forgotten == self.compacted {
            return;
        }
        let steps = steps(next_before, self.history.next_sequence());
        for _ in 0..steps.min(STEPS_PER_ENTRY_MAX) {
            if self.history.oldest().is_some_and(|oldest| oldest.mod_revision() < self.compacted) {
                self.forget_oldest_change();
            } else if !self.strip_compacted_change() {
                self.forgotten = self.compacted;
                break;
            }
        }
    }
}

/// How many records are taken out by an entry that moved the number of the next record from one to another.
fn steps(before: u64, after: u64) -> u64 {
    if before == after {
        return STEPS_PER_IDLE_ENTRY;
    }
    // By the numbers of records, which all replicas have alike, and not by a counter of its own.
    (after - before) + (after / RECORDS_PER_EXTRA_STEP - before / RECORDS_PER_EXTRA_STEP)
}
