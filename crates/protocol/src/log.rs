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

/// Entries that stay on the disk when a replica starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// The first entry of each term among them, but for those that go on with the base's term.
    pub term_starts: Vec<LogPosition>,
    /// The last of them, and its cluster time; `None` if there are none.
    pub last: Option<(Index, ClusterTime)>,
}

/// All entries from `first` up to the next run are of `term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TermRun {
    first: Index,
    term: Term,
}

impl Log {
    /// A log that begins behind a snapshot and goes on with entries that are on the disk only, and then with `entries`, all
    /// of them in memory until [`trim`](Self::trim) lets the oldest go.
    ///
    /// # Panics
    /// If the entries do not follow each other.
    pub(crate) fn new(base: &SnapshotMeta, unread: Unread, entries: Vec<Entry>) -> Self {
        let first = TermRun { first: base.position.index, term: base.position.term };
        let starts = unread.term_starts.iter().map(|start| TermRun { first: start.index, term: start.term });
        let (trimmed, trimmed_time) = unread.last.unwrap_or((base.position.index, base.time));
        let mut log = Self {
            base: base.position,
            runs: std::iter::once(first).chain(starts).collect(),
            tail: VecDeque::new(),
            tail_bytes: 0,
            trimmed,
            trimmed_time,
        };
        let rises = |(one, next): (&TermRun, &TermRun)| one.first < next.first && one.term < next.term;
        assert!(
            log.runs.iter().zip(log.runs.iter().skip(1)).all(rises) && log.newest_run().first <= trimmed,
            "unread entries {unread:?} behind {base:?}"
        );
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

    /// The same, also below the [`floor`](Self::floor), as far as it is remembered.
    pub(crate) fn remembered_term(&self, index: Index) -> Option<Term> {
        if index > self.last().index {
            return None;
        }
        let run = self.runs.partition_point(|run| run.first <= index).checked_sub(1)?;
        Some(self.runs[run].term)
    }

    /// The cluster time of the entry at `index`, if that is in memory or right before what is.
    pub(crate) fn time_at(&self, index: Index) -> Option<ClusterTime> {
        match index.0.checked_sub(self.trimmed.0)? {
            0 => Some(self.trimmed_time),
            place => self.tail.get(usize::try_from(place - 1).ok()?).map(|entry| entry.time),
        }
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
        fitting(self.entries(from, self.last().index), bytes_max).cloned().collect()
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
        // After a start or a burst of small entries it was much longer than it need be.
        if self.tail.capacity() > 4 * self.tail.len().max(TAIL_CAPACITY_KEPT) {
            self.tail.shrink_to(2 * self.tail.len().max(TAIL_CAPACITY_KEPT));
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
        while self.runs.len() > RUNS_KEPT && self.runs[1].first <= self.floor() {
            self.runs.pop_front();
        }
    }
}

/// So many changes of term are remembered also below the floor, to tell a log that parted from this one there.
const RUNS_KEPT: usize = 64;

/// So many entries may always have room in memory.
const TAIL_CAPACITY_KEPT: usize = 1024;

/// As many of the entries as weigh at most `bytes_max`, but at least one.
pub(crate) fn fitting<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    bytes_max: usize,
) -> impl Iterator<Item = &'a Entry> {
    let mut bytes = 0_usize;
    entries.take_while(move |entry| {
        let fits = bytes == 0 || bytes.saturating_add(entry.weight()) <= bytes_max;
        bytes = bytes.saturating_add(entry.weight());
        fits
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
