//! `cargo xtask test`: everything that must pass, in one run.
//!
//! All steps build in one profile and for the whole workspace: dependencies are compiled once for the
//! tests and the simulator, and checked once for the lints and the docs. A build of one crate alone would choose
//! other features for them and compile them again.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::built::executable_in;
use crate::fuzz;
use crate::process::{cargo, output, run as run_command, search_path};
use crate::setup::{self, Setup};
use crate::tidy;
use anyhow::{Context, Result, bail};

/// The simulator seeds that every change must pass.
const SEEDS: &str = "0..2000";
/// The fuzz targets' own workspace.
const FUZZ: &str = "fuzz/Cargo.toml";
/// Optimized, but not as far as what is released: that takes long for so many programs.
const PROFILE: &str = "checked";

struct Step {
    name: &'static str,
    run: fn(&Path, &Setup) -> Result<()>,
}

const STEPS: [Step; 8] = [
    Step { name: "format", run: |root, _| format(root) },
    Step { name: "tidy", run: |root, _| tidy::run(root) },
    Step { name: "lints", run: lints },
    Step { name: "docs", run: |root, _| docs(root) },
    Step { name: "tests", run: tests },
    Step { name: "simulator seeds", run: |root, _| seeds(root) },
    Step { name: "instructions", run: |root, _| instructions(root) },
    Step { name: "fuzz", run: |root, _| fuzz::briefly(root) },
];

/// How the pipeline is run.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Installs nothing; what is missing is left out.
    #[arg(long)]
    no_install: bool,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed,
    LeftOut,
}

/// Installs what is missing, runs every step that can be run, also after one has failed, and sums up. What can't be run is a
/// failure if `all_must_run`.
pub(crate) fn run(root: &Path, arguments: Arguments, all_must_run: bool) -> Result<()> {
    println!("=== set-up ===");
    let setup = setup::run(root, !arguments.no_install)?;
    let mut summary: Vec<(&str, Duration, Verdict)> = Vec::new();
    for Step { name, run } in STEPS {
        println!("\n=== {name} ===");
        let start = Instant::now();
        let verdict = if setup.lacks_step(name) {
            println!("left out");
            Verdict::LeftOut
        } else if let Err(error) = run(root, &setup) {
            eprintln!("error: {error:#}");
            Verdict::Failed
        } else {
            Verdict::Passed
        };
        summary.push((name, start.elapsed(), verdict));
    }
    println!("\n=== summary ===");
    for (name, elapsed, verdict) in &summary {
        let verdict = match verdict {
            Verdict::Passed => "ok",
            Verdict::Failed => "FAILED",
            Verdict::LeftOut => "left out",
        };
        println!("{name:<16} {verdict:<8} {:>5} s", elapsed.as_secs());
    }
    for gap in setup.gaps() {
        println!("left out: {gap}");
    }
    conclude(&summary, setup.gaps().len(), all_must_run)
}

/// Installs what is missing and no more.
pub(crate) fn set_up(root: &Path, arguments: Arguments) -> Result<()> {
    setup::run(root, !arguments.no_install).map(drop)
}

fn conclude(summary: &[(&str, Duration, Verdict)], gap_count: usize, all_must_run: bool) -> Result<()> {
    let failed = summary.iter().filter(|(_, _, verdict)| *verdict == Verdict::Failed);
    let mut failed: Vec<&str> = failed.map(|(name, _, _)| *name).collect();
    if all_must_run && gap_count > 0 {
        failed.push("set-up");
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "))
    }
    println!("{}", if gap_count == 0 { "all passed" } else { "all passed but what was left out" });
    Ok(())
}

/// Runs the simulator with `arguments`.
pub(crate) fn simulate(root: &Path, arguments: &[OsString]) -> Result<()> {
    let run = ["run", "--quiet", "--profile", PROFILE, "--package", "ruvector-simulator", "--"];
    run_command(&mut cargo(root, run.iter().map(OsStr::new).chain(arguments.iter().map(OsString::as_os_str))))
}

/// Runs real nodes under faults.
pub(crate) fn chaos(root: &Path, arguments: &[OsString]) -> Result<()> {
    with_nodes(root, "ruvector-chaos", arguments)
}

