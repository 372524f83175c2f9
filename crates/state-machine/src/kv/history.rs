//! The changes in the order in which they were made.

use imbl::Vector;

use super::command::Revision;
use super::compaction::owed::Written;
use super::stored::StoredVersion;

/// All changes that are not physically compacted, oldest first.
///
/// Records are numbered from the first that the store ever had, and the number goes into
/// the state hash: it fixes the order of the changes within one revision.
///
/// Invariants: modification revisions never fall; a record's link leads to an earlier record of the same key.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    records: Vector<Record>,
    first_sequence: u64,
    written_bytes: u64,
}

/// A change.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// What it made of its key.
    pub(super) version: StoredVersion,
    /// The change of the same key before it.
    pub(super) previous: Link,
}

/// The way to a record, or to none. A record that is taken out of history is found by no link any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// One more than the number of the record, so that 0 is free to mean that there is none.
    sequence_plus_one: u64,
}

impl Link {
    /// To nothing.
    pub(super) const NONE: Self = Self { sequence_plus_one: 0 };

    fn to(sequence: u64) -> Self {
        Self { sequence_plus_one: sequence + 1 }
    }
}

impl History {
    /// An empty history whose first `first_sequence` records are forgotten, after which so many bytes were written in all.
    pub(super) fn starting_at(first_sequence: u64, written_bytes: u64) -> Self {
        Self { records: Vector::new(), first_sequence, written_bytes }
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many bytes all records took that were ever added.
    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// How much was ever added.
    pub(super) fn written(&self) -> Written {
        Written { records: self.next_sequence(), bytes: self.written_bytes }
    }

    /// The number of the oldest record, or of the next one if there is none.
    pub(super) fn first_sequence(&self) -> u64 {
        self.first_sequence
    }

    /// The number that the next record gets.
    pub(super) fn next_sequence(&self) -> u64 {
        self.first_sequence + self.records.len() as u64
    }

    /// The version of the oldest record.
    pub(super) fn oldest(&self) -> Option<&StoredVersion> {
        self.records.front().map(|record| &record.version)
    }

    /// The version of the record that came `index` places after the oldest.
    pub(super) fn nth(&self, index: usize) -> Option<&StoredVersion> {
        self.records.get(index).map(|record| &record.version)
    }

    /// The versions of all records, oldest first.
    pub(super) fn versions(&self) -> impl Iterator<Item = &StoredVersion> {
        self.records.iter().map(|record| &record.version)
    }

    /// A record, if it is here.
    pub(super) fn get(&self, link: Link) -> Option<&Record> {
        let index = link.sequence_plus_one.checked_sub(self.first_sequence + 1)?;
        self.records.get(usize::try_from(index).ok()?)
    }

    /// Whether a record is here. This does not touch it.
    pub(super) fn holds(&self, link: Link) -> bool {
        link.sequence_plus_one > self.first_sequence
    }

    /// What will lead to the next record.
    pub(super) fn next_link(&self) -> Link {
        Link::to(self.next_sequence())
    }

    /// Adds the latest change, which takes so many bytes.
    pub(super) fn push(&mut self, record: Record, bytes: u64) {
        self.records.push_back(record);
        self.written_bytes += bytes;
    }

    /// Adds a change that was counted before, while a store is rebuilt.
    pub(super) fn push_again(&mut self, record: Record) {
        self.records.push_back(record);
    }

    /// Takes the oldest record out.
    pub(super) fn pop(&mut self) -> Option<Popped> {
        let Record { version, previous: _ } = self.records.pop_front()?;
        let sequence = self.first_sequence;
        self.first_sequence += 1;
        Some(Popped { version, sequence, link: Link::to(sequence) })
    }

    /// The records of revisions `from..=through`.
    pub(super) fn between(&self, from: Revision, through: Revision) -> impl Iterator<Item = &Record> {
        let start = partition_point(&self.records, |record| record.version.mod_revision() < from);
        let rest = self.records.focus().narrow(start..).into_iter();
        rest.take_while(move |record| record.version.mod_revision() <= through)
    }
}

/// The oldest record, taken out.
#[derive(Debug)]
pub(super) struct Popped {
    /// What it made of its key.
    pub(super) version: StoredVersion,
    /// Its number.
    pub(super) sequence: u64,
    /// What led to it.
    pub(super) link: Link,
}

/// The index of the first element that is not on the left side, of a vector that has all on the left side first.
pub(super) fn partition_point<T: Clone>(vector: &Vector<T>, is_left: impl Fn(&T) -> bool) -> usize {
    let (mut low, mut high) = (0, vector.len());
    while low < high {
        let middle = low.midpoint(high);
        if is_left(&vector[middle]) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
