//! Seeded random runs: loss, duplication, reordering, crashes, stalls, cuts, skewed clocks; the checker of
//! the cluster watches every step, and at the end the healed cluster must work.

#![allow(clippy::unwrap_used)]

mod cluster;

use cluster::{Cluster, Disk, Parcel};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use ruvector_protocol::{Config, GroupId, Incarnation, Input, NodeId, PlantedBug, ReadLevel, RoleName};

const STEPS: u64 = 3_000;

/// A run's source of accidents.
struct Chance(TestRng);

impl Chance {
    fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    fn pick(&mut self, nodes: &[NodeId]) -> NodeId {
        nodes[self.below(nodes.len() as u64) as usize]
    }
}

fn config(node: NodeId, seed: u64, bug: Option<PlantedBug>) -> Config {
    Config {
        heartbeat_interval_us: 50_000,
        election_timeout_us: 300_000,
        clock_drift_ppm: 1_000,
        tail_bytes_max: 400,
        append_bytes_max: 300,
        inflight_bytes_max: 1_000,
        uncommitted_bytes_max: 5_000,
        gather_us: seed % 2 * 20_000,
        planted_bug: bug,
        ..Config::new(GroupId::METADATA, node, Incarnation(1), seed * 10 + node.0)
    }
}

fn run(seed: u64, bug: Option<PlantedBug>) -> Cluster {
    let mut chance = Chance::new(seed);
    let count = if chance.below(2) == 0 { 3 } else { 5 };
    let mut cluster = Cluster::new(count, |node| config(node, seed, bug));
    for (number, node) in cluster.nodes.values_mut().enumerate() {
        node.clock_offset_us = number as u64 * 7_000_000;
        node.clock_drift_ppm = chance.below(900);
    }
    for id in cluster.ids() {
        cluster.restart(id);
    }
    // With few proposals, leaders come and go before they have anything of their own term.
    let is_quiet = chance.below(2) == 0;
    for step in 0..STEPS {
        accident(&mut cluster, &mut chance, step, is_quiet);
        if step % 250 == 0 {
            cluster.checker.logs_match(&cluster.nodes);
        }
        if cluster.trace.len() > 10_000 {
            cluster.trace.drain(..5_000);
        }
    }
    cluster
}

/// One thing that happens: mostly ordinary, sometimes a fault.
fn accident(cluster: &mut Cluster, chance: &mut Chance, step: u64, is_quiet: bool) {
    let ids = cluster.ids();
    let id = chance.pick(&ids);
    match chance.below(1000) {
        0..=399 => deliver_some(cluster, chance),
        400..=549 => {
            let count = 1 + chance.below(3) as usize;
            cluster.sync(id, count);
        }
        550..=599 => cluster.answer_apply(id),
        600..=799 => time_passes(cluster, chance),
        800..=879 => {
            if !is_quiet || chance.below(50) == 0 {
                cluster.propose(id, &format!("c{step}"), 1);
            }
        }
        880..=929 => {
            let level = if chance.below(2) == 0 { ReadLevel::Strong } else { ReadLevel::Lease };
            if cluster.is_up(id) {
                cluster.read(id, level);
            }
        }
        930..=949 => cluster.step(id, Input::PeerLost(chance.pick(&ids))),
        950..=959 => {
            // Most harm is done to whoever is just writing its vote.
            let voting: Vec<_> = ids.iter().copied().filter(|id| cluster.is_voting(*id)).collect();
            let unlucky = if voting.is_empty() { id } else { chance.pick(&voting) };
            let kept = chance.below(2 * cluster.nodes[&unlucky].unsynced.len() as u64 + 1) / 2;
            cluster.crash(unlucky, kept as usize);
            if chance.below(8) == 0 && cluster.may_forget(unlucky) {
                cluster.replace_disk(unlucky, Disk::empty());
            }
            if chance.below(2) == 0 {
                cluster.restart(unlucky);
            }
        }
        960..=979 if !cluster.is_up(id) => cluster.restart(id),
        960..=969 if !is_quiet => cluster.step(id, Input::ProposeTick),
        960..=979 => cluster.compact(id),
        980..=985 => {
            cluster.cut.insert((id, chance.pick(&ids)));
        }
        986..=991 => cluster.now_us += chance.below(600_000),
        992..=997 => {
            // Whoever leads is cut off, after it took something that nobody else has.
            let unlucky = cluster.leader().unwrap_or(id);
            let others: Vec<_> = ids.iter().copied().filter(|other| *other != unlucky).collect();
            cluster.cut.clear();
            cluster.isolate(&[unlucky], &others);
            cluster.propose(unlucky, &format!("c{step}"), 1);
        }
        _ => cluster.cut.clear(),
    }
}

