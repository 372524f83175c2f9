//! The clocks of the nodes, none of which shows the simulation's own time.

use ruvector_protocol::Timestamp;

use crate::random::Random;

/// A node's monotonic clock: it began at some other time than the others' and runs at a slightly wrong rate.
#[derive(Clone, Copy, Debug)]
pub struct NodeClock {
    /// What it showed when the machine was started, in microseconds.
    offset_us: u64,
    /// When the machine was started, in simulated time.
    started_us: u64,
    /// How many microseconds it gains in a second; may be negative.
    gain_ppm: i64,
}

impl NodeClock {
    /// A clock that differs from any other by at most `drift_ppm`, and often by that much.
    pub fn new(drift_ppm: u64, random: &mut Random) -> Self {
        let half = (drift_ppm / 2).cast_signed();
        let gain_ppm = match random.between(0, 3) {
            0 => half,
            1 => -half,
            _ => random.between(0, half.cast_unsigned() * 2).cast_signed() - half,
        };
        Self { offset_us: offset(random), started_us: 0, gain_ppm }
    }

    /// The machine starts again: its clock begins anew.
    pub fn restart(&mut self, now_us: u64, random: &mut Random) {
        self.started_us = now_us;
        self.offset_us = offset(random);
    }

    /// What it shows at a simulated time.
    #[must_use]
    pub fn reading(&self, now_us: u64) -> Timestamp {
        let elapsed_us = now_us - self.started_us;
        let gain_us = i128::from(elapsed_us) * i128::from(self.gain_ppm) / 1_000_000;
        let elapsed_us = u64::try_from(i128::from(elapsed_us) + gain_us).expect("a clock runs forward");
        Timestamp(self.offset_us + elapsed_us)
    }

    /// The first simulated time, not before `now_us`, at which it shows at least `reading`.
    #[must_use]
    pub fn when(&self, reading: Timestamp, now_us: u64) -> u64 {
        let wait_us = reading.micros_since(self.reading(now_us));
        let rate_ppm = (1_000_000 + self.gain_ppm).cast_unsigned();
        let mut at_us = now_us + wait_us.min(FOREVER_US) * 1_000_000 / rate_ppm;
        while self.reading(at_us) < reading && wait_us < FOREVER_US {
            at_us += 1;
        }
        at_us
    }
}

/// A day: no simulation lasts as long.
const FOREVER_US: u64 = 24 * 3600 * 1_000_000;
/// Clocks begin within their first hour.
const OFFSET_US_MAX: u64 = 3600 * 1_000_000;

fn offset(random: &mut Random) -> u64 {
    random.between(1, OFFSET_US_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_when_it_is_said_to_be() {
        let mut random = Random::new(1);
        for _ in 0..1000 {
            let mut clock = NodeClock::new(50_000, &mut random);
            let now_us = random.between(0, 10_000_000);
            clock.restart(random.between(0, now_us), &mut random);
            let reading = clock.reading(now_us).after_micros(random.between(1, 1_000_000));
            let at_us = clock.when(reading, now_us);
            assert!(clock.reading(at_us) >= reading);
            assert!(clock.reading(at_us - 2) < reading, "not much too late: {clock:?} {reading:?}");
        }
    }

    #[test]
    fn two_clocks_stay_within_the_bound() {
        let mut random = Random::new(2);
        for _ in 0..1000 {
            let clocks = [NodeClock::new(1_000, &mut random), NodeClock::new(1_000, &mut random)];
            let elapsed = clocks.map(|clock| clock.reading(1_000_000_000).micros_since(clock.reading(0)));
            assert!(elapsed[0].abs_diff(elapsed[1]) <= 1_000_000_000 / 1_000, "{elapsed:?}");
        }
    }
}
