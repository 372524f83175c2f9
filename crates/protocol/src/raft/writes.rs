//! What is durable, what is on its way to the disk, and what waits for it.

use std::collections::{BTreeMap, VecDeque};

use crate::io::Write;
use crate::types::{Entry, GroupId, HardState, Index, NodeId, SnapshotMeta, Term, WriteId};

/// The writes of one group.
///
/// Invariants:
/// - write numbers rise by one, and complete in order;
/// - `durable_index` never counts an entry that a later write replaces: replacing entries takes the
///   replaced ones out of every pending write's account at once.
#[derive(Debug)]
pub(crate) struct Writes {
    issued: WriteId,
    completed: WriteId,
    pending: VecDeque<PendingWrite>,
    /// What the newest write carries.
    written: HardState,
    /// How far replicas had come, as the newest write says that tells of it.
    remembered: BTreeMap<NodeId, Index>,
    durable_vote: Vote,
    durable_promise_us: u64,
    durable_index: Index,
    /// The first entry that no write carries yet.
    unwritten_from: Option<Index>,
}

/// The part of the hard state that must be durable before it is spoken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) term: Term,
    pub(crate) voted_for: Option<NodeId>,
    pub(crate) is_newcomer: bool,
}

#[derive(Debug)]
struct PendingWrite {
    id: WriteId,
    vote: Vote,
    promised_us: u64,
    /// The log is durable through this index once the write is.
    through: Option<Index>,
}

impl Writes {
    pub(crate) fn new(
        last_write: WriteId,
        hard_state: HardState,
        remembered: BTreeMap<NodeId, Index>,
        durable_index: Index,
    ) -> Self {
        Self {
            issued: last_write,
            completed: last_write,
            pending: VecDeque::new(),
            written: hard_state,
            remembered,
            durable_vote: vote_of(&hard_state),
            durable_promise_us: hard_state.promised_us,
            durable_index,
            unwritten_from: None,
        }
    }

    /// The log is durable through this index.
    pub(crate) fn durable_index(&self) -> Index {
        self.durable_index
    }

    /// The newest write that completed.
    pub(crate) fn completed(&self) -> WriteId {
        self.completed
    }

    /// Whether this vote, and its term, are durable.
    pub(crate) fn is_vote_durable(&self, vote: Vote) -> bool {
        self.durable_vote == vote
    }

    /// Whether this replica would begin as a newcomer again if it crashed now.
    pub(crate) fn is_newcomer_durably(&self) -> bool {
        self.durable_vote.is_newcomer
    }

    /// The longest promise to elect nobody else that the next start would remember, in microseconds.
    pub(crate) fn durable_promise_us(&self) -> u64 {
        self.durable_promise_us
    }

    /// The log changed from `first` on: what was there before is replaced.
    pub(crate) fn log_changed_from(&mut self, first: Index) {
        let kept = first.previous().unwrap_or_default();
        self.durable_index = self.durable_index.min(kept);
        for write in &mut self.pending {
            write.through = write.through.map(|through| through.min(kept));
        }
        self.unwritten_from = Some(self.unwritten_from.map_or(first, |unwritten| unwritten.min(first)));
    }

    /// The first entry that the next write must carry.
    pub(crate) fn unwritten_from(&self) -> Option<Index> {
        self.unwritten_from
    }

    /// Whether something that must be durable is in no write yet. A commit index alone is not worth one, nor is that
    /// less was promised than before.
    pub(crate) fn is_write_due(&self, hard_state: &HardState) -> bool {
        self.unwritten_from.is_some()
            || vote_of(&self.written) != vote_of(hard_state)
            || self.written.promised_us < hard_state.promised_us
    }

    /// Whether no write carries this yet.
    pub(crate) fn is_news(&self, remembered: &BTreeMap<NodeId, Index>) -> bool {
        self.remembered != *remembered
    }

    /// The write after which everything that was changed until now is durable.
    pub(crate) fn covering(&self, hard_state: &HardState) -> WriteId {
        if self.is_write_due(hard_state) { self.issued.next() } else { self.issued }
    }

    /// The next write, of these entries, which end the log.
    pub(crate) fn issue(&mut self, group: GroupId, hard_state: HardState, entries: Vec<Entry>) -> Write {
        let through = entries.last().map(|entry| entry.index);
        self.unwritten_from = None;
        self.number(group, hard_state, None, entries, through)
    }

    /// The write that was just issued also tells how far replicas had come.
    pub(crate) fn remember(&mut self, write: &mut Write, remembered: &BTreeMap<NodeId, Index>) {
        self.remembered.clone_from(remembered);
        write.remembered = Some(remembered.clone());
    }

    /// The next write, of a snapshot that replaces the whole log.
    pub(crate) fn issue_snapshot(
        &mut self,
        group: GroupId,
        hard_state: HardState,
        meta: SnapshotMeta,
    ) -> Write {
        let through = meta.position.index;
        self.durable_index = Index(0);
        self.unwritten_from = None;
        for write in &mut self.pending {
            write.through = None;
        }
        self.number(group, hard_state, Some(meta), Vec::new(), Some(through))
    }

