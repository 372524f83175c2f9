//! The course of a run: systems take turns, round by round, and every load runs on each of them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::disk::sync_rate;
use crate::load::{Ground, Load, Settings};
use crate::results::{Measurement, Results};
use crate::system::{Cluster, Programs, System};

/// What to run.
pub(crate) struct Plan {
    pub(crate) systems: Vec<System>,
    pub(crate) loads: Vec<Box<dyn Load>>,
    pub(crate) rounds: u32,
    pub(crate) settings: Settings,
    pub(crate) programs: Programs,
    /// Where data directories are made.
    pub(crate) scratch: PathBuf,
    pub(crate) base_port: u16,
}

impl Plan {
    /// Runs everything, telling on standard error how it goes.
    ///
    /// # Errors
    /// If a system does not start or a load can't be run. Failed operations are in the results.
    pub(crate) async fn run(&self) -> Result<Results> {
        let mut results = Results::new(self)?;
        for round in 1..=self.rounds {
            let disk = sync_rate(&self.scratch).context("the disk's sync rate can't be measured")?;
            eprintln!("round {round}/{}  disk: {disk}", self.rounds);
            results.disk.push(disk);
            for system in &self.systems {
                for ground in [Ground::Common, Ground::Filled] {
                    let measurements = self.run_on(*system, ground, round).await?;
                    results.measurements.extend(measurements);
                }
            }
        }
        Ok(results)
    }

    /// All loads of one system that want the same ground, on a new cluster.
    async fn run_on(&self, system: System, ground: Ground, round: u32) -> Result<Vec<Measurement>> {
        let loads: Vec<&dyn Load> = self.loads.iter().map(Box::as_ref).collect();
        let wanted = |load: &&dyn Load| load.ground() == ground && load.runs_on(system);
        let loads: Vec<&dyn Load> = loads.into_iter().filter(wanted).collect();
        let mut measurements = Vec::new();
        if loads.is_empty() {
            return Ok(measurements);
        }
        let mut cluster = Cluster::start(system, &self.programs, &self.scratch, self.base_port).await?;
        if ground == Ground::Filled {
            let Settings { many_keys, value_bytes, .. } = self.settings;
            cluster.fill(many_keys, value_bytes).await?;
        }
        for load in loads {
            let doing = || format!("{} on {}, round {round}", load.name(), system.name());
            let outcome = load.measure(&mut cluster, &self.settings).await.with_context(doing)?;
            let measurement = Measurement::new(round, system, load.name(), outcome, &cluster.processes());
            eprintln!("round {round}/{}  {}", self.rounds, measurement.line());
            measurements.push(measurement);
        }
        Ok(measurements)
    }
}
