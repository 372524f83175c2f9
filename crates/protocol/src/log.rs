//! What a replica keeps of its log in memory: the terms of everything, and the newest entries.

use std::collections::VecDeque;

use crate::types::{ClusterTime, Entry, Index, LogPosition, SnapshotMeta, Term};

/// Where entries from an index on can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// Here.
    Memory,
    /// Not here, but in the durable log.
    Disk,
    /// Only inside a snapshot.
    Compacted,
}

/// A log of which the newest entries are in memory, and the terms of all.
///
/// Terms are kept as runs, one for every change of term, so that the term before any entry is known
/// without reading the disk, and a conflicting term is skipped in one step.
///
/// Invariants:
/// - entries in `tail` are consecutive, and begin right behind `trimmed`;
/// - terms never fall along the log;
/// - `runs` is never empty, rises in both index and term, and its first run covers [`Log::floor`].
#[derive(Debug)]
pub(crate) struct Log {
    /// The durable log begins behind this.
    base: LogPosition,
    /// Where each term begins.
    runs: VecDeque<TermRun>,
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    /// The index right before the tail.
    trimmed: Index,
    trimmed_time: ClusterTime,
}

/// All entries from `first` up to the next run are of `term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TermRun {
    first: Index,
    term: Term,
}

impl Log {
    /// A log that begins behind a snapshot and holds `entries`, all in memory for now.
    pub(crate) fn new(base: &SnapshotMeta, entries: Vec<Entry>) -> Self {
        let mut log = Self {
            base: base.position,
            runs: VecDeque::from([TermRun { first: base.position.index, term: base.position.term }]),
            tail: VecDeque::new(),
            tail_bytes: 0,
            trimmed: base.position.index,
            trimmed_time: base.time,
        };
        for entry in entries {
            log.append(entry);
        }
        log
    }

    /// Where the log ends.
    pub(crate) fn last(&self) -> LogPosition {
        let index = Index(self.trimmed.0 + self.tail.len() as u64);
        LogPosition { term: self.newest_run().term, index }
    }

    /// The newest entry's cluster time.
    pub(crate) fn last_time(&self) -> ClusterTime {
        self.tail.back().map_or(self.trimmed_time, |entry| entry.time)
    }

    /// The snapshot's position that the durable log begins behind.
    pub(crate) fn base(&self) -> LogPosition {
        self.base
    }

