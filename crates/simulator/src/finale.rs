//! The course of a simulation: a storm of faults, a calm in which everything must come right, and the last
//! questions.

use ruvector_node::replica::Replica;
use ruvector_state_machine::kv::KvMachine;

use crate::invariants::Invariants;
use crate::node::{Host, Process};
use crate::violation::{Violation, ensure};
use crate::workload::{Freshness, Key, Request};
use crate::world::World;

/// How long after the storm clients go on as before, in microseconds.
const AFTERMATH_US: u64 = 500_000;
/// How many election timeouts the replicas may take to become equal when the storm is over.
const RECOVERY_TIMEOUTS_MAX: u64 = 50;
/// How long each chunk of a snapshot may take on a healthy network, where a few are under way at a time.
const CHUNK_US_MAX: u64 = 1_000;
/// How often it is looked whether they are.
const LOOK_US: u64 = 20_000;
/// How many times the entries between two snapshots a log holds at most when all is well.
const LOG_SNAPSHOTS_MAX: u64 = 11;
/// How many election timeouts it may take until a snapshot that failed again and again is there.
const CUT_TIMEOUTS_MAX: u64 = 6_000;
/// How often a node is asked that goes down each time.
const TRIES_MAX: usize = 10;
/// The longest time to live of a lease, with something to spare for its end to be replicated.
const LEASE_US_MAX: u64 = 4_000_000;

impl World {
    /// Runs the whole simulation.
    ///
    /// # Errors
    /// The first violation that a judge sees.
    pub fn run(&mut self) -> Result<(), Violation> {
        let result = self.course();
        self.statistics.events = self.trace.events();
        self.statistics.simulated_us = self.now_us;
        self.statistics.leaders = self.invariants.leader_count();
        self.statistics.committed = self.invariants.committed_count();
        self.marks.commands_repeated = self.invariants.repeated_count();
        result
    }

    fn course(&mut self) -> Result<(), Violation> {
        self.run_until(self.scenario.copied_at_us)?;
        self.copy_disks();
        self.run_until(self.scenario.fault_phase_us)?;
        self.calm();
        self.run_until(self.now_us + AFTERMATH_US)?;
        self.clients_work = false;
        self.recover()?;
        self.ask_last_questions()?;
        self.recover()?;
        self.cut_logs()?;
        self.expire_leases()?;
        self.check_aside()?;
        self.tell_everything()?;
        let drift_ppm = self.scenario.tuning.clock_drift_ppm;
        self.statistics.undecided_keys = self.history.check(&self.events, drift_ppm)?;
        self.play_last_act()
    }

    /// Waits until somebody leads, nobody waits and all replicas are equal.
    fn recover(&mut self) -> Result<(), Violation> {
        // A command that was lost on the way is proposed again when its time is half over.
        let request_us = self.scenario.tuning.request_timeout_ms * 1000;
        let until_us = self.now_us
            + self.longest_election_timeout_us() * RECOVERY_TIMEOUTS_MAX
            + request_us * 2
            + self.transfer_us_max()
            + self.applying_us_max();
        while self.now_us < until_us {
            if self.nobody_waits().is_ok() && self.unrest().is_none() {
                return Ok(());
            }
            self.run_until(self.now_us + LOOK_US)?;
        }
        self.nobody_waits()?;
        let unrest = self.unrest();
        ensure!(unrest.is_none(), Liveness, "long after the last fault: {}", unrest.unwrap_or_default());
        Ok(())
    }

    /// How long it takes at most to send the largest snapshot, and again if it comes damaged.
    pub(crate) fn transfer_us_max(&self) -> u64 {
        let bytes = self.hosts.iter().map(Host::largest_snapshot_bytes).max().unwrap_or(0);
        2 * bytes / self.scenario.tuning.snapshot_chunk_bytes as u64 * CHUNK_US_MAX
    }

    /// How long it takes at most to apply all that there is, on a node that does other things beside it.
    fn applying_us_max(&self) -> u64 {
        let processes = self.hosts.iter().filter_map(|host| host.process.as_ref());
        let entries = processes.map(Process::entry_count).max().unwrap_or(0);
        2 * entries * self.scenario.apply_cost_us
    }

