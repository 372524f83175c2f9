//! What a seed stands for: the cluster, its tuning, its network and which faults it will see.
//!
//! Swarm testing (Groce and others, 2012): every seed enables a random subset of the kinds of fault, with
//! random strength. A mix of everything all the time hides bugs that one kind alone would show.

use ruvector_node::Tuning;
use ruvector_state_machine::kv::{Retention, StoreLimits};

use crate::faults::FaultKind;
use crate::network::NetworkSettings;
use crate::random::Random;
use crate::rollback::Rollback;

/// Everything that a simulation is told before it begins.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// How many nodes.
    pub nodes: usize,
    /// Their intervals and limits, small so that everything happens often.
    pub tuning: Tuning,
    /// Each start of a node draws settings of its own, near those.
    pub are_settings_uneven: bool,
    /// The network.
    pub network: NetworkSettings,
    /// The kinds of fault that happen; one that is there twice happens twice as often.
    pub faults: Vec<FaultKind>,
    /// The mean time between two faults, in microseconds.
    pub fault_interval_us: u64,
    /// How long faults happen, in microseconds.
    pub fault_phase_us: u64,
    /// How long a sync of a disk takes at most, in microseconds.
    pub sync_max_us: u64,
    /// How long a crashed node stays down at most, in microseconds.
    pub down_max_us: u64,
    /// Of each client that watches, how long it takes between two looks at most, in microseconds.
    pub watcher_paces_us: Vec<u64>,
    /// The clients and what they do.
    pub workload: WorkloadSettings,
    /// Which of them write in sessions.
    pub sessions: SessionSettings,
    /// How long a node takes to apply an entry, in microseconds, and does nothing else meanwhile.
    pub apply_cost_us: u64,
    /// How many jobs of a thousand find no thread, or break off.
    pub abandoned_per_mille: u64,
    /// What bounds the store, on all nodes alike.
    pub limits: StoreLimits,
    /// What operators want to be kept of history, one after the other.
    pub retentions: Vec<Retention>,
    /// How disks are rolled back at the end, if they are.
    pub rollback: Option<Rollback>,
    /// When the copies are made that some of them are rolled back to, in microseconds.
    pub copied_at_us: u64,
}

/// The clients of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct WorkloadSettings {
    /// How many clients.
    pub clients: usize,
    /// How many keys they share.
    pub keys: usize,
    /// How long a client thinks between two operations at most, in microseconds.
    pub think_max_us: u64,
    /// How many of a thousand operations read.
    pub read_per_mille: u64,
    /// How often each kind of write is drawn.
    pub writes: [(WriteKind, u64); WriteKind::ALL.len()],
    /// Leases are granted, renewed, revoked and left to expire.
    pub leases: bool,
    /// History is compacted now and then.
    pub compactions: bool,
    /// The most bytes that are added to a value.
    pub padding_max: usize,
}

/// How clients use sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// How many of the clients write in sessions.
    pub clients: usize,
    /// How long a client waits for an answer at most before it asks another node, in microseconds.
    pub patience_max_us: u64,
}

/// For how many times what an entry costs a client in a session waits at most, at least.
const PATIENCE_BY_APPLY_COST: u64 = 100;

/// How likely each number of nodes is.
const NODES: [(usize, u64); 5] = [(2, 1), (3, 11), (4, 1), (5, 6), (7, 1)];

/// A kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// One key.
    Put,
    /// Two keys at once.
    PutTwo,
    /// One key is deleted.
    Delete,
    /// One key, if it holds what the client believes.
    Swap,
    /// Comparisons of any keys, and steps on any keys.
    Txn,
}

impl WriteKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Put, Self::PutTwo, Self::Delete, Self::Swap, Self::Txn];
}

