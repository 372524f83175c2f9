//! Simulates seeds and says which of them show a bug.

use std::io::IsTerminal;
use std::ops::{ControlFlow, Range};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use ruvector_protocol::PlantedBug;
use ruvector_simulator::pool::{available_threads, simulate_many};
use ruvector_simulator::{Options, Outcome, Statistics};

/// Runs the real replica on simulated disks, networks and clocks, with faults, and checks what comes of it.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// The seeds to run, as in 0..2000 (the last one is not run).
    #[arg(long, value_name = "A..B", conflicts_with = "seed", default_value = "0..2000", value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// One seed to run.
    #[arg(long)]
    seed: Option<u64>,
    /// Print everything that happens in the one seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// A bug to give all nodes, to see it found.
    #[arg(long)]
    bug: Option<Bug>,
    /// Run on after a failing seed.
    #[arg(long)]
    keep_going: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// How many seeds are run at a time.
    #[arg(long)]
    threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Bug {
    /// A vote leaves before it is durable.
    VoteBeforeDurable,
    /// An entry of an older term is committed by counting.
    CommitOlderTerm,
    /// A read is served before the term's no-op is committed.
    ReadBeforeNoop,
}

impl From<Bug> for PlantedBug {
    fn from(bug: Bug) -> Self {
        match bug {
            Bug::VoteBeforeDurable => Self::VoteBeforeDurable,
            Bug::CommitOlderTerm => Self::CommitOlderTermByCounting,
            Bug::ReadBeforeNoop => Self::ReadIndexBeforeNoop,
        }
    }
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let seeds = match arguments.seed {
        Some(seed) => seed..seed.checked_add(1).context("the seed is too large")?,
        None => arguments.seeds.clone(),
    };
    let options = Options { planted_bug: arguments.bug.map(Into::into), traced: arguments.trace };
    let started = Instant::now();
    let run = run_all(seeds, options, &arguments)?;
    if arguments.json {
        print_json(&run);
    } else {
        print_summary(&run, &arguments, started.elapsed().as_secs_f64());
    }
    Ok(if run.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of all seeds.
#[derive(Default)]
struct Run {
    seeds: u64,
    statistics: Statistics,
    failures: Vec<Outcome>,
    /// Of the only seed.
    trace_hash: Option<u64>,
}

fn run_all(seeds: Range<u64>, options: Options, arguments: &Arguments) -> Result<Run> {
    let mut run = Run::default();
    let count = seeds.end.saturating_sub(seeds.start);
    if count == 0 {
        bail!("there is no seed in {}..{}", seeds.start, seeds.end);
    }
    let threads = arguments.threads.unwrap_or_else(available_threads).clamp(1, THREADS_MAX);
    let progress = !arguments.json && !arguments.trace && std::io::stderr().is_terminal();
    simulate_many(seeds, options, threads, |outcome| {
        let enough = outcome.violation.is_some() && !arguments.keep_going;
        run.add(outcome);
        if progress {
            eprint!("\r{} of {count} seeds, {} failed ", run.seeds, run.failures.len());
        }
        if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if progress {
        eprintln!();
    }
    run.failures.sort_by_key(|failure| failure.seed);
    Ok(run)
}

/// More threads than this help nobody.
const THREADS_MAX: usize = 1024;

impl Run {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.statistics += outcome.statistics;
        self.trace_hash = Some(outcome.trace_hash);
        if outcome.violation.is_some() {
            self.failures.push(outcome);
        }
    }
}

fn print_summary(run: &Run, arguments: &Arguments, seconds: f64) {
    print!("{}", run.statistics);
    if let (Some(_), Some(hash)) = (arguments.seed, run.trace_hash) {
        println!("  trace hash {hash:016x}");
    }
    for failure in &run.failures {
        if let Some(violation) = &failure.violation {
            println!("\nseed {} fails: {violation}\n  {}", failure.seed, replay(failure.seed, arguments.bug));
        }
    }
    println!("\n{} seeds in {seconds:.1} s, {} failed", run.seeds, run.failures.len());
}

/// The command that runs a seed again.
fn replay(seed: u64, bug: Option<Bug>) -> String {
    let bug = bug.and_then(|bug| bug.to_possible_value());
    let bug = bug.map_or(String::new(), |bug| format!(" --bug {}", bug.get_name()));
    format!("cargo xtask simulate --seed {seed}{bug}")
}

fn print_json(run: &Run) {
    let failures: Vec<_> = run
        .failures
        .iter()
        .filter_map(|failure| {
            let violation = failure.violation.as_ref()?;
            Some(serde_json::json!({
                "seed": failure.seed,
                "rule": format!("{:?}", violation.rule),
                "details": violation.details,
            }))
        })
        .collect();
    let counts: serde_json::Map<_, _> =
        run.statistics.counts().into_iter().map(|(label, count)| (label.to_owned(), count.into())).collect();
    println!("{}", serde_json::json!({ "seeds": run.seeds, "failures": failures, "counts": counts }));
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = text.split_once("..").ok_or("two numbers with .. between them are needed")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    Ok(number(start)?..number(end)?)
}
