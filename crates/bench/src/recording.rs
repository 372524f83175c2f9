//! What is written down while a load runs.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::figure::Figure;

/// Longer latencies are recorded as this.
const LATENCY_MAX: Duration = Duration::from_secs(120);
/// Digits of a recorded latency that are right.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies, to a thousandth of their value.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, as_micros(LATENCY_MAX), SIGNIFICANT_DIGITS);
        Self(histogram.expect("the bounds are in order"))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(as_micros(latency));
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that this part of all stayed within; zero of none.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        micros_to_ms(self.0.value_at_quantile(quantile))
    }

    pub(crate) fn max_ms(&self) -> f64 {
        micros_to_ms(self.0.max())
    }
}

/// What a measured stretch of a load brought.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    /// Of the operations that succeeded.
    pub(crate) latencies: Latencies,
    pub(crate) errors: u64,
    /// What the first of the errors said.
    pub(crate) first_error: Option<String>,
    /// From the first moment that counts to the end of the last operation that counts.
    pub(crate) elapsed: Duration,
    /// User and system time that the nodes took meanwhile.
    pub(crate) cpu: Duration,
    /// The same of the generator.
    pub(crate) generator_cpu: Duration,
}

impl Recording {
    pub(crate) fn new() -> Self {
        Self {
            latencies: Latencies::new(),
            errors: 0,
            first_error: None,
            elapsed: Duration::ZERO,
            cpu: Duration::ZERO,
            generator_cpu: Duration::ZERO,
        }
    }

    pub(crate) fn succeeded(&mut self, latency: Duration) {
        self.latencies.record(latency);
    }

    pub(crate) fn failed(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
    }

    /// Throughput, latencies and CPU time.
    pub(crate) fn outcome(&self) -> Outcome {
        let operations = self.latencies.count();
        let mut figures = BTreeMap::from([
            (Figure::OperationsPerSecond, ratio(operations, self.elapsed.as_secs_f64())),
            (Figure::P50Ms, self.latencies.quantile_ms(0.5)),
            (Figure::P90Ms, self.latencies.quantile_ms(0.9)),
            (Figure::P99Ms, self.latencies.quantile_ms(0.99)),
            (Figure::P999Ms, self.latencies.quantile_ms(0.999)),
            (Figure::MaxMs, self.latencies.max_ms()),
        ]);
        if operations > 0 {
            let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / as_float(operations);
            figures.insert(Figure::CpuMicrosPerOperation, each(self.cpu));
            figures.insert(Figure::GeneratorMicrosPerOperation, each(self.generator_cpu));
        }
        Outcome { operations, errors: self.errors, first_error: self.first_error.clone(), figures }
    }
}

/// What a load has to say about a system.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) operations: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) figures: BTreeMap<Figure, f64>,
}

impl Outcome {
    /// Of a load that could not be run.
    pub(crate) fn failed(error: &anyhow::Error) -> Self {
        Self { errors: 1, first_error: Some(format!("{error:#}")), ..Self::default() }
    }
}

/// So many in so many seconds; zero if there was no time.
pub(crate) fn ratio(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { as_float(count) / seconds } else { 0.0 }
}

/// Counts here stay far below 2^53.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn as_float(count: u64) -> f64 {
    count as f64
}

/// A time in milliseconds, with its fraction.
pub(crate) fn as_ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn as_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn micros_to_ms(micros: u64) -> f64 {
    as_float(micros) / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= expected * 0.001
    }

    #[test]
    fn quantiles_are_right_to_a_thousandth() {
        let mut latencies = Latencies::new();
        for micros in 1..=100_000 {
            latencies.record(Duration::from_micros(micros));
        }
        assert_eq!(latencies.count(), 100_000);
        for (quantile, expected_ms) in [(0.5, 50.0), (0.9, 90.0), (0.99, 99.0), (0.999, 99.9)] {
            let value = latencies.quantile_ms(quantile);
            assert!(close(value, expected_ms), "{quantile}: {value} ms");
        }
        assert!(close(latencies.max_ms(), 100.0));
    }

    #[test]
    fn latencies_beyond_all_bounds_still_count() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(10_000));
        assert_eq!(latencies.count(), 2);
        assert!(close(latencies.max_ms(), as_ms(LATENCY_MAX)));
    }

    #[test]
    fn an_outcome_counts_successes_only() {
        let mut recording = Recording::new();
        for _ in 0..10 {
            recording.succeeded(Duration::from_millis(2));
        }
        recording.failed(&anyhow::anyhow!("no leader"));
        recording.failed(&anyhow::anyhow!("too late"));
        recording.elapsed = Duration::from_secs(2);
        recording.cpu = Duration::from_millis(1);
        recording.generator_cpu = Duration::from_millis(2);
        let outcome = recording.outcome();
        assert_eq!((outcome.operations, outcome.errors), (10, 2));
        assert_eq!(outcome.first_error.as_deref(), Some("no leader"));
        assert!(close(outcome.figures[&Figure::OperationsPerSecond], 5.0));
        assert!(close(outcome.figures[&Figure::CpuMicrosPerOperation], 100.0));
        assert!(close(outcome.figures[&Figure::GeneratorMicrosPerOperation], 200.0));
    }
}
