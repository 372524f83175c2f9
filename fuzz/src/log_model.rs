//! A log on a simulated disk beside a model of it, driven by an input.

use std::collections::BTreeMap;
use std::sync::Arc;

use arbitrary::Unstructured;
use bytes::Bytes;
use ruvector_protocol::{
    ClusterTime, Entry, GroupId, HardState, Incarnation, Index, LogPosition, Membership, NodeId, Origin,
    Payload, Proposal, SnapshotMeta, Term, Write, WriteId,
};
use ruvector_storage::{Crash, GroupContents, LogOptions, LogStore, SimulatedDisk};

use crate::{OWNER, byte};

/// What a log holds, by group.
pub type Contents = BTreeMap<GroupId, GroupContents>;

/// A log that was written by a script.
#[derive(Debug)]
pub struct WrittenLog {
    /// The disk it is on.
    pub disk: SimulatedDisk,
    /// How it was laid out.
    pub options: LogOptions,
    /// What it held after each write, from the beginning on.
    pub states: Vec<Contents>,
    /// Which of them a batch on the disk ended with.
    pub durable: Vec<usize>,
}

impl WrittenLog {
    /// Writes a log as the input says, up to a zero byte, and stops without a last sync.
    ///
    /// # Panics
    /// If the log is not what the model says.
    #[must_use]
    pub fn write(input: &mut Unstructured<'_>) -> Self {
        let segment_bytes = 512 << (byte(input) % 4);
        let options = LogOptions { segment_bytes, recycled_segments_max: usize::from(byte(input) % 3) };
        let disk = SimulatedDisk::new();
        let mut written = Self { disk, options, states: vec![Contents::new()], durable: vec![0] };
        let mut log = written.reopened();
        loop {
            match byte(input) {
                0 => break,
                1..=40 => {
                    log.sync().expect("the disk has no fault");
                    written.durable.push(written.states.len() - 1);
                }
                41..=50 => log = written.reopened(),
                51..=70 => written.compact(&mut log, input),
                choice => written.append(&mut log, choice, input),
            }
        }
        drop(log);
        written.disk.crash(Crash::LoseUnsynced);
        written
    }

    /// What was last made durable.
    ///
    /// # Panics
    /// Never: an empty log is durable.
    #[must_use]
    pub fn synced(&self) -> &Contents {
        &self.states[*self.durable.last().expect("an empty log is durable")]
    }

    fn now(&self) -> &Contents {
        self.states.last().expect("there is a first state")
    }

    fn reopened(&mut self) -> LogStore {
        self.disk.crash(Crash::LoseUnsynced);
        let opened = LogStore::open(Arc::new(self.disk.clone()), OWNER, self.options);
        let log = opened.expect("a log without damage can be opened");
        let contents = log.contents().expect("a log without damage can be read");
        assert_eq!(&contents, self.synced(), "a log changes by being opened");
        self.states.push(contents);
        self.durable.push(self.states.len() - 1);
        log
    }

    fn append(&mut self, log: &mut LogStore, choice: u8, input: &mut Unstructured<'_>) {
        let group = GroupId(1 + u64::from(choice % 2));
        let mut state = self.now().get(&group).cloned();
        let write = a_write(group, state.as_ref(), choice, input);
        apply(&mut state, &write);
        let syncs = log.sync_count();
        log.append(&write).expect("the disk has no fault");
        self.push(group, state, log.sync_count() > syncs);
    }

    fn compact(&mut self, log: &mut LogStore, input: &mut Unstructured<'_>) {
        let (choice, group) = (byte(input), GroupId(1 + u64::from(byte(input) % 2)));
        let Some(mut state) = self.now().get(&group).cloned() else { return };
        let Some(at) = state.entries.get(usize::from(choice) % state.entries.len().max(1)) else { return };
        let base = SnapshotMeta { position: at.position(), time: at.time, ..state.base.clone() };
        let syncs = log.sync_count();
        log.compact(group, &base).expect("the disk has no fault");
        state.entries.retain(|entry| entry.index > base.position.index);
        state.base = base;
        self.push(group, Some(state), log.sync_count() > syncs);
    }

    /// What was written before may have been synced to make room; this was not.
    fn push(&mut self, group: GroupId, state: Option<GroupContents>, synced: bool) {
        if synced {
            self.durable.push(self.states.len() - 1);
        }
        let mut contents = self.now().clone();
        contents.extend(state.map(|state| (group, state)));
        self.states.push(contents);
    }
}

/// A write that the log's rules allow.
fn a_write(group: GroupId, state: Option<&GroupContents>, choice: u8, input: &mut Unstructured<'_>) -> Write {
    let (flags, shape) = (byte(input), byte(input));
    let held = state.cloned().unwrap_or_default();
    let last = held.entries.last().map_or(held.base.position, Entry::position);
    let mut term = held.hard_state.term.max(last.term);
    let mut hard_state = None;
    if flags & 1 != 0 {
        term = Term(term.0 + u64::from(flags >> 6));
        let voted_for = (flags & 2 != 0).then_some(NodeId(2));
        let kept = held.hard_state.voted_for.filter(|_| held.hard_state.term == term);
        hard_state = Some(HardState {
            term,
            voted_for: kept.or(voted_for),
            commit: last.index,
            ..HardState::default()
        });
    }
    let mut snapshot = None;
    let mut next = last.index.next();
    if state.is_none() || flags & 0b11_1100 == 0b11_1100 {
        let voters = (1..=u64::from(choice % 6)).map(NodeId).collect();
        let index = if state.is_none() { Index(0) } else { Index(next.0 + u64::from(shape)) };
        let term = if state.is_none() { Term(0) } else { term };
        let position = LogPosition { term, index };
        snapshot = Some(SnapshotMeta { position, time: ClusterTime(5), membership: Membership { voters } });
        next = index.next();
    } else if flags & 4 != 0 {
        // Entries are replaced; those of a new leader have a new term.
        let back = u64::from(shape >> 4).min(held.entries.len() as u64);
        next = Index(next.0 - back);
    }
    let count = u64::from(shape % 8);
    let entries = (0..count).map(|place| Entry {
        term,
        index: Index(next.0 + place),
        time: ClusterTime(u64::from(choice)),
        payload: payload(choice, usize::from(shape)),
    });
    let remembered = (flags & 0b101 == 0b101)
        .then(|| (1..=u64::from(shape % 4)).map(|node| (NodeId(node), last.index)).collect());
    Write { id: WriteId(0), group, hard_state, remembered, snapshot, entries: entries.collect() }
}

fn payload(choice: u8, bytes: usize) -> Payload {
    let origin = Origin {
        node: NodeId(3),
        incarnation: Incarnation(4),
        sequence: u64::from(choice),
        settled_below: 0,
    };
    match choice % 4 {
        0 => Payload::Noop,
        1 => Payload::Tick,
        _ => Payload::Command(Proposal { origin, command: Bytes::from(vec![choice; bytes]) }),
    }
}

fn apply(state: &mut Option<GroupContents>, write: &Write) {
    let state = state.get_or_insert_default();
    if let Some(meta) = &write.snapshot {
        state.base = meta.clone();
        state.entries.clear();
    }
    if let Some(hard_state) = write.hard_state {
        state.hard_state = hard_state;
    }
    if let Some(first) = write.entries.first() {
        state.entries.retain(|entry| entry.index < first.index);
        state.entries.extend_from_slice(&write.entries);
    }
    if let Some(remembered) = &write.remembered {
        state.remembered.clone_from(remembered);
    }
}