    /// The term of the entry at `index`; `None` if the log does not reach there or no longer knows.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index < self.floor() || index > self.last().index {
            return None;
        }
        let run = self.runs.partition_point(|run| run.first <= index).checked_sub(1)?;
        Some(self.runs[run].term)
    }

    /// Whether the log holds the very entry at this position.
    pub(crate) fn matches(&self, position: LogPosition) -> bool {
        self.term_at(position.index) == Some(position.term)
    }

    /// The highest position not above `index` whose term is not above `term`: no other position above it
    /// can match a log that has `term` at `index` (Raft thesis section 3.5, last paragraph).
    pub(crate) fn highest_at_most(&self, index: Index, term: Term) -> Option<LogPosition> {
        let index = index.min(self.last().index);
        let by_index = self.runs.partition_point(|run| run.first <= index).checked_sub(1)?;
        let by_term = self.runs.partition_point(|run| run.term <= term).checked_sub(1)?;
        let position = if by_term < by_index {
            LogPosition { term: self.runs[by_term].term, index: self.runs[by_term + 1].first.previous()? }
        } else {
            LogPosition { term: self.runs[by_index].term, index }
        };
        (position.index >= self.floor()).then_some(position)
    }

    /// Where entries from `index` on can be had.
    pub(crate) fn availability(&self, index: Index) -> Availability {
        if index > self.trimmed {
            Availability::Memory
        } else if index > self.base.index {
            Availability::Disk
        } else {
            Availability::Compacted
        }
    }

    /// The first index that is in memory, or would be.
    pub(crate) fn tail_first(&self) -> Index {
        self.trimmed.next()
    }

    /// The entries of the tail from one index through another, both included.
    ///
    /// # Panics
    /// If the range begins before the tail.
    pub(crate) fn entries(&self, from: Index, through: Index) -> impl Iterator<Item = &Entry> {
        assert!(
            from > self.trimmed,
            "entries from {from} are not in memory, which begins behind {}",
            self.trimmed
        );
        let skip = usize::try_from(from.0 - self.trimmed.next().0).unwrap_or(usize::MAX);
        self.tail.iter().skip(skip).take_while(move |entry| entry.index <= through)
    }

    /// Copies of the entries from `from` on, as many as fit into `bytes_max`, but at least one if there is one.
    pub(crate) fn batch(&self, from: Index, bytes_max: usize) -> Vec<Entry> {
        let mut bytes = 0_usize;
        self.entries(from, self.last().index)
            .take_while(|entry| {
                let fits = bytes == 0 || bytes.saturating_add(entry.weight()) <= bytes_max;
                bytes = bytes.saturating_add(entry.weight());
                fits
            })
            .cloned()
            .collect()
    }

    /// Adds an entry at the end.
    ///
    /// # Panics
    /// If it is not the successor of the last one, or time or term would go back.
    pub(crate) fn append(&mut self, entry: Entry) {
        let last = self.last();
        assert_eq!(entry.index, last.index.next(), "entry {} appended behind {last:?}", entry.index);
        assert!(entry.term >= last.term, "entry of term {} appended behind {last:?}", entry.term);
        assert!(
            entry.time >= self.last_time(),
            "entry {} at time {} appended behind time {}",
            entry.index,
            entry.time,
            self.last_time()
        );
        if entry.term > last.term {
            self.runs.push_back(TermRun { first: entry.index, term: entry.term });
        }
        self.tail_bytes += entry.weight();
        self.tail.push_back(entry);
    }

    /// Forgets all entries above `index`.
    ///
    /// # Panics
    /// If that would reach behind the tail: what left memory was applied.
    pub(crate) fn truncate_after(&mut self, index: Index) {
        assert!(index >= self.trimmed, "truncated after {index}, but memory begins behind {}", self.trimmed);
        while self.tail.back().is_some_and(|entry| entry.index > index) {
            if let Some(entry) = self.tail.pop_back() {
                self.tail_bytes -= entry.weight();
            }
        }
        while self.runs.len() > 1 && self.newest_run().first > index {
            self.runs.pop_back();
        }
    }

    /// Lets the oldest entries go, none above `through`, until the tail fits into `bytes_max`.
    pub(crate) fn trim(&mut self, through: Index, bytes_max: usize) {
        while self.tail_bytes > bytes_max && self.tail.front().is_some_and(|entry| entry.index <= through) {
            let Some(entry) = self.tail.pop_front() else { return };
            self.tail_bytes -= entry.weight();
            self.trimmed = entry.index;
            self.trimmed_time = entry.time;
        }
        self.forget_runs();
    }

    /// The durable log now begins behind `base`. Entries in memory stay: a follower that is only a little
    /// behind needs no snapshot.
    pub(crate) fn compact(&mut self, base: LogPosition) {
        assert!(
            self.matches(base),
            "compacted to {base:?}, which is not in the log {:?}..{:?}",
            self.base,
            self.last()
        );
        self.base = self.base.max(base);
        self.forget_runs();
    }

    /// The lowest index whose term is known.
    pub(crate) fn floor(&self) -> Index {
        self.base.index.min(self.trimmed)
    }

    fn newest_run(&self) -> TermRun {
        *self.runs.back().expect("there is always a run: it covers the floor")
    }

    fn forget_runs(&mut self) {
        while self.runs.get(1).is_some_and(|run| run.first <= self.floor()) {
            self.runs.pop_front();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::types::{Incarnation, NodeId, Origin, Payload, Proposal};

    /// The same log with nothing clever: every entry there ever was, and two marks.
    #[derive(Default)]
    struct NaiveLog {
        entries: Vec<Entry>,
        base: Index,
        trimmed: Index,
    }

    impl NaiveLog {
        fn last(&self) -> LogPosition {
            self.entries.last().map(Entry::position).unwrap_or_default()
        }

        fn floor(&self) -> Index {
            self.base.min(self.trimmed)
        }

        fn known_positions(&self) -> impl Iterator<Item = LogPosition> {
            let floor = self.floor();
            std::iter::once(LogPosition::default())
                .chain(self.entries.iter().map(Entry::position))
                .filter(move |position| position.index >= floor)
        }

        fn tail(&self) -> Vec<Entry> {
            self.entries.iter().filter(|entry| entry.index > self.trimmed).cloned().collect()
        }

        fn trim(&mut self, through: Index, bytes_max: usize) {
            while let Some(oldest) = self.tail().first().filter(|entry| entry.index <= through) {
                if self.tail().iter().map(Entry::weight).sum::<usize>() <= bytes_max {
                    return;
                }
                self.trimmed = oldest.index;
            }
        }

        fn batch(&self, from: Index, bytes_max: usize) -> Vec<Entry> {
            let wanted: Vec<Entry> =
                self.entries.iter().filter(|entry| entry.index >= from).cloned().collect();
            let fitting = (1..=wanted.len())
                .rev()
                .find(|count| wanted[..*count].iter().map(Entry::weight).sum::<usize>() <= bytes_max);
            wanted[..fitting.unwrap_or(1).min(wanted.len())].to_vec()
        }
    }

    #[derive(Clone, Debug)]
    enum Change {
        Append {
            terms_up: u64,
            time_up: u64,
            bytes: usize,
        },
        /// How many entries from the end go.
        Truncate(u64),
        Trim {
            through: u64,
            bytes_max: usize,
        },
        Compact(u64),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            6 => (0..3_u64, 0..3_u64, 0..50_usize)
                .prop_map(|(terms_up, time_up, bytes)| Change::Append { terms_up, time_up, bytes }),
            1 => (0..6_u64).prop_map(Change::Truncate),
            1 => (0..30_u64, 0..400_usize).prop_map(|(through, bytes_max)| Change::Trim { through, bytes_max }),
            1 => (0..30_u64).prop_map(Change::Compact),
        ]
    }

    fn entry(index: Index, term: Term, time: ClusterTime, bytes: usize) -> Entry {
        let origin =
            Origin { node: NodeId(1), incarnation: Incarnation(1), sequence: index.0, settled_below: 0 };
        let command = Bytes::from(vec![0; bytes]);
        Entry { term, index, time, payload: Payload::Command(Proposal { origin, command }) }
    }

    fn make(change: Change, log: &mut Log, naive: &mut NaiveLog) {
        let last = log.last();
        match change {
            Change::Append { terms_up, time_up, bytes } => {
                let term = Term(last.term.0.max(1) + terms_up);
                let time = ClusterTime(log.last_time().0 + time_up);
                let entry = entry(last.index.next(), term, time, bytes);
                naive.entries.push(entry.clone());
                log.append(entry);
            }
            Change::Truncate(count) => {
                let index = Index(last.index.0.saturating_sub(count)).max(naive.trimmed).max(naive.base);
                naive.entries.retain(|entry| entry.index <= index);
                log.truncate_after(index);
            }
            Change::Trim { through, bytes_max } => {
                let through = Index(through).min(last.index);
                naive.trim(through, bytes_max);
                log.trim(through, bytes_max);
            }
            Change::Compact(index) => {
                let index = Index(index).clamp(naive.base, last.index.max(naive.base));
                naive.base = index;
                let term = log.term_at(index).unwrap();
                log.compact(LogPosition { term, index });
            }
        }
    }

    fn assert_same(log: &Log, naive: &NaiveLog) {
        assert_eq!(log.last(), naive.last());
        assert_eq!(log.last_time(), naive.entries.last().map(|entry| entry.time).unwrap_or_default());
        assert_eq!((log.floor(), log.tail_first()), (naive.floor(), naive.trimmed.next()));
        assert_eq!(log.base().index, naive.base);
        for index in (0..naive.last().index.0 + 3).map(Index) {
            let term =
                naive.known_positions().find(|position| position.index == index).map(|found| found.term);
            assert_eq!(log.term_at(index), term, "term at {index}");
            let expected = match index {
                _ if index > naive.trimmed => Availability::Memory,
                _ if index > naive.base => Availability::Disk,
                _ => Availability::Compacted,
            };
            assert_eq!(log.availability(index), expected, "availability of {index}");
            for term in (0..naive.last().term.0 + 2).map(Term) {
                let highest = naive
                    .known_positions()
                    .filter(|position| position.index <= index && position.term <= term)
                    .max_by_key(|position| position.index);
                assert_eq!(log.highest_at_most(index, term), highest, "highest of {index} and term {term}");
            }
            if index > naive.trimmed {
                assert_eq!(log.batch(index, 150), naive.batch(index, 150), "batch from {index}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_log_is_what_its_naive_twin_is(changes in prop::collection::vec(change(), 0..40)) {
            let mut log = Log::new(&SnapshotMeta::default(), Vec::new());
            let mut naive = NaiveLog::default();
            for change in changes {
                make(change, &mut log, &mut naive);
                assert_same(&log, &naive);
            }
        }
    }

    #[test]
    fn a_log_restored_behind_a_snapshot_knows_only_what_follows() {
        let position = LogPosition { term: Term(3), index: Index(7) };
        let meta = SnapshotMeta { position, time: ClusterTime(50), ..SnapshotMeta::default() };
        let log = Log::new(&meta, vec![entry(Index(8), Term(4), ClusterTime(60), 0)]);
        assert!(log.matches(position));
        assert_eq!(log.term_at(Index(6)), None);
        assert_eq!(log.availability(Index(7)), Availability::Compacted);
        assert_eq!(log.last(), LogPosition { term: Term(4), index: Index(8) });
    }

    #[test]
    #[should_panic(expected = "entry 3 appended")]
    fn a_gap_is_refused() {
        let mut log = Log::new(&SnapshotMeta::default(), Vec::new());
        log.append(entry(Index(3), Term(1), ClusterTime(0), 0));
    }
}
