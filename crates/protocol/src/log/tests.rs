//! The log against a naive twin.

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
        let wanted: Vec<Entry> = self.entries.iter().filter(|entry| entry.index >= from).cloned().collect();
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
    let origin = Origin { node: NodeId(1), incarnation: Incarnation(1), sequence: index.0, settled_below: 0 };
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
        let term = naive.known_positions().find(|position| position.index == index).map(|found| found.term);
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
        let mut log = Log::new(&SnapshotMeta::default(), Unread::default(), Vec::new());
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
    let log = Log::new(&meta, Unread::default(), vec![entry(Index(8), Term(4), ClusterTime(60), 0)]);
    assert!(log.matches(position));
    assert_eq!(log.term_at(Index(6)), None);
    assert_eq!(log.availability(Index(7)), Availability::Compacted);
    assert_eq!(log.last(), LogPosition { term: Term(4), index: Index(8) });
}

#[test]
#[should_panic(expected = "entry 3 appended")]
fn a_gap_is_refused() {
    let mut log = Log::new(&SnapshotMeta::default(), Unread::default(), Vec::new());
    log.append(entry(Index(3), Term(1), ClusterTime(0), 0));
}
