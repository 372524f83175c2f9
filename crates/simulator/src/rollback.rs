//! The last act of many worlds: the disks of a minority are rolled back, and others lead before those come back who know
//! better.
//!
//! A disk that is an older copy of itself, or whose log was cut off or is another's, has forgotten what it had called
//! durable. That may be lost then, and no judge can ask for it. What they ask for is that nobody is silent: if somebody still
//! had, and knew to be committed, what the others have replaced, a replica stops or is shown to be in trouble. And replicas that
//! are not in trouble are equal in the end.

use std::collections::BTreeMap;

use ruvector_node::replica::{Event, Replica, Ticket};
use ruvector_protocol::{Index, NodeId};
use ruvector_state_machine::kv::PlantedBug as MachineBug;
use ruvector_state_machine::kv::{Command, KvMachine, LeaseId};
use ruvector_storage::Disk;
use ruvector_storage::disk::simulated::{Crash, SimulatedDisk};

use crate::faults::all_files;
use crate::invariants::{CommittedEntry, Invariants, read_log};
use crate::random::Random;
use crate::trace::Place;
use crate::violation::{Rule, Violation, ensure};
use crate::world::{Happening, World};

/// How a disk comes to be behind itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollback {
    /// It is a copy that was made during the storm.
    OldCopy,
    /// It is a copy from right before the writes that are lost with it.
    RecentCopy,
    /// A file of its log is zeros from some byte on.
    ZeroedLog,
    /// It has the log of a node that was away.
    AnothersLog,
    /// It is a copy from right before the writes that are lost with it, while the others go on and are led by others.
    OneAlone,
    /// The same, and all others are started again before it comes back: they know only what they wrote down.
    OneAmongRestarted,
    /// Nothing is wrong with it, but its node restores another state from it than it was.
    OtherState,
}

/// What happens in the last act, and what is needed to judge it.
#[derive(Debug)]
pub(crate) struct LastAct {
    victims: Vec<usize>,
    /// What was committed before, from index 1 on.
    before: Vec<Option<CommittedEntry>>,
    /// Up to where one whose disk was left alone knew it to be committed when it started.
    known: Index,
    /// How far what each node committed was compared with it.
    compared: BTreeMap<NodeId, Index>,
    /// The lowest index at which a node committed something else.
    replaced: Option<Index>,
    /// Up to where a node had applied its log, which now ends before, and the others know that it had come so far.
    forgotten: Option<Index>,
    /// Replicas that stopped or did not start, and said why.
    stopped: u64,
}

/// How many of a thousand worlds end so.
const WORLDS_PER_MILLE: u64 = 600;
/// How many of a thousand times all come back at once, and not those last who know better.
const ALL_AT_ONCE_PER_MILLE: u64 = 200;
/// How many writes are made by those who are there, at most.
const WRITES_MAX: u64 = 30;
/// The time between two of them at most, in microseconds.
const WRITE_US_MAX: u64 = 20_000;
/// How many election timeouts it may take until somebody notices, or all is well.
const NOTICE_TIMEOUTS_MAX: u64 = 60;
/// In how many heartbeats what is remembered is told to everybody.
const HEARTBEATS_TO_REMIND: u64 = 40;
/// How long a node stays down that is kept down.
const FOR_NOW_US: u64 = u64::MAX;
/// Numbers of leases that no client uses.
const FIRST_LEASE: i64 = 1 << 40;

impl Rollback {
    /// What happens to a world, if anything.
    pub(crate) fn draw(random: &mut Random) -> Option<Self> {
        let kinds = [
            Self::OldCopy,
            Self::RecentCopy,
            Self::RecentCopy,
            Self::ZeroedLog,
            Self::AnothersLog,
            Self::OneAlone,
            Self::OneAmongRestarted,
            Self::OtherState,
        ];
        if random.chance(WORLDS_PER_MILLE) { random.pick(&kinds).copied() } else { None }
    }
}

impl World {
    /// Copies of the disks, made at some time in the storm, for the last act.
    pub(crate) fn copy_disks(&mut self) {
        self.disk_copies = self.hosts.iter().map(|host| host.disk.fork()).collect();
    }

