//! The network between the nodes.

use std::collections::BTreeMap;

use crate::random::Random;

/// How a network treats messages, chosen once for a simulation.
#[derive(Clone, Copy, Debug)]
pub struct NetworkSettings {
    /// The shortest way of a message, in microseconds.
    pub delay_min_us: u64,
    /// The longest ordinary way.
    pub delay_max_us: u64,
    /// How many of a thousand messages take far longer.
    pub straggler_per_mille: u64,
    /// How long those take at most.
    pub straggler_max_us: u64,
    /// How many of a thousand messages are lost.
    pub loss_per_mille: u64,
    /// How many of a thousand messages arrive twice.
    pub duplicate_per_mille: u64,
    /// Messages of one node to another arrive in the order in which they were sent, as over TCP.
    pub ordered: bool,
}

impl NetworkSettings {
    /// A network without faults.
    pub const HEALTHY: Self = Self {
        delay_min_us: 100,
        delay_max_us: 500,
        straggler_per_mille: 0,
        straggler_max_us: 0,
        loss_per_mille: 0,
        duplicate_per_mille: 0,
        ordered: true,
    };
}

/// One direction between two nodes.
type Link = (usize, usize);

/// The links between nodes and their state.
#[derive(Debug)]
pub struct Network {
    settings: NetworkSettings,
    /// How many faults cut each direction at the moment.
    cuts: BTreeMap<Link, u32>,
    /// How long a message of a direction takes at most that is slow at the moment.
    slow: BTreeMap<Link, u64>,
    /// When the last message of each direction arrives.
    last_arrival_us: BTreeMap<Link, u64>,
}

impl Network {
    /// A network whose links all work.
    #[must_use]
    pub fn new(settings: NetworkSettings) -> Self {
        Self { settings, cuts: BTreeMap::new(), slow: BTreeMap::new(), last_arrival_us: BTreeMap::new() }
    }

    /// When a message that is sent now arrives: not at all, once or twice.
    pub fn arrivals(&mut self, now_us: u64, link: Link, random: &mut Random) -> Vec<u64> {
        if self.is_cut(link) || random.chance(self.settings.loss_per_mille) {
            return Vec::new();
        }
        let mut arrivals = vec![self.arrival(now_us, link, random)];
        if random.chance(self.settings.duplicate_per_mille) {
            arrivals.push(self.arrival(now_us, link, random));
        }
        arrivals
    }

    fn arrival(&mut self, now_us: u64, link: Link, random: &mut Random) -> u64 {
        if let Some(&slow_max_us) = self.slow.get(&link) {
            return now_us + random.between(self.settings.delay_min_us, slow_max_us);
        }
        let NetworkSettings { delay_min_us, delay_max_us, straggler_max_us, .. } = self.settings;
        let delay_us = if random.chance(self.settings.straggler_per_mille) {
            random.magnitude(delay_max_us, straggler_max_us.max(delay_max_us))
        } else {
            random.between(delay_min_us, delay_max_us)
        };
        let mut arrival_us = now_us + delay_us;
        if self.settings.ordered {
            let last_us = self.last_arrival_us.entry(link).or_default();
            arrival_us = arrival_us.max(*last_us + 1);
            *last_us = arrival_us;
        }
        arrival_us
    }

    /// Whether messages of this direction are dropped.
    #[must_use]
    pub fn is_cut(&self, link: Link) -> bool {
        self.cuts.get(&link).is_some_and(|count| *count > 0)
    }

    /// Cuts directions until [`mend`](Self::mend) is called as often.
    pub fn cut(&mut self, links: &[Link]) {
        for link in links {
            *self.cuts.entry(*link).or_default() += 1;
        }
    }

    /// Takes back one [`cut`](Self::cut).
    pub fn mend(&mut self, links: &[Link]) {
        for link in links {
            let count = self.cuts.get_mut(link).expect("only what was cut is mended");
            *count -= 1;
        }
    }

    /// Messages of these directions take any time up to `slow_max_us` until [`hasten`](Self::hasten) is called, and
    /// overtake one another.
    pub fn slow_down(&mut self, links: &[Link], slow_max_us: u64) {
        self.slow.extend(links.iter().map(|link| (*link, slow_max_us)));
    }

    /// Ends what [`slow_down`](Self::slow_down) began.
    pub fn hasten(&mut self, links: &[Link]) {
        self.slow.retain(|link, _| !links.contains(link));
    }

    /// From now on the network has no faults.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.slow.clear();
        self.settings = NetworkSettings::HEALTHY;
    }
}

/// Every direction between two groups of nodes.
#[must_use]
pub fn links_between(left: &[usize], right: &[usize]) -> Vec<Link> {
    left.iter().flat_map(|&a| right.iter().flat_map(move |&b| [(a, b), (b, a)])).collect()
}
