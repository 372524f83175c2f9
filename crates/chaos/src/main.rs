//! Breaks real nodes on purpose and says what came of it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use ruvector_chaos::fault::Kind;
use ruvector_chaos::{Options, cluster, requirements, run};

/// Runs three real nodes in network namespaces, brings faults over them under load, and checks what comes of it.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// How long faults come; judging takes a little longer.
    #[arg(long, default_value_t = 5.0, value_parser = parse_minutes)]
    minutes: f64,
    /// From which the faults are drawn; another one each time if left out.
    #[arg(long)]
    seed: Option<u64>,
    /// Only faults of these kinds; all if left out.
    #[arg(long = "fault", value_name = "KIND")]
    faults: Vec<Kind>,
    /// The `ruvector` to run; the one beside this program if left out.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(obstacle) = requirements::obstacle() {
        println!("chaos: SKIPPED: {obstacle}");
        return Ok(ExitCode::SUCCESS);
    }
    let options = options(&arguments)?;
    eprintln!("seed {}", options.seed);
    let report = run(&options)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("\n{report}");
    }
    Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn options(arguments: &Arguments) -> Result<Options> {
    let program = arguments.program.clone().map_or_else(cluster::program_beside, Ok)?;
    let program = program.canonicalize().with_context(|| format!("no program {}", program.display()))?;
    let mut kinds: Vec<Kind> =
        if arguments.faults.is_empty() { Kind::all().collect() } else { arguments.faults.clone() };
    if let Some(reason) = requirements::obstacle_to_failing_syncs() {
        eprintln!("failed-sync: SKIPPED: {reason}");
        kinds.retain(|kind| *kind != Kind::FailedSync);
    }
    Ok(Options {
        program,
        seed: arguments.seed.unwrap_or_else(drawn_seed),
        time: Duration::from_secs_f64(arguments.minutes * 60.0),
        faults_max: usize::MAX,
        kinds,
        tell: |line| eprintln!("{line}"),
    })
}

/// Short, so that it is soon typed again.
fn drawn_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_micros()))
}

fn parse_minutes(text: &str) -> Result<f64, String> {
    const MINUTES_MAX: f64 = 10_000.0;
    match text.parse::<f64>() {
        Ok(minutes) if (0.0..=MINUTES_MAX).contains(&minutes) => Ok(minutes),
        Ok(_) | Err(_) => Err(format!("a number from 0 to {MINUTES_MAX} is needed")),
    }
}
