//! What a group's log holds and where in the segments its entries are.

use std::collections::{BTreeMap, VecDeque};

use ruvector_protocol::{Entry, HardState, Index, LogPosition, NodeId, SnapshotMeta, Term};

use super::record::Carried;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// The segment's number.
    pub(crate) segment: u64,
    /// Where in the segment.
    pub(crate) offset: u32,
    /// The whole record's bytes.
    pub(crate) bytes: u32,
}

/// A group's log: its state, and the place of each entry.
///
/// - Entries are consecutive and end at `last`; terms never fall along the log.
/// - Every entry behind the base has a place, but for one moment: while segments are read back whose older
///   neighbours were dropped (see [`missing`](Self::missing)).
/// - Places never go back along the log, so the first entry's segment is the oldest that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupLog {
    hard_state: HardState,
    remembered: BTreeMap<NodeId, Index>,
    base: SnapshotMeta,
    last: LogPosition,
    held: VecDeque<Held>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    term: Term,
    location: Location,
}

/// A rule of the log that a record breaks.
pub(crate) type Violation = String;

impl GroupLog {
    /// A log that begins behind `base` and has no entries.
    pub(crate) fn new(base: SnapshotMeta) -> Self {
        let last = base.position;
        Self::held_nowhere(HardState::default(), base, last)
    }

    /// A log as a segment's beginning tells of it: its entries are known to have been and are not held.
    ///
    /// # Errors
    /// If no log can end so behind its base.
    pub(crate) fn from_carried(carried: Carried) -> Result<Self, Violation> {
        let Carried { hard_state, last, base } = carried;
        let start = base.position;
        if last != start && (last.index <= start.index || last.term < start.term) {
            return Err(format!("a log that begins behind {start:?} ends at {last:?}"));
        }
        Ok(Self::held_nowhere(hard_state, base, last))
    }

    fn held_nowhere(hard_state: HardState, base: SnapshotMeta, last: LogPosition) -> Self {
        Self { hard_state, remembered: BTreeMap::new(), base, last, held: VecDeque::new(), bytes: 0 }
    }