fn deliver_some(cluster: &mut Cluster, chance: &mut Chance) {
    for _ in 0..=chance.below(6) {
        let waiting = cluster.network.len() as u64;
        if waiting == 0 {
            return;
        }
        // Mostly in order, as connections are; sometimes not.
        let place = if chance.below(4) > 0 { 0 } else { chance.below(waiting) as usize };
        match chance.below(40) {
            0 => {
                let parcel = cluster.network.remove(place).unwrap();
                cluster.lose(parcel);
            }
            1 => {
                let twin = cluster.network[place].clone();
                if matches!(twin, Parcel::Message(_)) {
                    cluster.network.push_back(twin);
                }
                cluster.deliver_at(place);
            }
            2..=4 => {
                let parcel = cluster.network.remove(place).unwrap();
                cluster.network.push_back(parcel);
            }
            _ => cluster.deliver_at(place),
        }
    }
}

fn time_passes(cluster: &mut Cluster, chance: &mut Chance) {
    let due = cluster.due();
    if due.is_empty() || chance.below(10) == 0 {
        let next = cluster.next_deadline_us().unwrap_or(cluster.now_us + 10_000);
        cluster.now_us = cluster.now_us.max(next) + chance.below(40_000);
    } else {
        cluster.wake(chance.pick(&due));
    }
}

/// Everything works again: a leader is found, and what it commits everyone applies.
fn heal(cluster: &mut Cluster) {
    cluster.cut.clear();
    for id in cluster.ids() {
        if !cluster.is_up(id) {
            cluster.restart(id);
        }
    }
    cluster.pass(3_000_000);
    let leader = cluster.leader().expect("a healed cluster elects a leader");
    cluster.propose(leader, "after", 1);
    cluster.pass(1_000_000);
    let last = cluster.checker.last_committed();
    for (id, node) in &cluster.nodes {
        let status = node.raft.as_ref().unwrap().status();
        assert_eq!((status.applied, status.last.index), (last, last), "node {id} is not caught up");
        assert_ne!(status.role, RoleName::Newcomer, "node {id} does not take part");
    }
    cluster.checker.logs_match(&cluster.nodes);
}

#[test]
fn safe_under_every_accident_and_live_after_it() {
    // SEEDS=5000 looks further.
    let seeds = std::env::var("SEEDS").map_or(200, |seeds| seeds.parse().unwrap());
    let (mut reads, mut elections, mut commits) = (0, 0, 0);
    for seed in 0..seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut cluster = run(seed, None);
            heal(&mut cluster);
            (cluster.checker.reads_served, cluster.checker.elections, cluster.checker.last_committed().0)
        });
        let (served, elected, committed) = outcome.unwrap_or_else(|_| panic!("seed {seed} fails"));
        reads += served;
        elections += elected;
        commits += committed;
    }
    // The runs must get somewhere, or they show nothing.
    assert!(reads > 1_000, "only {reads} reads were served");
    assert!(elections > 600, "only {elections} leaders were elected");
    assert!(commits > 3_000, "only {commits} entries were committed");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(7, None).trace, run(7, None).trace);
}

/// The seed at which a planted bug is found.
fn seed_that_finds(bug: PlantedBug) -> Option<u64> {
    (0..1000).find(|seed| std::panic::catch_unwind(|| run(*seed, Some(bug))).is_err())
}

#[test]
fn an_empty_disk_that_is_trusted_is_found() {
    assert!(seed_that_finds(PlantedBug::EmptyDiskTrusted).is_some());
}

#[test]
fn a_vote_before_it_is_durable_is_found() {
    assert!(seed_that_finds(PlantedBug::VoteBeforeDurable).is_some());
}

#[test]
fn a_commit_of_an_older_term_by_counting_is_found() {
    assert!(seed_that_finds(PlantedBug::CommitOlderTermByCounting).is_some());
}

#[test]
fn a_read_index_before_the_noop_is_found() {
    assert!(seed_that_finds(PlantedBug::ReadIndexBeforeNoop).is_some());
}

#[test]
fn a_read_that_joins_a_question_asked_before_is_found() {
    assert!(seed_that_finds(PlantedBug::ReadJoinsAskedBatch).is_some());
}