impl Scenario {
    /// Draws a scenario. What is about sessions, how long leaders gather proposals, how nodes differ, what bounds the store and
    /// whether disks are rolled back have sources of chance of their own, so that nothing else depends on them.
    pub fn draw(
        random: &mut Random,
        of_sessions: &mut Random,
        of_gathering: &mut Random,
        of_settings: &mut Random,
        of_limits: &mut Random,
        of_rollback: &mut Random,
    ) -> Self {
        let tuning = tuning(random);
        let faults = fault_kinds(random);
        let mut scenario = Self {
            nodes: random.weighted(&NODES),
            network: network(tuning.election_timeout_ms * 1000, random),
            fault_interval_us: random.magnitude(40_000, 600_000),
            fault_phase_us: random.between(3_000_000, 10_000_000),
            sync_max_us: random.magnitude(100, 30_000),
            down_max_us: random.magnitude(2_000, 1_000_000),
            watcher_paces_us: (0..random.between(0, 3)).map(|_| random.magnitude(2_000, 1_000_000)).collect(),
            workload: WorkloadSettings {
                clients: usize_between(2, 6, random),
                keys: usize_between(1, 5, random),
                think_max_us: random.magnitude(2_000, 30_000),
                read_per_mille: random.between(100, 700),
                writes: write_weights(random),
                leases: random.chance(400),
                compactions: random.chance(200),
                padding_max: if random.chance(300) { 2_000 } else { 20 },
            },
            sessions: SessionSettings { clients: 0, patience_max_us: 0 },
            are_settings_uneven: of_settings.chance(500),
            apply_cost_us: 0,
            abandoned_per_mille: 0,
            limits: StoreLimits::default(),
            retentions: Vec::new(),
            rollback: None,
            copied_at_us: 0,
            tuning,
            faults,
        };
        scenario.rollback = Rollback::draw(of_rollback);
        scenario.copied_at_us = of_rollback.between(0, scenario.fault_phase_us);
        sessions(&mut scenario, of_sessions);
        let is_later_drawn = of_settings.chance(300);
        scenario.faults.extend(FaultKind::LATER.into_iter().filter(|_| is_later_drawn));
        store_limits(&mut scenario.limits, of_limits);
        scenario.retentions = retentions(of_limits);
        if of_gathering.chance(500) {
            scenario.tuning.gather_max_us = of_gathering.magnitude(100, 20_000);
        }
        scenario
    }
}

impl Scenario {
    /// Draws what an entry costs: nothing in most worlds, and in the others so much that nodes fall behind what is committed.
    /// And how many jobs are abandoned.
    pub(crate) fn draw_work(&mut self, random: &mut Random) {
        if random.chance(300) {
            self.apply_cost_us = random.magnitude(200, 6_000);
            // Clients that ask again sooner would ask for more than is ever applied.
            let patience_us = self.apply_cost_us * PATIENCE_BY_APPLY_COST;
            self.sessions.patience_max_us = self.sessions.patience_max_us.max(patience_us);
        }
        if random.chance(400) {
            self.abandoned_per_mille = random.magnitude(10, 400);
        }
    }
}

/// In half of the worlds there are some, and in some of those fewer are remembered than are used.
fn sessions(scenario: &mut Scenario, random: &mut Random) {
    let clients =
        if random.chance(500) { 0 } else { usize_between(1, scenario.workload.clients as u64, random) };
    let forgetful = random.chance(400);
    if forgetful {
        scenario.limits.sessions_max = clients.saturating_sub(1).max(1);
    }
    let patience_max_us = random.magnitude(5_000, scenario.tuning.request_timeout_ms * 1000);
    scenario.sessions = SessionSettings { clients, patience_max_us };
}

/// What is small enough to be reached: leases that end over several entries, clients that have as many sessions as one may have.
fn store_limits(limits: &mut StoreLimits, random: &mut Random) {
    if random.chance(500) {
        limits.expiry_steps_max = usize_between(1, 4, random);
    }
    if random.chance(300) {
        limits.sessions_per_client_max = usize_between(1, 3, random);
    }
    limits.session_idle_ms = random.magnitude(20, 2_000);
}

