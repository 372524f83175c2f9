//! The settings of each node, which need not be those of the others: every rolling change passes through a time in
//! which they differ. In half of the worlds each start of a node draws its own.

use ruvector_node::Tuning;

use crate::random::Random;
use crate::world::World;

/// How many times as long as the shortest an election timeout is at most.
const TIMEOUT_FACTOR_MAX: u64 = 4;

impl World {
    /// A node is about to start: what it is set to from now on.
    pub(crate) fn draw_settings(&mut self, node: usize) {
        if self.scenario.are_settings_uneven {
            self.hosts[node].tuning = vary(&self.scenario.tuning, &mut self.settings_random);
        }
    }

    /// The longest minimum election timeout that a node may be set to.
    pub(crate) fn longest_election_timeout_us(&self) -> u64 {
        let factor = if self.scenario.are_settings_uneven { TIMEOUT_FACTOR_MAX } else { 1 };
        self.election_timeout_us() * factor
    }
}

/// Settings beside `common`: nothing that the nodes must agree in, and heartbeats that every other node finds often enough.
fn vary(common: &Tuning, random: &mut Random) -> Tuning {
    // The shortest and the longest often: what one start of a node promised may be too long for the next.
    let factor_per_mille = match random.between(0, 9) {
        0..5 => 1000,
        5..8 => TIMEOUT_FACTOR_MAX * 1000,
        _ => random.between(1000, TIMEOUT_FACTOR_MAX * 1000),
    };
    let mut own = common.clone();
    own.election_timeout_ms = common.election_timeout_ms * factor_per_mille / 1000;
    own.snapshot_entries = around(common.snapshot_entries, random);
    own.snapshot_log_bytes = around(common.snapshot_log_bytes, random);
    own.retained_entries = around(common.retained_entries, random);
    own.tail_bytes_max = around_size(common.tail_bytes_max, random);
    own.inflight_bytes_max = around_size(common.inflight_bytes_max, random);
    own.append_bytes_max = around_size(common.append_bytes_max, random);
    own
}

fn around(number: u64, random: &mut Random) -> u64 {
    if number == 0 { 0 } else { random.between(number.div_ceil(2), number * 2) }
}

fn around_size(bytes: usize, random: &mut Random) -> usize {
    usize::try_from(around(bytes as u64, random)).expect("small numbers fit")
}
