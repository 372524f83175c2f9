//! What is measured, and the arithmetic of medians and ratios.

use serde::{Deserialize, Serialize};

/// One thing that a load measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    OperationsPerSecond,
    EventsPerSecond,
    P50Ms,
    P90Ms,
    P99Ms,
    P999Ms,
    MaxMs,
    /// From the moment before a put was sent to the event's arrival at a watcher.
    EventP99Ms,
    /// User and system time of all nodes.
    CpuMicrosPerOperation,
    /// User and system time of this program.
    GeneratorMicrosPerOperation,
    /// The mean of the nodes' `VmRSS` when the load ended.
    ResidentMib,
    /// The longest time without a success.
    OutageMs,
    /// From the start of a killed node's process until it served a read of the newest key.
    RestartSeconds,
    QuietP99Ms,
    /// `P99Ms` by `QuietP99Ms`.
    P99ByQuiet,
    /// `OperationsPerSecond` by that of the quiet phase.
    ThroughputByQuiet,
    /// Of resident memory, by a node in the mean, for each put of the quiet phase.
    QuietGainedBytes,
    /// The same for the phase under stress.
    GainedBytes,
    SnapshotsBegun,
    /// Those that ended within the measured time or its warm-up.
    SnapshotsTaken,
}

impl Figure {
    /// What a report shows, in this order. The file of all that was measured has the rest.
    pub(crate) const REPORTED: [Self; 18] = [
        Self::OperationsPerSecond,
        Self::P50Ms,
        Self::P99Ms,
        Self::P999Ms,
        Self::EventsPerSecond,
        Self::EventP99Ms,
        Self::OutageMs,
        Self::RestartSeconds,
        Self::QuietP99Ms,
        Self::P99ByQuiet,
        Self::ThroughputByQuiet,
        Self::QuietGainedBytes,
        Self::GainedBytes,
        Self::SnapshotsBegun,
        Self::SnapshotsTaken,
        Self::CpuMicrosPerOperation,
        Self::GeneratorMicrosPerOperation,
        Self::ResidentMib,
    ];

    /// What a report calls it, with its unit.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::OperationsPerSecond => "Operations per second",
            Self::EventsPerSecond => "Events delivered per second",
            Self::P50Ms => "Latency p50, ms",
            Self::P90Ms => "Latency p90, ms",
            Self::P99Ms => "Latency p99, ms",
            Self::P999Ms => "Latency p99.9, ms",
            Self::MaxMs => "Latency maximum, ms",
            Self::EventP99Ms => "Put sent to event received p99, ms",
            Self::CpuMicrosPerOperation => "CPU time of the three nodes, µs per operation",
            Self::GeneratorMicrosPerOperation => "CPU time of the generator, µs per operation",
            Self::ResidentMib => "Resident memory of a node after the load, MiB",
            Self::OutageMs => "Longest time without a success, ms",
            Self::RestartSeconds => "Start until it serves, s",
            Self::QuietP99Ms => "Latency p99 of the quiet phase, ms",
            Self::P99ByQuiet => "Latency p99 under stress by p99 of the quiet phase",
            Self::ThroughputByQuiet => "Operations per second under stress by those of the quiet phase",
            Self::QuietGainedBytes => "Resident memory that a node gained in the quiet phase, bytes per put",
            Self::GainedBytes => "Resident memory that a node gained under stress, bytes per put",
            Self::SnapshotsBegun => "Snapshots begun meanwhile",
            Self::SnapshotsTaken => "Snapshots that were complete meanwhile",
        }
    }
}

/// The middle of the values; of an even number, the mean of the two in the middle. None of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// The median of the ratios of pairs, where a pair was measured in the same round. A ratio by zero is left out.
///
/// Not the ratio of medians: the machine's mood changes between rounds, and both of a pair have seen the same one.
pub(crate) fn median_ratio(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<f64> {
    median(pairs.into_iter().filter(|(_, base)| *base != 0.0).map(|(value, base)| value / base))
}

/// As many digits as a reader can use.
pub(crate) fn text(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        magnitude if magnitude >= 1000.0 => thousands(value),
        magnitude if magnitude >= 100.0 => format!("{value:.0}"),
        magnitude if magnitude >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    grouped(&number.to_string())
}

fn thousands(value: f64) -> String {
    grouped(&format!("{value:.0}"))
}

fn grouped(digits: &str) -> String {
    let mut grouped = String::new();
    for (position, digit) in digits.chars().enumerate() {
        let left = digits.len() - position;
        if position > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_whatever_the_order() {
        assert_eq!(median([]), None);
        assert_eq!(median([7.0]), Some(7.0));
        assert_eq!(median([900.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        // Both were twice as slow in the second round, and the third disturbed only one of them: still five.
        let pairs = [(5_000.0, 1_000.0), (2_500.0, 500.0), (100.0, 1_000.0)];
        assert_eq!(median_ratio(pairs), Some(5.0));
        assert_eq!(median_ratio([(1.0, 0.0)]), None);
        assert_eq!(median_ratio([(1.0, 0.0), (6.0, 2.0)]), Some(3.0));
    }

    #[test]
    fn figures_are_written_for_people() {
        let texts = [0.0, 0.123, 9.876, 12.34, 123.4, 1_234.5, 1_234_567.0, -4_321.0].map(text);
        assert_eq!(texts, ["0", "0.12", "9.88", "12.3", "123", "1,234", "1,234,567", "-4,321"]);
    }
}