/// In most worlds all history is kept until somebody compacts it.
fn retentions(random: &mut Random) -> Vec<Retention> {
    let count = if random.chance(300) { random.between(1, 3) } else { 0 };
    let retention = |random: &mut Random| {
        let age_ms = random.chance(700).then(|| random.magnitude(300, 5_000));
        let bytes = random.chance(500).then(|| random.magnitude(5_000, 200_000));
        Retention { age_ms, bytes }
    };
    (0..count).map(|_| retention(random)).collect()
}

/// Of each kind none, few or many; there are always some that write one key.
fn write_weights(random: &mut Random) -> [(WriteKind, u64); WriteKind::ALL.len()] {
    WriteKind::ALL.map(|kind| {
        let weight = if random.chance(300) { 0 } else { random.between(1, 5) };
        (kind, if kind == WriteKind::Put { weight.max(1) } else { weight })
    })
}

fn tuning(random: &mut Random) -> Tuning {
    let election_timeout_ms = random.between(40, 300);
    Tuning {
        heartbeat_interval_ms: (election_timeout_ms / random.between(4, 10)).max(5),
        election_timeout_ms,
        clock_drift_ppm: clock_drift_ppm(random),
        snapshot_entries: random.magnitude(10, 300),
        snapshot_log_bytes: random.magnitude(4_000, 200_000),
        retained_entries: random.magnitude(1, 64) - 1,
        hash_check_entries: random.between(1, 20),
        pending_proposals_max: 64,
        pending_bytes_max: 1 << 20,
        request_timeout_ms: random.between(500, 3_000),
        // For the driver, which is not simulated: how a flush runs is drawn for each.
        inline_sync_max_us: 0,
        gather_max_us: 0,
        segment_bytes: 1 << random.between(13, 16),
        tail_bytes_max: usize_between(2_000, 100_000, random),
        uncommitted_bytes_max: usize_magnitude(4_000, 100_000, random),
        inflight_bytes_max: usize_between(500, 20_000, random),
        append_bytes_max: usize_between(70, 5_000, random),
        snapshot_chunk_bytes: usize_between(100, 2_000, random),
        command_bytes_max: 3_000,
    }
}

/// Clocks that are far worse than any real one make the time short in which they matter long enough to be hit.
fn clock_drift_ppm(random: &mut Random) -> u64 {
    if random.chance(300) { random.between(100_000, 300_000) } else { random.magnitude(100, 50_000) }
}

fn network(election_timeout_us: u64, random: &mut Random) -> NetworkSettings {
    let delay_max_us = random.magnitude(200, election_timeout_us / 8);
    NetworkSettings {
        delay_min_us: random.between(50, delay_max_us / 2),
        delay_max_us,
        straggler_per_mille: if random.chance(300) { random.magnitude(1, 100) } else { 0 },
        straggler_max_us: election_timeout_us * 2,
        loss_per_mille: if random.chance(400) { random.magnitude(1, 200) } else { 0 },
        duplicate_per_mille: if random.chance(300) { random.magnitude(1, 200) } else { 0 },
        ordered: random.chance(400),
    }
}

fn fault_kinds(random: &mut Random) -> Vec<FaultKind> {
    let per_mille = random.between(150, 700);
    let mut kinds = Vec::new();
    for kind in FaultKind::ALL {
        if random.chance(per_mille) {
            let weight = usize_between(1, 4, random);
            kinds.extend(std::iter::repeat_n(kind, weight));
        }
    }
    kinds
}

fn usize_between(low: u64, high: u64, random: &mut Random) -> usize {
    usize::try_from(random.between(low, high)).expect("small numbers fit")
}

fn usize_magnitude(low: u64, high: u64, random: &mut Random) -> usize {
    usize::try_from(random.magnitude(low, high)).expect("small numbers fit")
}
