//! The kinds of fault, and how one is inflicted on a world.

use std::io;

use ruvector_node::replica::{Event, Ticket};
use ruvector_storage::Disk;
use ruvector_storage::disk::simulated::{Crash, SimulatedDisk};

use crate::network::links_between;
use crate::node::Host;
use crate::trace::Place;
use crate::violation::Violation;
use crate::workload::Freshness;
use crate::world::{Happening, Relief, World};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A process is killed.
    Kill,
    /// A machine loses power.
    PowerLoss,
    /// A machine, or all of them, lose power right after one sent a message of a certain kind.
    CrashAtSend,
    /// New leaders are cut off one after the other, each soon after it begins to replicate.
    LeaderChase,
    /// A machine loses power in the middle of what it does to its disk.
    DiskHalt,
    /// One operation of a disk fails.
    DiskError,
    /// All machines lose power at once.
    TotalOutage,
    /// A bit flips on the disk of a node of a minority.
    BitFlip,
    /// A disk has no space left.
    FullDisk,
    /// A disk is slow.
    SlowDisk,
    /// The network falls into two halves.
    Partition,
    /// One node, often the leader, is cut off.
    Isolation,
    /// A machine stays down so long that the others no longer have what it lacks in their logs.
    LongAbsence,
    /// An operator has a node drop its log up to where it has applied it.
    Compaction,
    /// One direction of a link is cut.
    OneWayCut,
    /// A link goes down and up many times.
    FlappingLink,
    /// A node, often the leader, gets no time to run. When it runs again, one that helped to replace it may have
    /// lost its disk, follow it and be asked to read.
    Pause,
    /// A leader is replaced as fast as can be by nodes that were just started, and asked to read.
    Ambush,
    /// A leader is cut off, alone or with a follower, and replaced while answers that were long under way still reach
    /// it; both are asked to read.
    LateAnswers,
    /// A voter crashes as it votes, and others than its candidate go on to ask for its vote.
    CrashAtVote,
    /// A machine that goes down comes back under the same name with an empty disk: at once, and from then on
    /// sometimes after any crash.
    ReplacedDisk,
    /// A leader goes while a follower that lost its disk has caught up by half, and the other follower lacks the rest.
    HalfCaughtUp,
}

impl FaultKind {
    /// All kinds but the later ones.
    pub const ALL: [Self; 21] = [
        Self::Kill,
        Self::PowerLoss,
        Self::CrashAtSend,
        Self::LeaderChase,
        Self::DiskHalt,
        Self::DiskError,
        Self::TotalOutage,
        Self::BitFlip,
        Self::FullDisk,
        Self::SlowDisk,
        Self::Partition,
        Self::Isolation,
        Self::LongAbsence,
        Self::Compaction,
        Self::OneWayCut,
        Self::FlappingLink,
        Self::Pause,
        Self::Ambush,
        Self::LateAnswers,
        Self::CrashAtVote,
        Self::ReplacedDisk,
    ];

    /// Kinds that came later. They are drawn by chance of their own, so that the seeds that tests keep stay what they were.
    pub const LATER: [Self; 1] = [Self::HalfCaughtUp];
}

/// How many times as long as an election timeout a fault lasts at most.
const DURATION_TIMEOUTS_MAX: u64 = 8;
/// How many of a thousand pauses of a leader of three end with another node on its side that has lost its disk.
const DEFECTIONS_PER_MILLE: u64 = 500;
/// How long a machine stays down at most that is to miss a lot, in microseconds.
const ABSENCE_US_MAX: u64 = 3_000_000;

impl World {
    /// Inflicts a fault of a kind, if there is anything to inflict it on.
    ///
    /// # Errors
    /// A violation that a judge sees at once.
    pub(crate) fn inflict(&mut self, kind: FaultKind) -> Result<(), Violation> {
        self.trace.record(self.now_us, Place::World, kind, || format!("fault: {kind:?}"));
        match kind {
            FaultKind::Kill => self.crash_one(Crash::ProcessOnly),
            FaultKind::PowerLoss => {
                let crash = self.power_loss();
                self.crash_one(crash);
            }
            FaultKind::CrashAtSend => self.lay_power_trap(),
            FaultKind::LeaderChase => self.begin_chase(),
            FaultKind::DiskHalt => self.halt_disk(),
            FaultKind::DiskError => self.fail_disk(),
            FaultKind::TotalOutage => self.crash_all(),
            FaultKind::BitFlip => self.flip_bit(),
            FaultKind::FullDisk => self.fill_disk(),
            FaultKind::SlowDisk => self.slow_disk(),
            FaultKind::Partition => self.partition(),
            FaultKind::Isolation => self.isolate(),
            FaultKind::LongAbsence => self.keep_down(),
            FaultKind::Compaction => return self.compact_log(),
            FaultKind::OneWayCut => self.cut_one_way(),
            FaultKind::FlappingLink => self.flap(),
            FaultKind::Pause => self.pause(),
            FaultKind::Ambush => self.prepare_ambush(),
            FaultKind::LateAnswers => self.delay_answers(),
            FaultKind::CrashAtVote => self.lay_vote_trap(),
            FaultKind::ReplacedDisk => self.lose_disk(),
            FaultKind::HalfCaughtUp => self.lay_catch_up_trap(),
        }
        Ok(())
    }

