//! The course of a run: systems take turns, round by round, and every load runs on each of them.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::disk::sync_rate;
use crate::load::{Ground, Load, Settings};
use crate::plan::Plan;
use crate::recording::Outcome;
use crate::results::{Measurement, Results};
use crate::system::System;

/// A load, or what must be written before it, that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(900);

impl Plan {
    /// Runs everything, telling on standard error how it goes.
    ///
    /// # Errors
    /// If the disk can't be written or a system does not tell its version. What fails later is in the results.
    pub(crate) async fn run(&self) -> Result<Results> {
        let mut results = Results::new(self)?;
        for round in 1..=self.rounds {
            let disk = sync_rate(&self.scratch).context("the disk's sync rate can't be measured")?;
            eprintln!("round {round}/{}  disk: {disk}", self.rounds);
            results.disk.push(disk);
            for system in &self.systems {
                for ground in Ground::ALL {
                    results.measurements.extend(self.run_on(*system, ground, round).await);
                }
            }
        }
        Ok(results)
    }

    /// All loads of one system that want the same ground, on a new cluster. What can't be run is an error among the
    /// measurements, since the other systems and rounds are worth having.
    async fn run_on(&self, system: System, ground: Ground, round: u32) -> Vec<Measurement> {
        let loads = self.loads.iter().filter(|load| load.ground() == ground && load.runs_on(system));
        let loads: Vec<&dyn Load> = loads.map(Box::as_ref).collect();
        let mut measurements = Vec::new();
        if loads.is_empty() {
            return measurements;
        }
        let mut cluster = self.prepare(system, ground).await;
        for load in loads {
            let outcome = match &mut cluster {
                Ok(cluster) => in_time(load.measure(cluster, &self.settings)).await,
                Err(error) => Err(anyhow!("{error:#}")),
            };
            let outcome = outcome.unwrap_or_else(|error| Outcome::failed(&error));
            let nodes = cluster.as_ref().map(Cluster::processes).unwrap_or_default();
            let measurement = Measurement::new(round, system, load.name(), outcome, &nodes);
            eprintln!("round {round}/{}  {}", self.rounds, measurement.line());
            measurements.push(measurement);
        }
        measurements
    }

    async fn prepare(&self, system: System, ground: Ground) -> Result<Cluster> {
        let mut cluster = Cluster::start(system, &self.programs, &self.scratch, self.base_port).await?;
        if ground == Ground::Filled {
            let Settings { many_keys, value_bytes, .. } = self.settings;
            in_time(cluster.fill(many_keys, value_bytes)).await?;
        }
        Ok(cluster)
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(LIMIT, work).await.unwrap_or_else(|_| Err(anyhow!("it has not ended within {LIMIT:?}")))
}