    /// Plays the last act, if this world has one and enough of it is whole.
    ///
    /// # Errors
    /// If something is lost and nobody says so.
    pub(crate) fn play_last_act(&mut self) -> Result<(), Violation> {
        let Some(kind) = self.scenario.rollback else { return Ok(()) };
        let is_whole =
            self.hosts.iter().all(|host| host.process.is_some() && !host.damaged && !host.newcomer);
        let nodes = self.hosts.len();
        if nodes < 3 || nodes.is_multiple_of(2) || !is_whole {
            return Ok(());
        }
        if matches!(kind, Rollback::OneAlone | Rollback::OneAmongRestarted) {
            self.roll_back_one(kind)?;
            return self.await_notice(kind);
        }
        let (victims, absent) = self.cast();
        self.trace.remark(self.now_us, Place::World, || {
            format!("last act: {kind:?} of {victims:?} while {absent:?} are away, counted from 0")
        });
        self.statistics.rolled_back_disks += victims.len() as u64;
        self.lose_writes(kind, &victims, &absent)?;
        self.bring_back(&victims, &absent)?;
        self.await_notice(kind)
    }

    /// Those whose disks are rolled back, and those who miss what is lost: a majority together, neither of them one.
    fn cast(&mut self) -> (Vec<usize>, Vec<usize>) {
        let nodes = self.hosts.len();
        let minority = (nodes - 1) / 2;
        let victims = usize::try_from(self.random.between(1, minority as u64)).expect("a small number");
        let mut order: Vec<usize> = (0..nodes).collect();
        for place in (1..nodes).rev() {
            let other = self.random.index(place + 1);
            order.swap(place, other);
        }
        let absent = order.split_off(victims);
        (order, absent[..minority + 1 - victims].to_vec())
    }

    /// Writes while some are away; then all go down, and the victims' disks are what they were before.
    fn lose_writes(&mut self, kind: Rollback, victims: &[usize], absent: &[usize]) -> Result<(), Violation> {
        absent.iter().for_each(|node| self.take_down(*node));
        let recent: Vec<SimulatedDisk> = self.hosts.iter().map(|host| host.disk.fork()).collect();
        let wait_us = self.random.between(0, self.election_timeout_us() * 6);
        self.run_until(self.now_us + wait_us)?;
        self.write_some()?;
        (0..self.hosts.len()).for_each(|node| self.take_down(node));
        self.begin_last_act(victims);
        for &victim in victims {
            match kind {
                Rollback::OldCopy => self.give_disk(victim, self.disk_copies[victim].fork()),
                Rollback::RecentCopy | Rollback::OneAlone | Rollback::OneAmongRestarted => {
                    self.give_disk(victim, recent[victim].fork());
                }
                Rollback::ZeroedLog => self.zero_log(victim),
                Rollback::AnothersLog => self.swap_log(victim, absent[0]),
                Rollback::OtherState => {
                    self.hosts[victim].machine_bug = Some(MachineBug::HistoryLostByRestore);
                }
            }
        }
        Ok(())
    }

    fn begin_last_act(&mut self, victims: &[usize]) {
        self.last_act = Some(LastAct {
            victims: victims.to_vec(),
            before: self.invariants.committed_entries(),
            known: Index(0),
            compared: BTreeMap::new(),
            replaced: None,
            forgotten: None,
            stopped: 0,
        });
    }

    /// One goes down, its disk is rolled back, and meanwhile its leader is replaced or started again, or not; or all others
    /// are started again at once.
    fn roll_back_one(&mut self, kind: Rollback) -> Result<(), Violation> {
        self.statistics.rolled_back_disks += 1;
        let victim = self.random.index(self.hosts.len());
        let copy = self.hosts[victim].disk.fork();
        self.write_some()?;
        // What they remember of each other is told now and then.
        let while_us = self.scenario.tuning.heartbeat_interval_ms * 1000 * HEARTBEATS_TO_REMIND;
        self.run_until(self.now_us + while_us)?;
        let applied = self.replica(victim).map_or(Index(0), |replica| replica.applied().index);
        self.take_down(victim);
        self.begin_last_act(&[victim]);
        self.give_disk(victim, copy);
        if kind == Rollback::OneAmongRestarted {
            let others: Vec<usize> = (0..self.hosts.len()).filter(|node| *node != victim).collect();
            others.iter().for_each(|node| self.take_down(*node));
            others.iter().for_each(|node| self.bring_up(*node));
        }
        for _ in 0..self.random.between(0, 2) {
            self.run_until(self.now_us + self.election_timeout_us() * 8)?;
            if let Some(leader) = (0..self.hosts.len()).find(|node| self.leads(*node)) {
                self.take_down(leader);
                let wait_us = self.random.between(0, self.election_timeout_us() * 8);
                self.run_until(self.now_us + wait_us)?;
                self.bring_up(leader);
            }
        }
        self.run_until(self.now_us + self.election_timeout_us() * 8 + while_us)?;
        self.bring_up(victim);
        self.run_until(self.now_us)?;
        let last = self.replica(victim).map(|replica| replica.raft().last().index);
        if let Some(act) = &mut self.last_act {
            act.forgotten = last.is_some_and(|last| last < applied).then_some(applied);
            let is_forgotten = u64::from(act.forgotten.is_some());
            let mark = if kind == Rollback::OneAmongRestarted {
                &mut self.marks.rollbacks_remembered_by_disks
            } else {
                &mut self.marks.rollbacks_remembered
            };
            *mark += is_forgotten;
        }
        Ok(())
    }

