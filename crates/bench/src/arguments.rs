//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};

use crate::drive::{Pace, Span};
use crate::load::{Load, Settings};
use crate::loads;
use crate::plan::Plan;
use crate::programs::Programs;
use crate::system::System;

/// Measures this project's server beside etcd, ZooKeeper and a server that does nothing.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunArguments,
}

/// What else this program is.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve etcd's key-value API without doing anything, until killed.
    CeilingServer {
        /// Where to listen.
        #[arg(long, value_name = "HOST:PORT")]
        listen: SocketAddr,
    },
    /// Say which loads there are.
    Loads,
}

/// What is run and where the results go.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Only these loads; all if left out. `bench loads` lists them.
    #[arg(long, value_delimiter = ',', value_name = "LOAD,…")]
    loads: Vec<String>,
    /// Only these systems, which take turns; all that are there if left out.
    #[arg(long, value_delimiter = ',', value_name = "SYSTEM,…")]
    systems: Vec<System>,
    /// How often all systems take their turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long a load is measured [default: 5, or 0.5 with --quick].
    #[arg(long, value_parser = parse_seconds)]
    seconds: Option<f64>,
    /// Clients of the loads that don't set their number themselves.
    #[arg(long, default_value_t = 64, value_parser = parse_count)]
    clients: usize,
    /// Connections that the clients share.
    #[arg(long, default_value_t = 8, value_parser = parse_count)]
    connections: usize,
    /// Operations a second, over all clients: an open loop, in which latencies count from when an operation was due.
    #[arg(long, value_name = "PER-SECOND", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Keys of the memory and restart loads [default: 1000000, or 10000 with --quick].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    many_keys: Option<u64>,
    /// A smoke test: one short round on little data, of this project's server and of etcd if it is there. Fails if an
    /// operation fails or a load does nothing.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write all that was measured to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the measured part of this page, between its markers, and its plots.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Where data directories are made, on the disk that is to be measured [default: beside this program].
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// The first of the thirty ports on which nodes listen.
    #[arg(long, default_value_t = 24_600, value_parser = clap::value_parser!(u16).range(1024..=65_000))]
    base_port: u16,
    /// The `ruvector` to measure [default: the one beside this program].
    #[arg(long, value_name = "FILE")]
    ruvector_bin: Option<PathBuf>,
    /// The etcd to measure.
    #[arg(long, value_name = "FILE", default_value = "etcd")]
    etcd_bin: PathBuf,
    /// The Java that runs ZooKeeper.
    #[arg(long, value_name = "FILE", default_value = "java")]
    java_bin: PathBuf,
}

impl RunArguments {
    /// What is to be run. Says on standard error which systems are left out, and why.
    ///
    /// # Errors
    /// If a load is unknown or this project's own program is missing.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let programs = self.programs()?;
        let scratch = match &self.scratch {
            Some(directory) => directory.clone(),
            None => programs.bench.parent().context("this program lies nowhere")?.join("bench-scratch"),
        };
        std::fs::create_dir_all(&scratch).with_context(|| format!("can't make {}", scratch.display()))?;
        Ok(Plan {
            systems: self.systems(&programs)?,
            loads: self.loads()?,
            rounds: if self.quick { 1 } else { self.rounds },
            settings: self.settings(),
            programs,
            scratch: scratch.canonicalize()?,
            base_port: self.base_port,
        })
    }

    fn programs(&self) -> Result<Programs> {
        let bench = std::env::current_exe().context("can't find this program's own file")?;
        let ruvector = match &self.ruvector_bin {
            Some(file) => file.clone(),
            None => bench.with_file_name("ruvector"),
        };
        Ok(Programs { ruvector, etcd: self.etcd_bin.clone(), java: self.java_bin.clone(), bench })
    }

    fn systems(&self, programs: &Programs) -> Result<Vec<System>> {
        let wanted = match (&self.systems[..], self.quick) {
            ([], true) => &[System::Etcd, System::Ruvector][..],
            ([], false) => &[System::Etcd, System::Ruvector, System::ZooKeeper, System::Ceiling],
            (chosen, _) => chosen,
        };
        let mut systems: Vec<System> = Vec::new();
        for system in wanted {
            match programs.obstacle(*system) {
                None if systems.contains(system) => {}
                None => systems.push(*system),
                Some(obstacle) if *system == System::Ruvector => bail!("{obstacle}"),
                Some(obstacle) => eprintln!("{}: SKIPPED: {obstacle}", system.name()),
            }
        }
        ensure!(!systems.is_empty(), "there is no system to measure");
        Ok(systems)
    }

    fn loads(&self) -> Result<Vec<Box<dyn Load>>> {
        let all = loads::all();
        for name in &self.loads {
            let known: Vec<&str> = all.iter().map(|load| load.name()).collect();
            ensure!(known.contains(&name.as_str()), "there is no load {name}, only {}", known.join(", "));
        }
        let chosen = |name: &str| self.loads.is_empty() || self.loads.iter().any(|chosen| chosen == name);
        Ok(all.into_iter().filter(|load| chosen(load.name())).collect())
    }

    fn settings(&self) -> Settings {
        let choose = |full, quick| if self.quick { quick } else { full };
        let seconds = self.seconds.unwrap_or(if self.quick { 0.5 } else { 5.0 });
        let measured = Duration::from_secs_f64(seconds);
        Settings {
            clients: self.clients,
            connections: self.connections,
            pace: self.rate.map_or(Pace::Closed, |per_second| Pace::Open { per_second }),
            span: Span { warm_up: measured / 5, measured },
            value_bytes: 256,
            keys: choose(10_000, 1_000),
            many_keys: self.many_keys.unwrap_or(choose(1_000_000, 10_000)),
            leases: choose(10_000, 1_000),
            settle: Duration::from_millis(choose(3_000, 100)),
        }
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    in_range(text, 0.1, 86_400.0)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    in_range(text, 0.1, 1e6)
}

fn in_range(text: &str, min: f64, max: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(format!("a number from {min} to {max} is needed")),
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    const MAX: usize = 100_000;
    match text.parse::<usize>() {
        Ok(number) if (1..=MAX).contains(&number) => Ok(number),
        Ok(_) | Err(_) => Err(format!("a number from 1 to {MAX} is needed")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<RunArguments, clap::Error> {
        Arguments::try_parse_from(["bench"].iter().chain(words)).map(|arguments| arguments.run)
    }

    #[test]
    fn loads_are_chosen_by_name_and_run_in_their_own_order() {
        let names = |words: &[&str]| -> Result<Vec<&str>> {
            Ok(parse(words).unwrap().loads()?.iter().map(|load| load.name()).collect())
        };
        assert_eq!(names(&["--loads", "get,put"]).unwrap(), ["put", "get"]);
        assert_eq!(names(&[]).unwrap().len(), loads::all().len());
        let error = names(&["--loads", "put,got"]).unwrap_err().to_string();
        assert!(error.starts_with("there is no load got, only put, put-1,"), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            ["--rounds", "0"],
            ["--seconds", "0"],
            ["--seconds", "NaN"],
            ["--rate", "-1"],
            ["--clients", "0"],
            ["--systems", "consul"],
        ] {
            assert!(parse(&words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_rate_makes_an_open_loop() {
        assert_eq!(parse(&[]).unwrap().settings().pace, Pace::Closed);
        let pace = parse(&["--rate", "1000"]).unwrap().settings().pace;
        assert_eq!(pace, Pace::Open { per_second: 1000.0 });
    }
}
