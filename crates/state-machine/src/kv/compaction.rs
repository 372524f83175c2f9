//! Forgetting old history.
//!
//! A compaction takes effect at once for readers. What it makes unreachable is taken out bit by bit with
//! the entries that follow, so that no entry takes long, and by what they add alone, so that all replicas hold
//! the same records at the same index.
//!
//! To take a record out costs more than to write one: nobody has looked at it, its key or the version before it for
//! long, and all of them are waited for in memory. So a put that takes out many is a slow put. But it is enough that
//! entries take out a little more than they add: of records that are compacted after every N none is left before the
//! next compaction, and there are never more of them and of those that came since than those N, just as if all were taken
//! out at once.
//!
//! Records are counted, and so are bytes, since large values may follow many small ones. An entry that adds more than one entry may
//! take out, as a deletion of a range does, leaves to those that follow what it owes.

pub(super) mod owed;

use super::command::{KvError, Outcome, Revision};
use super::store::{Store, version_bytes};
use owed::{Owed, Written};

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
        self.compact_to(revision);
        Ok(Outcome::Compact)
    }

    /// The same, where the revision is known to be later than what is compacted.
    pub(super) fn compact_to(&mut self, revision: Revision) {
        self.compacted = revision;
        self.stripped = 0;
    }

    /// Takes out the share of an entry, before which so much had been written.
    pub(super) fn forget_some(&mut self, before: Written) {
        // Mostly there is nothing to take out; looking at the oldest change would wait for memory every time.
        if self.forgotten == self.compacted {
            return;
        }
        self.owed.entry_came(before, self.history.written());
        for _ in 0..STEPS_PER_ENTRY_MAX {
            let oldest = self.history.oldest().filter(|oldest| oldest.mod_revision() < self.compacted);
            // A change that stays counts as a record and takes no bytes that could be paid with.
            let bytes = oldest.map_or(u64::MAX, |oldest| version_bytes(&oldest.parts()));
            let is_below = oldest.is_some();
            if !self.owed.pay(bytes) {
                break;
            }
            if is_below {
                self.forget_oldest_change();
            } else if !self.strip_compacted_change() {
                self.forgotten = self.compacted;
                self.owed = Owed::default();
                break;
            }
        }
    }
}