    /// First the rolled-back ones and those who were away, mostly; then all others.
    fn bring_back(&mut self, victims: &[usize], absent: &[usize]) -> Result<(), Violation> {
        let all_at_once = self.random.chance(ALL_AT_ONCE_PER_MILLE);
        for node in 0..self.hosts.len() {
            if all_at_once || victims.contains(&node) || absent.contains(&node) {
                self.bring_up(node);
            }
        }
        let wait_us = self.random.between(0, self.election_timeout_us() * 10);
        self.run_until(self.now_us + wait_us)?;
        self.write_some()?;
        if self.random.chance(300) {
            self.compact_all()?;
        }
        (0..self.hosts.len()).for_each(|node| self.bring_up(node));
        Ok(())
    }

    fn write_some(&mut self) -> Result<(), Violation> {
        for _ in 0..self.random.between(0, WRITES_MAX) {
            let running: Vec<usize> =
                (0..self.hosts.len()).filter(|node| self.hosts[*node].process.is_some()).collect();
            let number = self.next_number();
            let id = LeaseId(FIRST_LEASE + i64::try_from(number).expect("a small number"));
            let command = Command::LeaseGrant { id, ttl_seconds: 1_000 }.encode();
            if let Some(node) = self.random.pick(&running).copied() {
                self.give(node, Event::Propose(vec![(Ticket(number), command)]))?;
            }
            let wait_us = self.random.between(100, WRITE_US_MAX);
            self.run_until(self.now_us + wait_us)?;
        }
        Ok(())
    }

    fn compact_all(&mut self) -> Result<(), Violation> {
        for node in 0..self.hosts.len() {
            let Some(applied) = self.replica(node).map(|replica| replica.applied().index) else { continue };
            let ticket = Ticket(self.next_number());
            self.give(node, Event::CompactLog { ticket, before: applied.next() })?;
        }
        let wait_us = self.election_timeout_us() * 3;
        self.run_until(self.now_us + wait_us)
    }

    fn take_down(&mut self, node: usize) {
        if self.hosts[node].process.is_some() {
            self.hosts[node].crash(Crash::LoseUnsynced);
            self.hosts[node].clock.restart(self.now_us, &mut self.random);
            for other in 0..self.hosts.len() {
                self.notice_lost_peer(other, node);
            }
        }
        self.hosts[node].down_until_us = FOR_NOW_US;
    }

    fn bring_up(&mut self, node: usize) {
        self.hosts[node].down_until_us = 0;
        self.plan(self.now_us, Happening::Start(node));
    }

    fn give_disk(&mut self, node: usize, disk: SimulatedDisk) {
        disk.crash(Crash::LoseUnsynced);
        self.hosts[node].disk = disk;
    }

    fn zero_log(&mut self, node: usize) {
        let disk = self.hosts[node].disk.clone();
        let files: Vec<String> =
            all_files(&disk).into_iter().filter(|file| file.starts_with("log/")).collect();
        let Some(file) = self.random.pick(&files) else { return };
        let Some(mut bytes) = disk.contents(file) else { return };
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let from = self.random.index(used.max(1));
        bytes[from..].fill(0);
        disk.set_contents(file, &bytes);
    }

    /// Its own identity, and the log and the snapshots of another.
    fn swap_log(&mut self, node: usize, other: usize) {
        let (disk, others) = (self.hosts[node].disk.clone(), self.hosts[other].disk.clone());
        for file in all_files(&disk) {
            disk.remove(&file).expect("a healthy disk removes a file");
        }
        for file in all_files(&others) {
            disk.set_contents(&file, &others.contents(&file).unwrap_or_default());
        }
    }

    fn await_notice(&mut self, kind: Rollback) -> Result<(), Violation> {
        let chunks_us = self.transfer_us_max();
        let until_us = self.now_us + self.election_timeout_us() * NOTICE_TIMEOUTS_MAX + chunks_us;
        while self.now_us < until_us {
            if self.is_noticed() {
                self.marks.rollbacks_noticed += 1;
                let replaced = self.last_act.as_ref().and_then(|act| act.replaced);
                self.marks.losses_noticed += u64::from(replaced.is_some());
                return Ok(());
            }
            self.run_until(self.now_us + 20_000)?;
            // Replicas compare their states when something is written.
            if kind == Rollback::OtherState {
                self.write_some()?;
            }
            if self.lost().is_none() && self.unrest().is_none() {
                self.marks.rollbacks_survived += 1;
                return Ok(());
            }
        }
        let (lost, unrest) = (self.lost(), self.unrest());
        ensure!(
            lost.is_none() && unrest.is_none(),
            LossIsNoticed,
            "a disk was rolled back, and nobody says so: {}; {}",
            lost.unwrap_or_default(),
            unrest.unwrap_or_default()
        );
        Ok(())
    }