    /// Waits until no log is much longer than it may be before a snapshot is taken.
    fn cut_logs(&mut self) -> Result<(), Violation> {
        let until_us = self.now_us + self.election_timeout_us() * CUT_TIMEOUTS_MAX;
        loop {
            let long = self.longest_log();
            let Some((node, entries)) = long else { return Ok(()) };
            ensure!(
                self.now_us < until_us,
                Liveness,
                "node {node} has {entries} entries behind its newest snapshot, and takes no other"
            );
            self.run_until(self.now_us + self.election_timeout_us())?;
        }
    }

    /// A node whose log is longer than any reason for patience allows.
    fn longest_log(&self) -> Option<(u64, u64)> {
        let too_long = |node: usize| {
            let replica = self.replica(node)?;
            let newest = replica.newest_snapshot().unwrap_or_default();
            let entries = replica.applied().index.0.saturating_sub(newest.0);
            let host = &self.hosts[node];
            let entries_max = host.tuning.snapshot_entries * LOG_SNAPSHOTS_MAX;
            (entries > entries_max).then_some((host.id.0, entries))
        };
        (0..self.hosts.len()).find_map(too_long)
    }

    /// What is not yet as it should be: one leader that all follow, all equal.
    pub(crate) fn unrest(&self) -> Option<String> {
        let running: Vec<&Replica<KvMachine>> =
            (0..self.hosts.len()).filter_map(|node| self.replica(node)).collect();
        let down = self.hosts.iter().filter(|host| host.process.is_none() && !host.retired).count();
        if down > 0 {
            return Some(format!("{down} nodes are down"));
        }
        unrest_among(&running).or_else(|| self.unrest_aside())
    }

    /// Every running node is asked for every key.
    fn ask_last_questions(&mut self) -> Result<(), Violation> {
        let keys: Vec<Key> = (0..self.scenario.workload.keys).map(Key).collect();
        for node in 0..self.hosts.len() {
            if self.hosts[node].process.is_none() {
                continue;
            }
            self.ask_last_question(node, &keys)?;
        }
        Ok(())
    }

    /// A question is refused, too, if a node goes down meanwhile: of a fault that was laid before, and not found until now.
    fn ask_last_question(&mut self, node: usize, keys: &[Key]) -> Result<(), Violation> {
        for _ in 0..TRIES_MAX {
            let (answered, restarts) = (self.statistics.reads_answered, self.statistics.restarts);
            let request = Request::Get { keys: keys.to_vec(), level: Freshness::Strong };
            self.ask(0, node, request)?;
            self.recover()?;
            if self.statistics.reads_answered == answered + 1 {
                return Ok(());
            }
            ensure!(
                self.statistics.restarts > restarts,
                Liveness,
                "node {} refuses a read long after the last fault",
                node + 1
            );
        }
        Ok(())
    }

    /// Every lease ends when nobody renews it.
    fn expire_leases(&mut self) -> Result<(), Violation> {
        let leases = |world: &Self| {
            world
                .hosts
                .iter()
                .filter_map(|host| host.process.as_ref())
                .map(|p| p.published.leases().len())
                .max()
        };
        if leases(self).unwrap_or(0) == 0 {
            return Ok(());
        }
        self.run_until(self.now_us + LEASE_US_MAX)?;
        let left = leases(self).unwrap_or(0);
        ensure!(left == 0, Liveness, "{left} leases live long after their time");
        self.recover()
    }
}

/// What is not yet as it should be among the replicas of a group: one leader that all follow, all equal.
pub(crate) fn unrest_among(running: &[&Replica<KvMachine>]) -> Option<String> {
    let leaders = running.iter().filter(|replica| Invariants::is_leader(replica)).count();
    if leaders != 1 {
        return Some(format!("{leaders} nodes lead"));
    }

    let differs = running.windows(2).any(|pair| {
        pair[0].applied() != pair[1].applied()
            || pair[0].state_hash() != pair[1].state_hash()
            || pair[0].raft().leader() != pair[1].raft().leader()
    });
    differs.then(|| {
        let states: Vec<String> = running
            .iter()
            .map(|r| format!("{:?} {:032x} {:?}", r.applied(), r.state_hash(), r.raft().leader()))
            .collect();
        format!("replicas differ: {}", states.join(", "))
    })
}