    /// What the power takes with it: all that was not synced, or any part of it.
    pub(crate) fn power_loss(&mut self) -> Crash {
        if self.random.chance(500) { Crash::LoseUnsynced } else { Crash::Torn { seed: self.random.seed() } }
    }

    fn crash_one(&mut self, crash: Crash) {
        if let Some(node) = self.victim() {
            self.crash(node, crash);
        }
    }

    fn crash_all(&mut self) {
        self.statistics.total_outages += 1;
        for node in 0..self.hosts.len() {
            if self.hosts[node].process.is_some() {
                let crash = self.power_loss();
                self.crash(node, crash);
            }
        }
    }

    fn halt_disk(&mut self) {
        let Some(node) = self.victim() else { return };
        let operations_left = self.random.magnitude(1, 40);
        let host = &mut self.hosts[node];
        host.halt_at_operation = Some(host.disk.operations() + operations_left);
        host.disk.halt_after(operations_left);
    }

    fn fail_disk(&mut self) {
        let Some(node) = self.victim() else { return };
        self.statistics.disk_errors += 1;
        let operations_between = self.random.magnitude(1, 40);
        self.hosts[node].disk_in_trouble = true;
        self.hosts[node].disk.fail_after(operations_between, io::ErrorKind::Other);
    }

    fn lose_disk(&mut self) {
        let Some(node) = self.victim() else { return };
        let crash = self.power_loss();
        self.crash(node, crash);
        self.replace_disk(node);
    }

    /// A machine that is down gets an empty disk, if the others can spare what was on it.
    pub(crate) fn replace_disk(&mut self, node: usize) {
        if self.can_be_spared(node) {
            self.statistics.replaced_disks += 1;
            self.trace.remark(self.now_us, Place::World, || format!("an empty disk for node {}", node + 1));
            self.hosts[node].replace_disk();
            self.invariants.forget_votes(self.hosts[node].id);
            self.forget_votes_aside(self.hosts[node].id);
        }
    }

    /// Whether what a node holds may be harmed: only ever that of a minority, for what a majority forgets is lost.
    pub(crate) fn can_be_spared(&self, node: usize) -> bool {
        let is_harmed = |host: &&Host| host.damaged || host.newcomer;
        let others = self.hosts.iter().enumerate().filter(|(other, _)| *other != node);
        others.map(|(_, host)| host).filter(is_harmed).count() < (self.hosts.len() - 1) / 2
    }

    fn flip_bit(&mut self) {
        let Some(node) = self.victim() else { return };
        if !self.can_be_spared(node) {
            return;
        }
        let files = all_files(&self.hosts[node].disk);
        let Some(file) = self.random.pick(&files) else { return };
        let size = self.hosts[node].disk.contents(file).map_or(0, |bytes| bytes.len());
        let offset = self.random.between(0, (size as u64).max(1) - 1);
        self.hosts[node].note_log_writes();
        if size > 0 && !self.hosts[node].is_end_of_log(file, offset) {
            let bit = u8::try_from(self.random.between(0, 7)).expect("a small number");
            self.hosts[node].damaged = true;
            self.statistics.bit_flips += 1;
            self.trace.remark(self.now_us, Place::World, || {
                format!("bit {bit} of byte {offset} of {file} of node {}", node + 1)
            });
            self.hosts[node].disk.flip_bit(file, offset, bit);
        }
    }

    fn fill_disk(&mut self) {
        let Some(node) = self.victim() else { return };
        self.statistics.full_disks += 1;
        let disk = &self.hosts[node].disk;
        let used: usize =
            all_files(disk).iter().map(|file| disk.contents(file).map_or(0, |bytes| bytes.len())).sum();
        disk.set_space_limit(Some(used as u64));
        self.hosts[node].disk_in_trouble = true;
        self.relieve_later(Relief::Disk(node));
    }

    fn slow_disk(&mut self) {
        let Some(node) = self.victim() else { return };
        self.statistics.slow_disks += 1;
        self.hosts[node].sync_slowdown = self.random.magnitude(2, 100);
        self.relieve_later(Relief::Disk(node));
    }

    fn partition(&mut self) {
        self.statistics.partitions += 1;
        let (left, right): (Vec<usize>, Vec<usize>) =
            (0..self.hosts.len()).partition(|_| self.random.chance(500));
        self.cut_between(&left, &right);
    }

