//! Attacks on reads: a leader that was replaced without noticing is asked to read, itself or by way of a follower.

use std::ops::Range;

use ruvector_storage::disk::simulated::Crash;

use crate::network::links_between;
use crate::trace::Place;
use crate::violation::Violation;
use crate::workload::{Freshness, Key, Request};
use crate::world::{Happening, Relief, World};

/// How many reads tempt a leader that may have been replaced.
const TEMPTATIONS: u64 = 6;
/// How many election timeouts a late answer is late at most.
const LATE_TIMEOUTS_MAX: u64 = 3;
/// In how many election timeouts a leader that does not run is replaced, if at all.
const ELECTION_TIMEOUTS: u64 = 5;
/// How many of a thousand looks at a replaced leader are the last, ten looks to an election timeout.
const DEFECTION_PER_MILLE: u64 = 300;
/// Within how many tenths of an election timeout a leader with late answers is likely to be replaced and not know it.
const LATE_TENTHS: Range<u64> = 15..45;
/// How soon an ambushed process is started again at most, in microseconds.
const RESTART_US_MAX: u64 = 3_000;

impl World {
    /// Has clients ask a node for reads, each at some time within so many tenths of an election timeout, when others
    /// may be replacing it, or the one that it follows, as the leader.
    pub(crate) fn tempt_later(&mut self, node: usize, level: Freshness, tenths: Range<u64>) {
        let timeout_us = self.election_timeout_us();
        for _ in 0..TEMPTATIONS {
            let wait_us = self.random.between(timeout_us * tenths.start / 10, timeout_us * tenths.end / 10);
            let at_us = self.now_us + wait_us;
            self.plan(at_us, Happening::Tempt { node, level });
        }
    }

