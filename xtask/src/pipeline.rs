//! `cargo xtask test`: everything that must pass, in one run.
//!
//! All steps build in the release profile, so that dependencies are compiled once for the tests and the
//! simulator, and checked once for the lints and the docs.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process::{cargo, run as run_command};
use crate::tidy;

/// The simulator seeds that every change must pass.
const SEEDS: &str = "0..2000";

struct Step {
    name: &'static str,
    run: fn(&Path) -> Result<()>,
}

const STEPS: [Step; 6] = [
    Step { name: "format", run: format },
    Step { name: "tidy", run: tidy::run },
    Step { name: "lints", run: lints },
    Step { name: "docs", run: docs },
    Step { name: "tests", run: tests },
    Step { name: "simulator seeds", run: seeds },
];

/// Runs every step, also after one has failed, and sums up.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut summary: Vec<(&str, Duration, Result<()>)> = Vec::new();
    for Step { name, run } in STEPS {
        println!("\n=== {name} ===");
        let start = Instant::now();
        let outcome = run(root);
        if let Err(error) = &outcome {
            eprintln!("error: {error:#}");
        }
        summary.push((name, start.elapsed(), outcome));
    }
    println!("\n=== summary ===");
    for (name, elapsed, outcome) in &summary {
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("{name:<16} {verdict:<7} {:>5} s", elapsed.as_secs());
    }
    let failed: Vec<&str> =
        summary.iter().filter(|(_, _, outcome)| outcome.is_err()).map(|(name, _, _)| *name).collect();
    if failed.is_empty() {
        println!("all passed");
        return Ok(());
    }
    bail!("failed: {}", failed.join(", "))
}

/// Runs the simulator with `arguments`.
pub(crate) fn simulate(root: &Path, arguments: &[OsString]) -> Result<()> {
    let run = ["run", "--quiet", "--release", "--package", "ruvector-simulator", "--"];
    run_command(&mut cargo(root, run.iter().map(OsStr::new).chain(arguments.iter().map(OsString::as_os_str))))
}

fn format(root: &Path) -> Result<()> {
    run_command(&mut cargo(root, ["fmt", "--all", "--check"]))
}

fn lints(root: &Path) -> Result<()> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--release", "--", "-D", "warnings"];
    run_command(&mut cargo(root, clippy))
}

fn docs(root: &Path) -> Result<()> {
    let doc = ["doc", "--workspace", "--no-deps", "--release"];
    run_command(cargo(root, doc).env("RUSTDOCFLAGS", "-D warnings"))
}

fn tests(root: &Path) -> Result<()> {
    run_command(&mut cargo(root, ["test", "--workspace", "--release", "--no-fail-fast"]))
}

fn seeds(root: &Path) -> Result<()> {
    simulate(root, &["--seeds".into(), SEEDS.into()])
}
