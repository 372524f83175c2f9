//! The log against its naive twin: whatever is asked of both, in whatever order, they agree.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use ruvector_protocol::{Entry, GroupId, Index, LogPosition, SnapshotMeta, Term, Write};
use ruvector_storage::{Crash, GroupContents, LogStore, SimulatedDisk};
use support::*;

/// Numbers are taken modulo what is possible when the action is done.
#[derive(Clone, Debug)]
enum Action {
    Append { group: u64, back: u64, count: u64, bytes: usize, new_term: bool },
    HardState { group: u64, vote: Option<u64> },
    Reset { group: u64, ahead: u64, count: u64 },
    Compact { group: u64, place: u64 },
    Rewrite(u64),
    Sync,
    Reopen(Option<u64>),
    Read { group: u64, from: u64, length: u64, bytes_max: usize },
}

fn action() -> impl Strategy<Value = Action> {
    use Action::*;
    let group = 1..4_u64;
    prop_oneof![
        8 => (group.clone(), 0..4_u64, 1..6_u64, 0..900_usize, any::<bool>())
            .prop_map(|(group, back, count, bytes, new_term)| Append { group, back, count, bytes, new_term }),
        2 => (group.clone(), proptest::option::of(1..4_u64)).prop_map(|(group, vote)| HardState { group, vote }),
        1 => (group.clone(), 0..9_u64, 0..3_u64).prop_map(|(group, ahead, count)| Reset { group, ahead, count }),
        2 => (group.clone(), any::<u64>()).prop_map(|(group, place)| Compact { group, place }),
        2 => group.clone().prop_map(Rewrite),
        4 => Just(Sync),
        1 => proptest::option::of(any::<u64>()).prop_map(Reopen),
        2 => (group, 0..40_u64, 0..40_u64, 0..4000_usize)
            .prop_map(|(group, from, length, bytes_max)| Read { group, from, length, bytes_max }),
    ]
}

struct Pair {
    disk: SimulatedDisk,
    log: LogStore,
    twin: Twin,
    /// What may be found after a crash, the first of them synced.
    acceptable: Vec<Recovered>,
}

impl Pair {
    fn new() -> Self {
        let disk = SimulatedDisk::new();
        let (log, _) = open(&disk).unwrap();
        Self { disk, log, twin: Twin::default(), acceptable: vec![Recovered::new()] }
    }

    fn append(&mut self, write: Write) {
        self.log.append(&write).unwrap();
        self.twin.append(&write);
        self.acceptable.push(self.twin.groups.clone());
    }

    fn begin(&mut self, group: u64) {
        if !self.twin.groups.contains_key(&GroupId(group)) {
            self.append(first_write(group));
        }
    }

    fn run(&mut self, action: &Action) {
        match *action {
            Action::Append { group, back, count, bytes, new_term } => {
                self.begin(group);
                let held = &self.twin.groups[&GroupId(group)];
                let kept = held.entries.len() - (back as usize).min(held.entries.len());
                let before = held.entries[..kept].last().map_or(held.base.position, |entry| entry.position());
                let term = self.twin.last(group).term.0.max(1) + u64::from(new_term);
                let first = before.index.0 + 1;
                self.append(entries(group, (first..first + count).map(|index| entry(term, index, bytes))));
            }
            Action::HardState { group, vote } => {
                self.begin(group);
                let state = self.twin.groups[&GroupId(group)].hard_state;
                let state = hard_state(state.term.0 + 1, vote, state.commit.0);
                self.append(Write { hard_state: Some(state), ..write(group) });
            }
            Action::Reset { group, ahead, count } => {
                self.begin(group);
                let LogPosition { term, index } = self.twin.last(group);
                let base = meta(term.0 + 1, index.0 + ahead);
                let first = index.0 + ahead + 1;
                let behind = (first..first + count).map(|index| entry(term.0 + 1, index, 30));
                self.append(Write { snapshot: Some(base), ..entries(group, behind) });
            }
            Action::Compact { group, place } => self.compact(group, place),
            // Nothing changes by it.
            Action::Rewrite(group) => self.log.rewrite(GroupId(group)).unwrap(),
            Action::Sync => {
                self.log.sync().unwrap();
                self.acceptable = vec![self.twin.groups.clone()];
            }
            Action::Reopen(torn) => {
                self.reopen(torn.map_or(Crash::LoseUnsynced, |seed| Crash::Torn { seed }))
            }
            Action::Read { group, from, length, bytes_max } => self.read(group, from, length, bytes_max),
        }
    }

