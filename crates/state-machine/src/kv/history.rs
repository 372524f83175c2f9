//! The changes in the order in which they were made.

use imbl::Vector;

use super::command::Revision;
use super::store::Store;
use super::stored::StoredVersion;
use super::versions::partition_point;
use super::view::{Event, EventKind};

/// All changes that are not physically compacted, oldest first.
///
/// A record is the version that the change made, shared with the key's version list, so history costs
/// two words a change. Records are numbered from the first that the store ever had, and the number goes into
/// the state hash: it fixes the order of the changes within one revision.
///
/// Invariant: modification revisions never fall.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    records: Vector<StoredVersion>,
    first_sequence: u64,
}

impl History {
    /// An empty history whose first `first_sequence` records are forgotten.
    pub(super) fn starting_at(first_sequence: u64) -> Self {
        Self { records: Vector::new(), first_sequence }
    }

    /// The number of the oldest record, or of the next one if there is none.
    pub(super) fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// The number that the next record gets.
    pub(super) fn next_sequence(&self) -> u64 {
        self.first_sequence + self.records.len() as u64
    }

    /// The oldest record.
    pub(super) fn oldest(&self) -> Option<&StoredVersion> {
        self.records.front()
    }

    /// All records, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &StoredVersion> {
        self.records.iter()
    }

    /// Adds the latest change.
    pub(super) fn push(&mut self, record: StoredVersion) {
        self.records.push_back(record);
    }

    /// Takes the oldest record and its number out.
    pub(super) fn pop(&mut self) -> Option<(u64, StoredVersion)> {
        let record = self.records.pop_front()?;
        let sequence = self.first_sequence;
        self.first_sequence += 1;
        Some((sequence, record))
    }

    /// The records of revisions `from..=through`.
    fn between(&self, from: Revision, through: Revision) -> impl Iterator<Item = &StoredVersion> {
        let start = partition_point(&self.records, |revision| revision < from);
        let rest = self.records.focus().narrow(start..).into_iter();
        rest.take_while(move |record| record.mod_revision() <= through)
    }
}

impl Store {
    /// The changes of revisions `from..=through`, all above the compacted revision, as events.
    pub(super) fn events(&self, from: Revision, through: Revision) -> impl Iterator<Item = Event> {
        self.history.between(from, through).map(|record| {
            let parts = record.parts();
            let versions = self.keys.get(parts.key);
            let previous = versions.and_then(|versions| versions.before(parts.mod_revision));
            Event {
                kind: if parts.is_tombstone() { EventKind::Delete } else { EventKind::Put },
                kv: record.key_value(),
                prev_kv: previous.map(StoredVersion::key_value),
            }
        })
    }
}
