//! What a run has brought, as it is written to a file and summed up in reports.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::disk::SyncRate;
use crate::figure::{Figure, median, median_ratio, text};
use crate::machine::Machine;
use crate::plan::Plan;
use crate::process::ProcessGroup;
use crate::recording::{Outcome, as_float};
use crate::system::System;

const BYTES_PER_MIB: f64 = 1_048_576.0;

/// One load on one system in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    pub(crate) round: u32,
    pub(crate) system: System,
    pub(crate) load: String,
    pub(crate) operations: u64,
    pub(crate) errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_error: Option<String>,
    pub(crate) figures: BTreeMap<Figure, f64>,
    /// Of each node when the load had ended.
    pub(crate) resident_bytes: Vec<u64>,
}

impl Measurement {
    /// Adds what is measured after every load.
    pub(crate) fn new(
        round: u32,
        system: System,
        load: &str,
        outcome: Outcome,
        nodes: &ProcessGroup,
    ) -> Self {
        let Outcome { operations, errors, first_error, mut figures } = outcome;
        let resident_bytes = nodes.resident_bytes();
        if !resident_bytes.is_empty() {
            let count = as_float(u64::try_from(resident_bytes.len()).unwrap_or(u64::MAX));
            let mean = as_float(resident_bytes.iter().sum()) / count;
            figures.insert(Figure::ResidentMib, mean / BYTES_PER_MIB);
        }
        let load = load.to_owned();
        Self { round, system, load, operations, errors, first_error, figures, resident_bytes }
    }

    /// The most telling figures in a line.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("{:<10} {:<17}", self.system.name(), self.load);
        let shown = [
            (Figure::OperationsPerSecond, "/s"),
            (Figure::P50Ms, " ms p50"),
            (Figure::P99Ms, " ms p99"),
            (Figure::QuietP99Ms, " ms p99 quiet"),
            (Figure::OutageMs, " ms without a success"),
            (Figure::RestartSeconds, " s to serve"),
            (Figure::ResidentMib, " MiB a node"),
        ];
        for (figure, unit) in shown {
            if let Some(value) = self.figures.get(&figure) {
                line += &format!("  {:>7}{unit}", text(*value));
            }
        }
        if self.errors > 0 {
            let first = self.first_error.as_deref().unwrap_or("");
            line += &format!("  {} ERRORS, the first: {first}", self.errors);
        }
        line
    }
}

/// Everything that a run has measured, and of what.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// What each system says its version is.
    pub(crate) versions: BTreeMap<System, String>,
    /// In the order in which they take turns.
    pub(crate) systems: Vec<System>,
    /// Name and description of each load, in order.
    pub(crate) loads: Vec<(String, String)>,
    pub(crate) rounds: u32,
    pub(crate) clients: usize,
    pub(crate) connections: usize,
    /// None in a closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) seconds: f64,
    pub(crate) keys: u64,
    pub(crate) many_keys: u64,
    pub(crate) leases: u64,
    pub(crate) value_bytes: usize,
    /// Of each round.
    pub(crate) disk: Vec<SyncRate>,
    pub(crate) measurements: Vec<Measurement>,
}

impl Results {
    /// Nothing measured yet.
    ///
    /// # Errors
    /// If a system does not tell its version.
    pub(crate) fn new(plan: &Plan) -> Result<Self> {
        let settings = &plan.settings;
        let version = |system: &System| Ok((*system, plan.programs.version(*system)?));
        Ok(Self {
            machine: Machine::look(&plan.scratch),
            versions: plan.systems.iter().map(version).collect::<Result<_>>()?,
            systems: plan.systems.clone(),
            loads: plan.loads.iter().map(|load| (load.name().to_owned(), load.description())).collect(),
            rounds: plan.rounds,
            clients: settings.clients,
            connections: settings.connections,
            rate: settings.pace.per_second(),
            seconds: settings.span.measured.as_secs_f64(),
            keys: settings.keys,
            many_keys: settings.many_keys,
            leases: settings.leases,
            value_bytes: settings.value_bytes,
            disk: Vec::new(),
            measurements: Vec::new(),
        })
    }

    /// The median over all rounds.
    pub(crate) fn median(&self, system: System, load: &str, figure: Figure) -> Option<f64> {
        median(self.by_round(system, load, figure).into_values())
    }