    fn isolate(&mut self) {
        let Some(node) = self.victim() else { return };
        self.statistics.isolations += 1;
        let others: Vec<usize> = (0..self.hosts.len()).filter(|other| *other != node).collect();
        self.cut_between(&[node], &others);
        self.tempt_later(node, Freshness::Lease, 8..22);
    }

    fn cut_between(&mut self, left: &[usize], right: &[usize]) {
        let links = links_between(left, right);
        self.network.cut(&links);
        // A firewall drops silently; a dead switch port is noticed.
        if self.random.chance(300) {
            for &(from, to) in &links {
                self.notice_lost_peer(to, from);
            }
        }
        self.relieve_later(Relief::Links(links));
    }

    fn cut_one_way(&mut self) {
        self.statistics.one_way_cuts += 1;
        if let Some(link) = self.random_link() {
            self.network.cut(&[link]);
            self.relieve_later(Relief::Links(vec![link]));
        }
    }

    fn flap(&mut self) {
        self.statistics.flapping_links += 1;
        let Some((left, right)) = self.random_link() else { return };
        let links = links_between(&[left], &[right]);
        let mut at_us = self.now_us;
        for _ in 0..self.random.between(2, 10) {
            let down_us = self.random.magnitude(1_000, self.election_timeout_us());
            self.plan(at_us, Happening::Cut(links.clone()));
            self.plan(at_us + down_us, Happening::Relieve(Relief::Links(links.clone())));
            at_us += down_us + self.random.magnitude(1_000, self.election_timeout_us());
        }
    }

    fn pause(&mut self) {
        let Some(node) = self.victim() else { return };
        self.statistics.pauses += 1;
        if self.leads(node) && self.hosts.len() == 3 && self.random.chance(DEFECTIONS_PER_MILLE) {
            self.prepare_defection(node);
            return;
        }
        // As long as it takes to be replaced, or any other time.
        let timeout_us = self.election_timeout_us();
        let pause_us = if self.random.chance(500) {
            self.random.between(timeout_us * 8 / 10, timeout_us * 5 / 2)
        } else {
            self.fault_duration_us()
        };
        self.hosts[node].paused_until_us = self.now_us + pause_us;
        self.tempt_later(node, Freshness::Lease, 8..22);
    }

    fn keep_down(&mut self) {
        let Some(node) = self.victim() else { return };
        self.statistics.long_absences += 1;
        let crash = self.power_loss();
        self.crash(node, crash);
        let until_us = self.now_us + self.random.between(ABSENCE_US_MAX / 4, ABSENCE_US_MAX);
        self.start_again_at(node, until_us);
    }

    /// A machine loses power, and stays down until a certain time.
    pub(crate) fn keep_down_until(&mut self, node: usize, until_us: u64) {
        let crash = self.power_loss();
        self.crash(node, crash);
        self.start_again_at(node, until_us);
    }

    fn start_again_at(&mut self, node: usize, until_us: u64) {
        self.hosts[node].down_until_us = until_us;
        self.plan(until_us, Happening::Start(node));
    }

    fn compact_log(&mut self) -> Result<(), Violation> {
        let Some(node) = self.victim() else { return Ok(()) };
        let Some(applied) = self.replica(node).map(|replica| replica.applied().index) else { return Ok(()) };
        self.statistics.forced_compactions += 1;
        let ticket = Ticket(self.next_number());
        self.give(node, Event::CompactLog { ticket, before: applied.next() })
    }

    fn random_link(&mut self) -> Option<(usize, usize)> {
        let from = self.random.index(self.hosts.len());
        let to = self.random.index(self.hosts.len());
        (from != to).then_some((from, to))
    }

    /// A running node: one that thinks it leads, half of the time.
    fn victim(&mut self) -> Option<usize> {
        let running: Vec<usize> =
            (0..self.hosts.len()).filter(|node| self.replica(*node).is_some()).collect();
        let leaders: Vec<usize> = running.iter().copied().filter(|node| self.leads(*node)).collect();
        let leader = self.random.chance(500).then(|| self.random.pick(&leaders).copied()).flatten();
        leader.or_else(|| self.random.pick(&running).copied())
    }

    fn fault_duration_us(&mut self) -> u64 {
        let timeout_us = self.election_timeout_us();
        self.random.magnitude(timeout_us / 10, timeout_us * DURATION_TIMEOUTS_MAX)
    }

    fn relieve_later(&mut self, relief: Relief) {
        let at_us = self.now_us + self.fault_duration_us();
        self.plan(at_us, Happening::Relieve(relief));
    }
}

/// Every file of a disk, by its whole name.
pub(crate) fn all_files(disk: &SimulatedDisk) -> Vec<String> {
    let mut files = Vec::new();
    let mut directories = vec![String::new()];
    while let Some(directory) = directories.pop() {
        for name in disk.list(&directory).unwrap_or_default() {
            let name = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            if disk.contents(&name).is_some() {
                files.push(name);
            } else {
                directories.push(name);
            }
        }
    }
    files.sort_unstable();
    files
}