/// Compares real nodes with etcd.
pub(crate) fn differential(root: &Path, arguments: &[OsString]) -> Result<()> {
    with_nodes(root, "ruvector-differential", arguments)
}

/// Runs a harness that starts nodes. Their program is built on its own: the simulator's build would give it the bugs
/// that are planted for tests.
fn with_nodes(root: &Path, harness: &str, arguments: &[OsString]) -> Result<()> {
    let nodes = ["build", "--quiet", "--profile", PROFILE, "--package", "ruvector-cli"];
    run_command(&mut cargo(root, nodes))?;
    let run = ["run", "--quiet", "--profile", PROFILE, "--package", harness, "--"];
    run_command(&mut cargo(root, run.iter().map(OsStr::new).chain(arguments.iter().map(OsString::as_os_str))))
}

/// Measures the server, built as it is released and on its own: with other crates it could get features that tests need.
pub(crate) fn bench(root: &Path, arguments: &[OsString]) -> Result<()> {
    run_command(&mut cargo(root, ["build", "--quiet", "--release", "--package", "ruvector-cli"]))?;
    let run = ["run", "--quiet", "--release", "--package", "ruvector-bench", "--"];
    run_command(&mut cargo(root, run.iter().map(OsStr::new).chain(arguments.iter().map(OsString::as_os_str))))
}

fn format(root: &Path) -> Result<()> {
    run_command(&mut cargo(root, ["fmt", "--all", "--check"]))?;
    run_command(&mut cargo(root, ["fmt", "--manifest-path", FUZZ, "--check"]))
}

fn lints(root: &Path, setup: &Setup) -> Result<()> {
    // Goes on after a crate with a problem, to show those of all crates at once.
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--profile",
        PROFILE,
        "--keep-going",
        "--",
        "-D",
        "warnings",
    ];
    run_command(&mut cargo(root, clippy))?;
    if setup.lacks_step("fuzz") {
        println!("left out: the lints of the fuzz targets, which need what fuzzing needs");
        return Ok(());
    }
    let clippy =
        ["clippy", "--manifest-path", FUZZ, "--locked", "--profile", "release", "--", "-D", "warnings"];
    run_command(cargo(root, clippy).env("CARGO_TARGET_DIR", fuzz::target_directory(root)?))
}

fn docs(root: &Path) -> Result<()> {
    let doc = ["doc", "--workspace", "--no-deps", "--profile", PROFILE];
    run_command(cargo(root, doc).env("RUSTDOCFLAGS", "-D warnings"))
}

fn tests(root: &Path, setup: &Setup) -> Result<()> {
    let test = ["test", "--workspace", "--profile", PROFILE, "--no-fail-fast"];
    run_command(&mut cargo(root, test.into_iter().chain(setup.test_arguments())))
}

fn seeds(root: &Path) -> Result<()> {
    let simulator = built_with_tests(root, "simulator")?;
    run_command(Command::new(simulator).args(["--seeds", SEEDS, "--all-marks"]).current_dir(root))
}

/// Counts the instructions of the hot paths, which must stay below their limits.
pub(crate) fn instructions(root: &Path) -> Result<()> {
    for (program, from) in
        [("valgrind", "Debian's package valgrind"), ("gungraun-runner", "`cargo xtask setup`")]
    {
        let found =
            Command::new(program).arg("--version").env("PATH", search_path()).stdout(Stdio::null()).status();
        found.with_context(|| format!("{program} is needed to count instructions; it comes from {from}"))?;
    }
    let bench =
        ["bench", "--quiet", "--profile", PROFILE, "--package", "ruvector-node", "--bench", "instructions"];
    run_command(&mut cargo(root, bench))
}

/// The program that the tests' build has made. Compiles nothing after [`tests`].
fn built_with_tests(root: &Path, program: &str) -> Result<PathBuf> {
    let build =
        ["test", "--workspace", "--profile", PROFILE, "--no-run", "--quiet", "--message-format", "json"];
    let messages = String::from_utf8(output(&mut cargo(root, build))?).context("cargo speaks no UTF-8")?;
    let found = messages.lines().find_map(|line| executable_in(line, program));
    found.with_context(|| format!("the build of the tests has made no program {program}"))
}