    fn number(
        &mut self,
        group: GroupId,
        hard_state: HardState,
        snapshot: Option<SnapshotMeta>,
        entries: Vec<Entry>,
        through: Option<Index>,
    ) -> Write {
        self.issued = self.issued.next();
        self.pending.push_back(PendingWrite {
            id: self.issued,
            vote: vote_of(&hard_state),
            promised_us: hard_state.promised_us,
            through,
        });
        let changed = self.written != hard_state;
        self.written = hard_state;
        let hard_state = changed.then_some(hard_state);
        Write { id: self.issued, group, hard_state, remembered: None, snapshot, entries }
    }

    /// Everything up to and with `id` is durable.
    ///
    /// # Panics
    /// If no such write was issued.
    pub(crate) fn complete(&mut self, id: WriteId) {
        assert!(id <= self.issued, "write {id} completed, but only {} were issued", self.issued);
        while self.pending.front().is_some_and(|write| write.id <= id) {
            let Some(write) = self.pending.pop_front() else { return };
            self.durable_vote = write.vote;
            self.durable_promise_us = write.promised_us;
            self.durable_index = self.durable_index.max(write.through.unwrap_or_default());
        }
        self.completed = self.completed.max(id);
    }
}

fn vote_of(hard_state: &HardState) -> Vote {
    let HardState { term, voted_for, commit: _, is_newcomer, promised_us: _, reign: _ } = *hard_state;
    Vote { term, voted_for, is_newcomer }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{ClusterTime, Payload};

    const GROUP: GroupId = GroupId::METADATA;

    /// A log and a disk that takes writes one after another.
    struct Replica {
        writes: Writes,
        log: Vec<Entry>,
        disk: Vec<Entry>,
        queue: VecDeque<Write>,
        term: Term,
    }

    #[derive(Clone, Debug)]
    enum Event {
        /// Entries replace what was there from `first` on.
        Change { first: usize, count: usize },
        /// What changed is written.
        Write,
        /// The disk completes so many writes, and says so only once.
        Complete(usize),
    }

    fn new(last_write: WriteId) -> Writes {
        Writes::new(last_write, HardState::default(), BTreeMap::new(), Index(0))
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..12_usize, 1..4_usize).prop_map(|(first, count)| Event::Change { first, count }),
            Just(Event::Write),
            (1..4_usize).prop_map(Event::Complete),
        ]
    }

    fn replace_from(list: &mut Vec<Entry>, entries: &[Entry]) {
        if let Some(first) = entries.first() {
            list.retain(|entry| entry.index < first.index);
            list.extend_from_slice(entries);
        }
    }

    fn happen(replica: &mut Replica, event: &Event) {
        match *event {
            Event::Change { first, count } => {
                let first = first.min(replica.log.len()) as u64 + 1;
                replica.term = replica.term.next();
                let entries: Vec<Entry> = (first..first + count as u64)
                    .map(|index| Entry {
                        term: replica.term,
                        index: Index(index),
                        time: ClusterTime(0),
                        payload: Payload::Noop,
                    })
                    .collect();
                replica.writes.log_changed_from(Index(first));
                replace_from(&mut replica.log, &entries);
            }
            Event::Write => {
                let hard_state = HardState { term: replica.term, ..HardState::default() };
                if replica.writes.is_write_due(&hard_state) {
                    let first = replica.writes.unwritten_from().unwrap_or(Index(u64::MAX));
                    let entries = replica.log.iter().filter(|entry| entry.index >= first).cloned().collect();
                    replica.queue.push_back(replica.writes.issue(GROUP, hard_state, entries));
                }
            }
            Event::Complete(count) => {
                let count = count.min(replica.queue.len());
                let done: Vec<Write> = replica.queue.drain(..count).collect();
                done.iter().for_each(|write| replace_from(&mut replica.disk, &write.entries));
                if let Some(newest) = done.last() {
                    replica.writes.complete(newest.id);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_counts_as_durable_is_on_the_disk(events in prop::collection::vec(event(), 0..60)) {
            let writes = new(WriteId(0));
            let mut replica =
                Replica { writes, log: Vec::new(), disk: Vec::new(), queue: VecDeque::new(), term: Term(0) };
            for event in events {
                happen(&mut replica, &event);
                let durable = replica.writes.durable_index().0 as usize;
                prop_assert!(durable <= replica.disk.len());
                prop_assert_eq!(&replica.log[..durable], &replica.disk[..durable]);
            }
            happen(&mut replica, &Event::Write);
            happen(&mut replica, &Event::Complete(usize::MAX));
            prop_assert_eq!(replica.writes.durable_index().0 as usize, replica.log.len());
        }
    }

    #[test]
    fn a_commit_index_alone_is_not_written() {
        let mut writes = new(WriteId(0));
        let hard_state = HardState { commit: Index(5), ..HardState::default() };
        assert!(!writes.is_write_due(&hard_state));
        writes.log_changed_from(Index(1));
        let write = writes.issue(GROUP, hard_state, Vec::new());
        assert_eq!(write.hard_state, Some(hard_state));
    }

    #[test]
    #[should_panic(expected = "write 2 completed")]
    fn a_write_that_was_never_issued_can_not_complete() {
        new(WriteId(1)).complete(WriteId(2));
    }
}