    /// The median over all rounds of `system`'s figure by `base`'s.
    pub(crate) fn ratio(&self, system: System, base: System, load: &str, figure: Figure) -> Option<f64> {
        let values = self.by_round(system, load, figure);
        let bases = self.by_round(base, load, figure);
        median_ratio(values.iter().filter_map(|(round, value)| Some((*value, *bases.get(round)?))))
    }

    /// All errors of a load, over all rounds.
    pub(crate) fn errors(&self, system: System, load: &str) -> u64 {
        self.of(system, load).map(|measurement| measurement.errors).sum()
    }

    /// What an unattended run must not pass over: loads of this project's that failed or did nothing.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let own = self.measurements.iter().filter(|measurement| measurement.system == System::Ruvector);
        let mut complaints: Vec<String> = own
            .filter(|measurement| measurement.errors > 0 || measurement.operations == 0)
            .map(|measurement| {
                let error = measurement.first_error.as_deref().unwrap_or("none");
                let Measurement { load, operations, errors, .. } = measurement;
                format!("{load}: {operations} operations and {errors} errors, the first: {error}")
            })
            .collect();
        if self.measurements.iter().all(|measurement| measurement.system != System::Ruvector) {
            complaints.push("nothing was measured".to_owned());
        }
        complaints
    }

    fn by_round(&self, system: System, load: &str, figure: Figure) -> BTreeMap<u32, f64> {
        let measured = self.of(system, load);
        measured.filter_map(|of| Some((of.round, *of.figures.get(&figure)?))).collect()
    }

    fn of(&self, system: System, load: &str) -> impl Iterator<Item = &Measurement> {
        self.measurements
            .iter()
            .filter(move |measurement| measurement.system == system && measurement.load == load)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Three rounds of two loads, the second of which failed once.
    pub(crate) fn example() -> Results {
        let measurement = |round, system, load: &str, per_second: f64, errors| Measurement {
            round,
            system,
            load: load.to_owned(),
            operations: 100,
            errors,
            first_error: (errors > 0).then(|| "no leader".to_owned()),
            figures: [(Figure::OperationsPerSecond, per_second), (Figure::P99Ms, 1e4 / per_second)].into(),
            resident_bytes: vec![1 << 20],
        };
        let mut measurements = Vec::new();
        for (round, own, other) in [(1, 5_000.0, 1_000.0), (2, 2_000.0, 500.0), (3, 900.0, 150.0)] {
            measurements.push(measurement(round, System::Etcd, "put", other, 0));
            measurements.push(measurement(round, System::Ruvector, "put", own, 0));
            measurements.push(measurement(round, System::Ruvector, "get", 10.0 * own, u64::from(round == 2)));
        }
        Results {
            machine: Machine::default(),
            versions: [(System::Etcd, "3.4.23".to_owned()), (System::Ruvector, "0.1.0".to_owned())].into(),
            systems: vec![System::Etcd, System::Ruvector],
            loads: vec![("put".to_owned(), "put".to_owned()), ("get".to_owned(), "get".to_owned())],
            rounds: 3,
            clients: 64,
            connections: 8,
            rate: None,
            seconds: 5.0,
            keys: 10_000,
            many_keys: 1_000_000,
            leases: 10_000,
            value_bytes: 256,
            disk: vec![SyncRate::default()],
            measurements,
        }
    }

    #[test]
    fn medians_and_ratios_are_those_of_rounds() {
        let results = example();
        let figure = Figure::OperationsPerSecond;
        assert_eq!(results.median(System::Ruvector, "put", figure), Some(2_000.0));
        assert_eq!(results.median(System::Etcd, "put", figure), Some(500.0));
        // Of 5, 4 and 6; the ratio of the medians would be 4.
        assert_eq!(results.ratio(System::Ruvector, System::Etcd, "put", figure), Some(5.0));
        assert_eq!(results.ratio(System::Ruvector, System::Etcd, "get", figure), None);
    }

    #[test]
    fn errors_and_idleness_are_complained_of() {
        let mut results = example();
        assert_eq!(results.errors(System::Ruvector, "get"), 1);
        assert_eq!(results.complaints(), ["get: 100 operations and 1 errors, the first: no leader"]);
        results.measurements.retain(|measurement| measurement.load == "put");
        assert_eq!(results.complaints(), [""; 0]);
        results.measurements[1].operations = 0;
        assert_eq!(results.complaints(), ["put: 0 operations and 0 errors, the first: none"]);
        results.measurements.retain(|measurement| measurement.system == System::Etcd);
        assert_eq!(results.complaints(), ["nothing was measured"]);
    }
}