    /// An idle client asks this very node to read.
    pub(crate) fn tempt(&mut self, node: usize, level: Freshness) -> Result<(), Violation> {
        let idle = self.clients.iter().position(|client| !client.is_waiting());
        match idle {
            Some(client) if self.clients_work && self.hosts[node].process.is_some() => {
                let keys = (0..self.scenario.workload.keys).map(Key).collect();
                self.ask(client, node, Request::Get { keys, level })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// One follower is cut off from the leader; when it is about to stand for election all others are killed and
    /// started, so that they remember no leader, and the leader is cut off from them as well.
    pub(crate) fn prepare_ambush(&mut self) {
        let Some(leader) = (0..self.hosts.len()).find(|node| self.leads(*node)) else { return };
        let candidate = (leader + self.random.index(self.hosts.len() - 1) + 1) % self.hosts.len();
        self.statistics.ambushes += 1;
        let links = links_between(&[leader], &[candidate]);
        self.network.cut(&links);
        let timeout_us = self.election_timeout_us();
        let at_us = self.now_us + self.random.between(timeout_us * 8 / 10, timeout_us * 2);
        self.plan(at_us, Happening::Ambush { leader, candidate });
        self.plan(at_us + timeout_us * 3, Happening::Relieve(Relief::Links(links)));
    }

    /// See [`prepare_ambush`](Self::prepare_ambush).
    pub(crate) fn ambush(&mut self, leader: usize, candidate: usize) {
        if !self.stormy {
            return;
        }
        let others: Vec<usize> =
            (0..self.hosts.len()).filter(|node| *node != leader && *node != candidate).collect();
        let links = links_between(&[leader], &others);
        self.network.cut(&links);
        for node in others {
            if self.hosts[node].process.is_some() {
                self.crash(node, Crash::ProcessOnly);
                let at_us = self.now_us + self.random.between(500, RESTART_US_MAX);
                self.plan(at_us, Happening::Start(node));
            }
        }
        self.tempt_later(leader, Freshness::Lease, 2..11);
        let at_us = self.now_us + self.election_timeout_us() * 3;
        self.plan(at_us, Happening::Relieve(Relief::Links(links)));
    }

    /// What is sent to the leader takes any time up to a few election timeouts; soon after, nothing more is sent
    /// to it nor heard from it. While the others replace it, answers of before go on to reach it. Half of the time
    /// a follower stays with it, if the others are enough to replace it without, and is asked to read as well.
    pub(crate) fn delay_answers(&mut self) {
        let Some(leader) = (0..self.hosts.len()).find(|node| self.leads(*node)) else { return };
        self.statistics.late_answers += 1;
        let timeout_us = self.election_timeout_us();
        let followers = self.all_but(&[leader]);
        let to_leader: Vec<(usize, usize)> = followers.iter().map(|node| (*node, leader)).collect();
        self.network.slow_down(&to_leader, timeout_us * LATE_TIMEOUTS_MAX);
        let cut_at_us = self.now_us + self.random.between(timeout_us / 2, timeout_us);
        self.plan(cut_at_us, Happening::Relieve(Relief::Slowness(to_leader)));
        let mut minority = vec![leader];
        if self.hosts.len() > 4 && self.random.chance(500) {
            let companion = followers[self.random.index(followers.len())];
            minority.push(companion);
            self.tempt_later(companion, Freshness::Strong, LATE_TENTHS);
        }
        let links = links_between(&minority, &self.all_but(&minority));
        self.plan(cut_at_us, Happening::Cut(links.clone()));
        let mended_at_us = cut_at_us + timeout_us * (LATE_TIMEOUTS_MAX + 1);
        self.plan(mended_at_us, Happening::Relieve(Relief::Links(links)));
        self.tempt_later(leader, Freshness::Lease, LATE_TENTHS);
    }

    /// One of three leads, and from now on gets no time to run and hears nobody.
    pub(crate) fn prepare_defection(&mut self, leader: usize) {
        let followers = self.all_but(&[leader]);
        let companion = followers[self.random.index(followers.len())];
        self.network.cut(&links_between(&[leader], &followers));
        let until_us = self.now_us + self.election_timeout_us() * ELECTION_TIMEOUTS;
        self.defect(leader, companion, until_us);
    }

    /// Some time after the others have replaced the leader, one of them loses its disk, and is back at once. It hears only
    /// the former leader, which runs again and does not know, and is asked to read.
    pub(crate) fn defect(&mut self, leader: usize, companion: usize, until_us: u64) {
        if !self.stormy {
            return;
        }
        let others = self.all_but(&[leader, companion]);
        let is_over = self.now_us >= until_us || !self.leads(leader);
        let is_due = self.is_replaced_leader(leader) && self.random.chance(DEFECTION_PER_MILLE);
        if !is_over && !is_due {
            let at_us = self.now_us + self.election_timeout_us() / 10;
            self.hosts[leader].paused_until_us = at_us + 1;
            self.plan(at_us, Happening::Defect { leader, companion, until_us });
            return;
        }
        self.network.mend(&links_between(&[leader], &[companion]));
        if is_over || self.hosts[companion].process.is_none() {
            self.network.mend(&links_between(&[leader], &others));
            return;
        }
        self.trace.record(self.now_us, Place::World, companion, || {
            format!("fault: node {} defects to node {}", companion + 1, leader + 1)
        });
        let links = links_between(&[companion], &others);
        self.network.cut(&links);
        self.plan(until_us, Happening::Relieve(Relief::Links(links)));
        self.plan(until_us, Happening::Relieve(Relief::Links(links_between(&[leader], &others))));
        self.crash(companion, Crash::ProcessOnly);
        self.replace_disk(companion);
        let at_us = self.now_us + self.random.between(500, RESTART_US_MAX);
        self.plan(at_us, Happening::Start(companion));
        self.hosts[leader].paused_until_us = at_us;
        self.tempt_later(companion, Freshness::Strong, 0..3);
    }

    fn all_but(&self, nodes: &[usize]) -> Vec<usize> {
        (0..self.hosts.len()).filter(|node| !nodes.contains(node)).collect()
    }
}
