//! What the history says in numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::{Outcome, Recorded};
use crate::report::Operations;

/// Counts operations by outcome.
pub(crate) fn operations(history: &[Recorded]) -> Operations {
    let count = |is: fn(&Outcome) -> bool| history.iter().filter(|recorded| is(&recorded.outcome)).count();
    Operations {
        ok: count(|outcome| matches!(outcome, Outcome::Answered { .. })),
        failed: count(|outcome| matches!(outcome, Outcome::Failed)),
        unknown: count(|outcome| matches!(outcome, Outcome::Unknown)),
    }
}

/// How many reads were answered, by how they were made.
pub(crate) fn reads(history: &[Recorded]) -> BTreeMap<String, usize> {
    let mut reads = BTreeMap::new();
    let answered = history.iter().filter(|recorded| matches!(recorded.outcome, Outcome::Answered { .. }));
    for read in answered.filter_map(|recorded| recorded.read) {
        *reads.entry(read.to_string()).or_default() += 1;
    }
    reads
}

/// The longest time between two times in a span at which no write was acknowledged. `times` are sorted.
pub(crate) fn longest_gap(times: &[Duration], from: Duration, to: Duration) -> Duration {
    let first = times.partition_point(|time| *time < from);
    let inside = times[first..].iter().copied().take_while(|time| *time <= to);
    let mut longest = Duration::ZERO;
    let mut previous = from;
    for time in inside.chain([to]) {
        longest = longest.max(time.saturating_sub(previous));
        previous = time;
    }
    longest
}

/// When writes were acknowledged, sorted.
pub(crate) fn acknowledged_at(history: &[Recorded]) -> Vec<Duration> {
    let writes = history.iter().filter(|recorded| recorded.acknowledged().is_some());
    let mut times: Vec<Duration> = writes.map(|recorded| recorded.ended).collect();
    times.sort_unstable();
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_reaches_to_the_ends_of_the_span() {
        let seconds = Duration::from_secs;
        let times: Vec<Duration> = [1, 2, 5, 6].map(seconds).into();
        assert_eq!(longest_gap(&times, seconds(1), seconds(6)), seconds(3));
        assert_eq!(longest_gap(&times, seconds(6), seconds(20)), seconds(14));
        assert_eq!(longest_gap(&times, seconds(3), seconds(4)), seconds(1));
        assert_eq!(longest_gap(&[], seconds(3), seconds(5)), seconds(2));
    }
}
