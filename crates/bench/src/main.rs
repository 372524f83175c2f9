//! Our load generator: measures this project's server beside etcd, ZooKeeper and a server that does nothing, on the same
//! machine and by the same clients.
//!
//! Modules by floors; each knows only those below it:
//!
//! - [`arguments`] makes a [`plan`] of what is typed; [`run`] lets the systems take turns, and [`report`] sums up its
//!   [`results`];
//! - [`loads`] is the table of loads, and says what each does to a system; [`load`] says what a load is;
//! - [`cluster`] starts and ends the nodes of a [`system`], by its [`programs`];
//! - [`session`] speaks to them, over connections of its own ([`wire`]); [`drive`] says when, closed or open loop, and
//!   [`recording`] what came of it, in figures ([`figure`]).
//!
//! docs/BENCHMARKS.md says how to read it.
//!
//! What this crate does not do: it proves nothing about correctness, which is the simulator's and chaos' business. It
//! only refuses figures of loads whose answers are wrong.

mod arguments;
mod ceiling;
mod cluster;
mod disk;
mod drive;
mod figure;
mod load;
mod loads;
mod machine;
mod plan;
mod process;
mod programs;
mod recording;
mod report;
mod results;
mod run;
mod session;
mod system;
mod wire;
mod zookeeper;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use arguments::{Arguments, Command, RunArguments};
use plan::Plan;
use results::Results;

/// As the nodes have it: the system's takes a microsecond more for each request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match begin(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin(arguments: &Arguments) -> Result<()> {
    // One thread, since the cores are for the servers.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &arguments.command {
        Some(Command::CeilingServer { listen }) => runtime.block_on(ceiling::serve(*listen)),
        Some(Command::Loads) => {
            for load in loads::all() {
                println!("{:<17} {}", load.name(), load.description());
            }
            Ok(())
        }
        None => measure(&arguments.run, &runtime),
    }
}

fn measure(arguments: &RunArguments, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let plan = arguments.plan()?;
    let results = runtime.block_on(run_unless_stopped(&plan))?;
    println!("\n{}", report::for_terminal(&results));
    if let Some(file) = &arguments.json {
        let json = serde_json::to_vec_pretty(&results)?;
        fs::write(file, json).with_context(|| format!("can't write {}", file.display()))?;
    }
    if let Some(page) = &arguments.report {
        report::write(page, &results)?;
    }
    let complaints = results.complaints();
    if arguments.quick && !complaints.is_empty() {
        bail!("{}", complaints.join("\n       "));
    }
    Ok(())
}

/// A signal drops the run, and with it whatever it has started.
async fn run_unless_stopped(plan: &Plan) -> Result<Results> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        results = plan.run() => results,
        _ = tokio::signal::ctrl_c() => bail!("interrupted; all that was started has ended"),
        _ = terminate.recv() => bail!("terminated; all that was started has ended"),
    }
}
