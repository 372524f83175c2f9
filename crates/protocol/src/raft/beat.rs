//! When leaders make themselves heard: all of a node at the same moments.

use super::config::Config;
use crate::types::Timestamp;

/// When a leader whose heartbeat was due makes itself heard again: an interval later, or at the last beat before.
///
/// Beats are moments of a node's clock, [`beat_us`](Config::beat_us) apart. A node that leads many groups is so woken for
/// all of them at once, and what they say to a peer leaves together. A leader that was just elected or has confirmed a
/// read is heard an interval later, wherever that falls, and then at the beats. So a heartbeat comes early once, by less
/// than the time between two beats, and that does no harm: a read makes it come at any time. It never comes late.
///
/// Nodes beat at different moments: several may share a machine, and then its clock.
pub(super) fn next_beat(now: Timestamp, config: &Config) -> Timestamp {
    let due = now.after_micros(config.heartbeat_interval_us);
    // Not further apart than an interval, or none might come in time.
    let beat_us = config.beat_us.min(config.heartbeat_interval_us);
    if beat_us == 0 {
        return due;
    }
    let since_beat_us = (due.0 % beat_us + beat_us - config.node.0 % beat_us) % beat_us;
    let beat = Timestamp(due.0 - since_beat_us);
    assert!(now < beat && beat <= due, "the beat {beat:?} is not after {now:?} and not later than {due:?}");
    beat
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{GroupId, Incarnation, NodeId};

    const INTERVAL_US: u64 = 30_000;

    fn beat(now: u64, node: u64, beat_us: u64) -> u64 {
        let config = Config {
            heartbeat_interval_us: INTERVAL_US,
            beat_us,
            ..Config::new(GroupId(1), NodeId(node), Incarnation(1), 1)
        };
        next_beat(Timestamp(now), &config).0
    }

    #[test]
    fn from_anywhere_between_two_beats_the_next_is_the_same_and_no_more_than_an_interval_away() {
        for node in [1, INTERVAL_US - 1, INTERVAL_US, 0xdead_beef_dead_beef] {
            for beat_us in [INTERVAL_US, INTERVAL_US / 10, 1] {
                let first = beat(1_000_000, node, beat_us);
                let allowed = 1_000_001 + INTERVAL_US - beat_us..=1_000_000 + INTERVAL_US;
                assert!(allowed.contains(&first), "{first}, {beat_us} us apart");
                for passed in [0, beat_us / 2, beat_us - 1] {
                    let next = beat(first + passed, node, beat_us);
                    assert_eq!(next, first + INTERVAL_US, "{passed} us after a beat, {beat_us} us apart");
                }
            }
        }
    }

    #[test]
    fn nodes_of_one_clock_beat_at_different_moments() {
        let beats = [1, 2, 3, 20_000].map(|node| beat(1_000_000, node, INTERVAL_US));
        let different: std::collections::BTreeSet<u64> = beats.into();
        assert_eq!(different.len(), beats.len(), "{beats:?}");
    }

    #[test]
    fn without_beats_a_heartbeat_follows_an_interval_later() {
        for now in [1_234_567, 1_234_567 + INTERVAL_US] {
            assert_eq!(beat(now, 1, 0), now + INTERVAL_US);
            assert_eq!(beat(now, 1, 2 * INTERVAL_US), beat(now, 1, INTERVAL_US), "further apart is no use");
        }
    }
}
