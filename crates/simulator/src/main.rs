//! Simulates seeds and says which of them show a bug.

use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ruvector_simulator::campaign::{Campaign, Plan};
use ruvector_simulator::pool::available_threads;
use ruvector_simulator::{Options, Outcome, PlantedBug, simulate};

/// Runs the real replica on simulated disks, networks and clocks, with faults, and checks what comes of it.
#[derive(Debug, Parser)]
#[command(name = "simulate")]
struct Arguments {
    /// The seeds to run, as in 0..2000 (the last one is not run).
    #[arg(long, value_name = "A..B", conflicts_with_all = ["seed", "minutes"], default_value = "0..2000", value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// Run new seeds for so many minutes, on after a failure.
    #[arg(long, conflicts_with = "seed", value_parser = parse_minutes)]
    minutes: Option<f64>,
    /// One seed to run.
    #[arg(long)]
    seed: Option<u64>,
    /// Print everything that happens in the one seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// A bug to give all nodes, to see it found.
    #[arg(long, value_name = "NAME", value_parser = bug_names())]
    bug: Option<PlantedBug>,
    /// Run on after a failing seed.
    #[arg(long)]
    keep_going: bool,
    /// Fail also if one of the rare situations was not reached.
    #[arg(long, conflicts_with = "seed")]
    all_marks: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// How many seeds are run at a time.
    #[arg(long)]
    threads: Option<usize>,
}

/// More threads than this help nobody.
const THREADS_MAX: usize = 1024;
/// After so many failures there is enough to look at.
const FAILURES_MAX: usize = 100;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let options = Options { planted_bug: arguments.bug, traced: arguments.trace };
    if let Some(seed) = arguments.seed {
        let outcome = simulate(seed, options);
        print_outcome(&outcome, &arguments);
        return Ok(exit_code(outcome.violation.is_none()));
    }
    let plan = plan(&arguments, options)?;
    let progress = !arguments.json && std::io::stderr().is_terminal();
    let campaign = Campaign::run(&plan, |campaign| {
        if progress {
            eprint!("\r{} seeds, {} failed ", campaign.seeds, campaign.failures.len());
        }
    });
    if progress {
        eprintln!();
    }
    let missing = if arguments.all_marks { campaign.marks.missing() } else { Vec::new() };
    if arguments.json {
        println!("{}", campaign.to_json());
    } else {
        print_campaign(&campaign, &arguments);
    }
    for situation in &missing {
        eprintln!("error: no seed reached this: {situation}");
    }
    Ok(exit_code(campaign.failures.is_empty() && missing.is_empty()))
}

fn exit_code(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn plan(arguments: &Arguments, options: Options) -> Result<Plan> {
    let threads = arguments.threads.unwrap_or_else(available_threads).clamp(1, THREADS_MAX);
    let time_max = arguments.minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let seeds = match time_max {
        Some(_) => fresh_seed()?..u64::MAX,
        None => arguments.seeds.clone(),
    };
    ensure!(!seeds.is_empty(), "there is no seed in {}..{}", seeds.start, seeds.end);
    let is_patient = arguments.keep_going || time_max.is_some();
    let failures_max = if is_patient { FAILURES_MAX } else { 1 };
    Ok(Plan { seeds, time_max, failures_max, threads, options })
}

/// Where seeds begin that were not run before: one for each microsecond since 1970.
fn fresh_seed() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    u64::try_from(now.as_micros()).context("the clock stands too late")
}

fn print_outcome(outcome: &Outcome, arguments: &Arguments) {
    let mut out = std::io::stdout().lock();
    let failure = outcome.violation.as_ref().map(ToString::to_string);
    // Nobody reads on if this can't be written.
    let _ = if arguments.json {
        let counts: Vec<_> = outcome.statistics.counts();
        let counts: serde_json::Map<_, _> =
            counts.into_iter().map(|(label, count)| (label.to_owned(), count.into())).collect();
        let trace_hash = format!("{:016x}", outcome.trace_hash);
        let result = serde_json::json!({
            "seed": outcome.seed, "failure": failure, "counts": counts, "trace_hash": trace_hash,
        });
        writeln!(out, "{result}")
    } else {
        let failure = failure.map_or_else(|| "passes".to_owned(), |failure| format!("fails: {failure}"));
        writeln!(
            out,
            "{}  trace hash {:016x}\n\nseed {} {failure}",
            outcome.statistics, outcome.trace_hash, outcome.seed
        )
    };
}

fn print_campaign(campaign: &Campaign, arguments: &Arguments) {
    print!("{campaign}");
    for failure in &campaign.failures {
        if let Some(violation) = &failure.violation {
            println!("\nseed {} fails: {violation}\n  {}", failure.seed, replay(failure.seed, arguments.bug));
        }
    }
    if let [shortest, _, ..] = campaign.failures.as_slice() {
        println!("\nthe shortest of them: {} --trace", replay(shortest.seed, arguments.bug));
    }
}

/// The command that runs a seed again.
fn replay(seed: u64, bug: Option<PlantedBug>) -> String {
    let bug = bug.map_or(String::new(), |bug| format!(" --bug {}", bug.name()));
    format!("cargo xtask simulate --seed {seed}{bug}")
}

/// Reads the name of a planted bug.
fn bug_names() -> impl TypedValueParser<Value = PlantedBug> {
    PossibleValuesParser::new(PlantedBug::ALL.iter().map(|bug| bug.name())).map(|name| {
        let named = PlantedBug::ALL.iter().copied().find(|bug| bug.name() == name);
        named.expect("only names of bugs are possible")
    })
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = text.split_once("..").ok_or("two numbers with .. between them are needed")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    Ok(number(start)?..number(end)?)
}

fn parse_minutes(text: &str) -> Result<f64, String> {
    const MINUTES_MAX: f64 = 100_000.0;
    match text.parse::<f64>() {
        Ok(minutes) if (0.0..=MINUTES_MAX).contains(&minutes) => Ok(minutes),
        Ok(_) | Err(_) => Err(format!("a number from 0 to {MINUTES_MAX} is needed")),
    }
}
