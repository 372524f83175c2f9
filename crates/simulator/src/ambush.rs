//! Attacks on reads: a leader that was replaced without noticing is asked to read, itself or by way of a follower.

use std::ops::Range;

use ruvector_storage::disk::simulated::Crash;

use crate::network::links_between;
use crate::violation::Violation;
use crate::workload::{Freshness, Key, Request};
use crate::world::{Happening, Relief, World};

/// How many reads tempt a leader that may have been replaced.
const TEMPTATIONS: u64 = 6;
/// How many election timeouts a late answer is late at most.
const LATE_TIMEOUTS_MAX: u64 = 3;
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
    /// it keeps the company of a follower, who is asked to read.
    pub(crate) fn delay_answers(&mut self) {
        let Some(leader) = (0..self.hosts.len()).find(|node| self.leads(*node)) else { return };
        self.statistics.late_answers += 1;
        let timeout_us = self.election_timeout_us();
        let followers: Vec<usize> = (0..self.hosts.len()).filter(|node| *node != leader).collect();
        let to_leader: Vec<(usize, usize)> = followers.iter().map(|node| (*node, leader)).collect();
        self.network.slow_down(&to_leader, timeout_us * LATE_TIMEOUTS_MAX);
        let cut_at_us = self.now_us + self.random.between(timeout_us / 2, timeout_us);
        self.plan(cut_at_us, Happening::Relieve(Relief::Slowness(to_leader)));
        let cut_us = cut_at_us..cut_at_us + timeout_us * (LATE_TIMEOUTS_MAX + 1);
        let companion = self.random.chance(500).then(|| self.random.pick(&followers).copied()).flatten();
        match companion {
            None => self.cut_during(cut_us, &[leader], &followers),
            Some(companion) => self.keep_company(leader, companion, cut_us),
        }
        self.tempt_later(leader, Freshness::Lease, LATE_TENTHS);
    }

    /// A follower is cut off with the leader. If the rest are too few to elect another, it first helps them to, then
    /// forgets that with its disk, and only then comes to the leader.
    fn keep_company(&mut self, leader: usize, companion: usize, cut_us: Range<u64>) {
        let others: Vec<usize> =
            (0..self.hosts.len()).filter(|node| *node != leader && *node != companion).collect();
        if 2 * others.len() > self.hosts.len() {
            self.cut_during(cut_us, &[leader, companion], &others);
            self.tempt_later(companion, Freshness::Strong, LATE_TENTHS);
            return;
        }
        let timeout_us = self.election_timeout_us();
        let back_at_us = cut_us.start + self.random.between(timeout_us * 13 / 10, timeout_us * 5 / 2);
        self.cut_during(cut_us.clone(), &[leader], &others);
        self.cut_during(cut_us.start..back_at_us, &[leader], &[companion]);
        self.cut_during(back_at_us..cut_us.end, &[companion], &others);
        self.plan(back_at_us, Happening::Forget(companion));
    }

    /// A node loses its disk, is back at once, and is asked to read.
    pub(crate) fn forget(&mut self, node: usize) {
        if !self.stormy || self.hosts[node].process.is_none() {
            return;
        }
        self.crash(node, Crash::ProcessOnly);
        self.replace_disk(node);
        let at_us = self.now_us + self.random.between(500, RESTART_US_MAX);
        self.plan(at_us, Happening::Start(node));
        self.tempt_later(node, Freshness::Strong, 0..10);
    }

    fn cut_during(&mut self, time_us: Range<u64>, left: &[usize], right: &[usize]) {
        let links = links_between(left, right);
        self.plan(time_us.start, Happening::Cut(links.clone()));
        self.plan(time_us.end, Happening::Relieve(Relief::Links(links)));
    }
}