    pub(crate) fn carried(&self) -> Carried {
        Carried { hard_state: self.hard_state, last: self.last, base: self.base.clone() }
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    pub(crate) fn remembered(&self) -> &BTreeMap<NodeId, Index> {
        &self.remembered
    }

    pub(crate) fn set_remembered(&mut self, remembered: BTreeMap<NodeId, Index>) {
        self.remembered = remembered;
    }

    pub(crate) fn base(&self) -> &SnapshotMeta {
        &self.base
    }

    pub(crate) fn last(&self) -> LogPosition {
        self.last
    }

    /// Bytes of the records of all entries held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The first entry of each term, but for those that go on with the base's term.
    pub(crate) fn term_starts(&self) -> Vec<LogPosition> {
        let mut starts = Vec::new();
        let mut term = self.base.position.term;
        for (index, held) in (self.first_held()..).zip(&self.held) {
            if held.term != term {
                term = held.term;
                starts.push(LogPosition { term, index: Index(index) });
            }
        }
        starts
    }

    /// The oldest segment that the group's entries need.
    pub(crate) fn oldest_segment(&self) -> Option<u64> {
        self.held.front().map(|held| held.location.segment)
    }

    /// Where the entries `from..=through` are, those of them that are held; none if `from` is not.
    pub(crate) fn locations(&self, from: Index, through: Index) -> impl Iterator<Item = (Index, Location)> {
        let first = self.first_held();
        let end = through.0.min(self.last.index.0).saturating_add(1).max(first);
        let start = if from.0 < first { end } else { from.0.min(end) };
        let place = |index: u64| usize::try_from(index - first).expect("the index of entries fits memory");
        let held = self.held.range(place(start)..place(end));
        (start..end).map(Index).zip(held.map(|held| held.location))
    }

    /// Entries behind the base that no segment held: `(first, last)`.
    pub(crate) fn missing(&self) -> Option<(Index, Index)> {
        let first = self.base.position.index.next();
        let held = Index(self.first_held());
        (first < held).then(|| (first, Index(held.0 - 1)))
    }

    /// # Errors
    /// If the term falls or a vote of the same term changes.
    pub(crate) fn set_hard_state(&mut self, state: HardState) -> Result<(), Violation> {
        let old = self.hard_state;
        if state.term < old.term {
            return Err(format!("term {} follows term {}", state.term, old.term));
        }
        if state.term == old.term && old.voted_for.is_some() && state.voted_for != old.voted_for {
            return Err(format!(
                "the vote of term {} changes from {:?} to {:?}",
                state.term, old.voted_for, state.voted_for
            ));
        }
        self.hard_state = state;
        Ok(())
    }

    /// Takes an entry, which replaces everything from its index on.
    ///
    /// # Errors
    /// If it does not follow.
    pub(crate) fn push(&mut self, entry: &Entry, location: Location) -> Result<(), Violation> {
        let Entry { index, term, .. } = *entry;
        if index <= self.base.position.index {
            return Err(format!("entry {index} is not behind the base {}", self.base.position.index));
        }
        if index > self.last.index.next() {
            return Err(format!("entry {index} follows entry {}", self.last.index));
        }
        if let Some(before) = self.term_before(index)
            && term < before
        {
            return Err(format!("entry {index} has term {term}, the one before it has {before}"));
        }
        self.truncate(index);
        self.held.push_back(Held { term, location });
        self.bytes += u64::from(location.bytes);
        self.last = entry.position();
        Ok(())
    }

    /// Drops all entries; the log goes on behind `base`.
    pub(crate) fn reset(&mut self, base: SnapshotMeta) {
        self.held.clear();
        self.bytes = 0;
        self.last = base.position;
        self.base = base;
    }

    /// Forgets entries up to and with `base`; those behind it stay.
    ///
    /// # Errors
    /// If the base goes back, or names another entry than the log holds at its index.
    pub(crate) fn compact(&mut self, base: SnapshotMeta) -> Result<(), Violation> {
        let position = base.position;
        if position.index < self.base.position.index {
            return Err(format!("base {} follows base {}", position.index, self.base.position.index));
        }
        if let Some(term) = self.term_before(position.index.next())
            && term != position.term
        {
            return Err(format!("base {} has term {}, the entry {term}", position.index, position.term));
        }
        if position.index >= self.last.index {
            self.reset(base);
            return Ok(());
        }
        let forgotten = (position.index.0 + 1).saturating_sub(self.first_held());
        for _ in 0..forgotten {
            if let Some(held) = self.held.pop_front() {
                self.bytes -= u64::from(held.location.bytes);
            }
        }
        // The log grows long between two snapshots, and no shorter one gives its memory back.
        self.held.shrink_to(2 * self.held.len());
        self.base = base;
        Ok(())
    }

    /// The index of the first entry held; one beyond the last if none is.
    fn first_held(&self) -> u64 {
        self.last.index.0 + 1 - self.held.len() as u64
    }

    fn truncate(&mut self, from: Index) {
        let kept = from.0.saturating_sub(self.first_held());
        while self.held.len() as u64 > kept {
            if let Some(held) = self.held.pop_back() {
                self.bytes -= u64::from(held.location.bytes);
            }
        }
    }

    /// The term of the entry in front of `index`, if it is known.
    fn term_before(&self, index: Index) -> Option<Term> {
        let before = index.previous()?;
        if before == self.last.index {
            return Some(self.last.term);
        }
        if before == self.base.position.index {
            return Some(self.base.position.term);
        }
        let place = usize::try_from(before.0.checked_sub(self.first_held())?).ok()?;
        self.held.get(place).map(|held| held.term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_ends_at_its_base_or_behind_it() {
        let position = |term, index| LogPosition { term: Term(term), index: Index(index) };
        let base = SnapshotMeta { position: position(3, 7), ..SnapshotMeta::default() };
        for (last, is_taken) in [
            (position(3, 7), true),
            (position(3, 8), true),
            (position(4, 9), true),
            (position(4, 7), false),
            (position(3, 6), false),
            (position(2, 8), false),
        ] {
            let carried = Carried { hard_state: HardState::default(), last, base: base.clone() };
            assert_eq!(GroupLog::from_carried(carried).is_ok(), is_taken, "{last:?}");
        }
    }
}