    /// Whether a replica has stopped over it, or shows that it is in trouble.
    fn is_noticed(&self) -> bool {
        let shows = |replica: &Replica<KvMachine>| {
            !replica.raft().contradicted_by().is_empty() || replica.differs_at().is_some()
        };
        self.last_act.as_ref().is_some_and(|act| act.stopped > 0) || self.all_replicas().any(shows)
    }

    /// What is lost although one whose disk was left alone knew it to be committed.
    fn lost(&self) -> Option<String> {
        let act = self.last_act.as_ref()?;
        let is_known = |index: &Index| *index <= act.known;
        if let Some(index) = act.replaced.filter(is_known) {
            return Some(format!(
                "entry {index} was replaced, and known to be committed through {}",
                act.known
            ));
        }
        if let Some(index) = act.forgotten {
            return Some(format!("a node lacks what it had through {index}, which the others know"));
        }
        let running = (0..self.hosts.len()).filter_map(|node| self.replica(node));
        let leader = running.into_iter().find(|replica| Invariants::is_leader(replica))?;
        let commit = leader.raft().commit();
        (commit < act.known).then(|| format!("the leader has {commit}, and {} was known", act.known))
    }

    /// Takes note of what a node commits in the last act.
    pub(crate) fn watch_last_act(&mut self, node: usize) {
        let id = self.hosts[node].id;
        let Some(act) = &mut self.last_act else { return };
        let Some(process) = &self.hosts[node].process else { return };
        self.marks.differences_undecided += u64::from(process.replica().differs_at().is_some());
        let commit = process.replica().raft().commit();
        let compared = act.compared.get(&id).copied().unwrap_or_default();
        let from = compared.next().max(process.replica().first_index());
        if from > commit {
            return;
        }
        act.compared.insert(id, commit);
        for entry in read_log(process.replica(), from, commit).unwrap_or_default() {
            let before =
                act.before.get(usize::try_from(entry.index.0 - 1).expect("a simulated log is small"));
            if before.is_some_and(|before| before.is_some_and(|before| before != CommittedEntry::of(&entry)))
            {
                act.replaced = Some(act.replaced.map_or(entry.index, |replaced| replaced.min(entry.index)));
            }
        }
    }

    /// A node starts in the last act: what it knows, if its disk was left alone, must not be lost in silence.
    pub(crate) fn note_known(&mut self, node: usize) {
        let commit = self.replica(node).map(|replica| replica.raft().commit());
        if let Some(act) = &mut self.last_act
            && !act.victims.contains(&node)
        {
            act.known = act.known.max(commit.unwrap_or_default());
        }
    }

    /// A replica stops in the last act, or does not start.
    pub(crate) fn stopped_in_last_act(&mut self, node: usize) {
        if let Some(act) = &mut self.last_act {
            act.stopped += 1;
        }
        self.hosts[node].retired = true;
        self.take_down(node);
    }

    /// In the last act promises are broken that nobody can keep on a disk that was rolled back.
    pub(crate) fn forgiven<T: Default>(&self, judged: Result<T, Violation>) -> Result<T, Violation> {
        match judged {
            Err(violation) if self.last_act.is_some() && is_forgiven(violation.rule) => Ok(T::default()),
            judged => judged,
        }
    }
}

fn is_forgiven(rule: Rule) -> bool {
    match rule {
        Rule::ElectionSafety
        | Rule::OneVotePerTerm
        | Rule::LogMatching
        | Rule::CommittedEntriesStay
        | Rule::LeaderCompleteness
        | Rule::LeaseExclusion
        | Rule::StateAgreement
        | Rule::EventAgreement => true,
        Rule::Monotonicity
        | Rule::AnswerFitsHistory
        | Rule::Linearizability
        | Rule::RealTimeOrder
        | Rule::WatchGuarantee
        | Rule::BoundedStaleness
        | Rule::RefusedIsNotApplied
        | Rule::StopsOnlyForCause
        | Rule::BoundedQueues
        | Rule::Liveness
        | Rule::LossIsNoticed
        | Rule::NoPanic => false,
    }
}
