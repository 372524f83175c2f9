//! Compares etcd and our nodes, and says what differs.

use std::io::IsTerminal;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ruvector_differential::announced::ANNOUNCED;
use ruvector_differential::campaign::Campaign;
use ruvector_differential::generate::generate;
use ruvector_differential::program::Program;
use ruvector_differential::system::{Programs, installed_etcd, program_beside};

/// Plays the same random requests to etcd and to three nodes of ours and compares all answers, field by field.
#[derive(Debug, Parser)]
#[command(name = "differential")]
struct Arguments {
    /// The seeds to play, the second number excluded.
    #[arg(long, default_value = "0..200", value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// One seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// A program, as a report tells it.
    #[arg(long, value_name = "HEX", conflicts_with_all = ["seeds", "seed"], value_parser = parse_program)]
    replay: Option<Program>,
    /// Go on until so many differences are found.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    differences: usize,
    /// List the differences that are meant to be, and end.
    #[arg(long)]
    announced: bool,
    /// The etcd to compare with; the installed one if left out.
    #[arg(long, value_name = "FILE")]
    etcd: Option<PathBuf>,
    /// The `ruvector` to run; the one beside this program if left out.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.announced {
        ANNOUNCED.iter().for_each(|announced| println!("{}: {}", announced.name, announced.reason));
        return Ok(ExitCode::SUCCESS);
    }
    let programs = Programs {
        etcd: arguments.etcd.clone().map_or_else(installed_etcd, Ok)?,
        ours: arguments.program.clone().map_or_else(program_beside, Ok)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let started = Instant::now();
    let mut campaign = Campaign::new(programs);
    let played = runtime.block_on(play(&mut campaign, &arguments));
    println!("{}\n{:.0} s", campaign.report, started.elapsed().as_secs_f64());
    played?;
    Ok(if campaign.report.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play(campaign: &mut Campaign, arguments: &Arguments) -> Result<()> {
    if let Some(program) = &arguments.replay {
        return campaign.try_program("the program", program).await;
    }
    let seeds = arguments.seed.map_or(arguments.seeds.clone(), |seed| seed..seed.saturating_add(1));
    ensure!(!seeds.is_empty(), "there is no seed in {}..{}", seeds.start, seeds.end);
    let progress = std::io::stderr().is_terminal();
    for seed in seeds {
        let played = campaign.try_program(&format!("seed {seed}"), &generate(seed)).await;
        played.with_context(|| format!("seed {seed}"))?;
        if progress {
            eprint!("\r{} programs, {} differ ", campaign.report.programs, campaign.report.differences.len());
        }
        if campaign.report.differences.len() >= arguments.differences {
            break;
        }
    }
    if progress {
        eprintln!();
    }
    Ok(())
}

fn parse_program(text: &str) -> Result<Program, String> {
    Program::from_hex(text).ok_or_else(|| "this is no program as a report tells it".to_owned())
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = text.split_once("..").ok_or("two numbers with .. between them are needed")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    Ok(number(start)?..number(end)?)
}