    fn compact(&mut self, group: u64, place: u64) {
        self.begin(group);
        let held = &self.twin.groups[&GroupId(group)];
        let mut bases = vec![held.base.position];
        bases.extend(held.entries.iter().map(|entry| entry.position()));
        let position = bases[(place % bases.len() as u64) as usize];
        let base = SnapshotMeta { position, ..meta(0, position.index.0) };
        self.log.compact(GroupId(group), &base).unwrap();
        self.twin.compact(group, &base);
        self.acceptable.push(self.twin.groups.clone());
    }

    fn reopen(&mut self, crash: Crash) {
        self.disk.crash(crash);
        let (log, recovered) = open(&self.disk).unwrap();
        assert!(self.acceptable.contains(&recovered), "{recovered:#?}");
        self.log = log;
        self.twin.groups = recovered;
        self.acceptable = vec![self.twin.groups.clone()];
    }

    fn read(&self, group: u64, from: u64, length: u64, bytes_max: usize) {
        let read = self.log.read(GroupId(group), Index(from), Index(from + length), bytes_max).unwrap();
        let Some(held) = self.twin.groups.get(&GroupId(group)) else {
            assert!(read.is_empty());
            return;
        };
        let asked: Vec<_> = held
            .entries
            .iter()
            .filter(|entry| {
                from > held.base.position.index.0 && (from..=from + length).contains(&entry.index.0)
            })
            .cloned()
            .collect();
        assert_eq!(read, asked[..read.len()], "what is read is what was asked for");
        assert_eq!(read.is_empty(), asked.is_empty(), "at least one");
        if read.len() < asked.len() {
            let bytes: usize = asked[..=read.len()].iter().map(|entry| entry.weight() + 16).sum();
            assert!(bytes > bytes_max, "as many as fit {bytes_max}, not {}", read.len());
        }
    }

    fn check(&self) {
        for (&group, held) in &self.twin.groups {
            let first = held.base.position.index.next();
            let read = self.log.read(group, first, Index(u64::MAX), usize::MAX).unwrap();
            assert_eq!(read, held.entries);
            let last = self.twin.last(group.0).index;
            assert_eq!(self.log.bounds(group), Some((first, last)));
            self.check_recovered(group, held);
        }
    }
}

impl Pair {
    /// What a replica is told before it reads anything is what it would find.
    fn check_recovered(&self, group: GroupId, held: &GroupContents) {
        let recovered = self.log.recovered(group).unwrap();
        let told = (&recovered.hard_state, &recovered.remembered, &recovered.base, recovered.last);
        assert_eq!(told, (&held.hard_state, &held.remembered, &held.base, self.twin.last(group.0)));
        let known: Vec<_> =
            std::iter::once(held.base.position).chain(held.entries.iter().map(Entry::position)).collect();
        let changes = known.windows(2).filter(|two| two[0].term != two[1].term).map(|two| two[1]);
        assert_eq!(recovered.term_starts, changes.collect::<Vec<_>>());
        for index in 0..recovered.last.index.0 + 2 {
            for term in 0..recovered.last.term.0 + 2 {
                let position = LogPosition { term: Term(term), index: Index(index) };
                assert_eq!(recovered.holds(position), known.contains(&position), "{position:?} of {known:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_does_what_its_twin_does(actions in proptest::collection::vec(action(), 1..120)) {
        let mut pair = Pair::new();
        for action in &actions {
            pair.run(action);
        }
        pair.check();
        pair.log.sync().unwrap();
        pair.acceptable = vec![pair.twin.groups.clone()];
        pair.reopen(Crash::LoseUnsynced);
    }
}
