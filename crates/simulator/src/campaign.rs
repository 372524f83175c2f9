//! Many seeds together: what they reached, what they found, and how fast.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::marks::Marks;
use crate::pool::simulate_many;
use crate::simulation::{Options, Outcome};
use crate::statistics::Statistics;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seeds, of which the last is not run.
    pub seeds: Range<u64>,
    /// No seed is begun after so much time.
    pub time_max: Option<Duration>,
    /// No seed is begun after so many failed.
    pub failures_max: usize,
    /// How many seeds are run at a time.
    pub threads: usize,
    /// How each is run.
    pub options: Options,
}

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Campaign {
    /// How many were run.
    pub seeds: u64,
    /// What happened in them, added up.
    pub statistics: Statistics,
    /// The rare situations that they reached, added up.
    pub marks: Marks,
    /// Those that broke a promise, the shortest simulation first.
    pub failures: Vec<Outcome>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Campaign {
    /// Runs a plan. `progress` is told after each seed how things stand.
    pub fn run(plan: &Plan, mut progress: impl FnMut(&Self) + Send) -> Self {
        let started = Instant::now();
        let mut campaign = Self::default();
        simulate_many(plan.seeds.clone(), plan.options, plan.threads, |outcome| {
            campaign.add(outcome, started.elapsed());
            progress(&campaign);
            let is_late = plan.time_max.is_some_and(|time_max| campaign.elapsed >= time_max);
            let is_enough = is_late || campaign.failures.len() >= plan.failures_max;
            if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        campaign.failures.sort_by_key(|failure| (failure.statistics.events, failure.seed));
        campaign
    }

    fn add(&mut self, outcome: Outcome, elapsed: Duration) {
        self.seeds += 1;
        self.elapsed = elapsed;
        self.statistics += outcome.statistics;
        self.marks += outcome.marks;
        if outcome.violation.is_some() {
            self.failures.push(outcome);
        }
    }

    /// How many hours were simulated in each minute.
    #[must_use]
    pub fn simulated_hours_per_minute(&self) -> f64 {
        self.statistics.simulated_hours() / (self.elapsed.as_secs_f64() / 60.0).max(f64::MIN_POSITIVE)
    }

    /// All of it for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let map = |counts: Vec<(&'static str, u64)>| -> serde_json::Map<_, _> {
            counts.into_iter().map(|(label, count)| (label.to_owned(), count.into())).collect()
        };
        let failures = self.failures.iter().filter_map(|failure| {
            let violation = failure.violation.as_ref()?;
            let rule = format!("{:?}", violation.rule);
            Some(json!({ "seed": failure.seed, "rule": rule, "details": violation.details }))
        });
        json!({
            "seeds": self.seeds,
            "seconds": self.elapsed.as_secs_f64(),
            "simulated_hours": self.statistics.simulated_hours(),
            "failures": failures.collect::<Vec<_>>(),
            "counts": map(self.statistics.counts()),
            "marks": map(self.marks.counts()),
        })
    }
}

impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "what happened\n{}", self.statistics)?;
        writeln!(f, "rare situations that were reached\n{}", self.marks)?;
        writeln!(
            f,
            "{} seeds in {:.1} s, {:.1} simulated hours ({:.1} a minute), {} failed",
            self.seeds,
            self.elapsed.as_secs_f64(),
            self.statistics.simulated_hours(),
            self.simulated_hours_per_minute(),
            self.failures.len()
        )
    }
}
