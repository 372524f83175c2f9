//! `cargo xtask test`: everything that must pass, in one run.
//!
//! All steps build in one profile and for the whole workspace: dependencies are compiled once for the
//! tests and the simulator, and checked once for the lints and the docs. A build of one crate alone would choose
//! other features for them and compile them again.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::fuzz;
use crate::process::{cargo, output, run as run_command};
use crate::tidy;

/// The simulator seeds that every change must pass.
const SEEDS: &str = "0..2000";
/// The fuzz targets' own workspace.
const FUZZ: &str = "fuzz/Cargo.toml";
/// Optimized, but not as far as what is released: that takes long for so many programs.
const PROFILE: &str = "checked";

struct Step {
    name: &'static str,
    run: fn(&Path) -> Result<()>,
}

const STEPS: [Step; 8] = [
    Step { name: "format", run: format },
    Step { name: "tidy", run: tidy::run },
    Step { name: "lints", run: lints },
    Step { name: "docs", run: docs },
    Step { name: "tests", run: tests },
    Step { name: "simulator seeds", run: seeds },
    Step { name: "instructions", run: instructions },
    Step { name: "fuzz", run: fuzz::briefly },
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
    let run = ["run", "--quiet", "--profile", PROFILE, "--package", "ruvector-simulator", "--"];
    run_command(&mut cargo(root, run.iter().map(OsStr::new).chain(arguments.iter().map(OsString::as_os_str))))
}

/// Runs real nodes under faults. The nodes' program is built on its own: the simulator's build would give it the
/// bugs that are planted for tests.
pub(crate) fn chaos(root: &Path, arguments: &[OsString]) -> Result<()> {
    let nodes = ["build", "--quiet", "--profile", PROFILE, "--package", "ruvector-cli"];
    run_command(&mut cargo(root, nodes))?;
    let run = ["run", "--quiet", "--profile", PROFILE, "--package", "ruvector-chaos", "--"];
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

fn lints(root: &Path) -> Result<()> {
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
    let clippy =
        ["clippy", "--manifest-path", FUZZ, "--locked", "--profile", "release", "--", "-D", "warnings"];
    run_command(cargo(root, clippy).env("CARGO_TARGET_DIR", fuzz::target_directory(root)?))
}

fn docs(root: &Path) -> Result<()> {
    let doc = ["doc", "--workspace", "--no-deps", "--profile", PROFILE];
    run_command(cargo(root, doc).env("RUSTDOCFLAGS", "-D warnings"))
}

fn tests(root: &Path) -> Result<()> {
    run_command(&mut cargo(root, ["test", "--workspace", "--profile", PROFILE, "--no-fail-fast"]))
}

fn seeds(root: &Path) -> Result<()> {
    let simulator = built_with_tests(root, "simulator")?;
    run_command(Command::new(simulator).args(["--seeds", SEEDS, "--all-marks"]).current_dir(root))
}

/// Counts the instructions of the hot paths, which must stay below their limits.
pub(crate) fn instructions(root: &Path) -> Result<()> {
    for (program, from) in [
        ("valgrind", "Debian's package valgrind"),
        ("gungraun-runner", "cargo install --locked gungraun-runner"),
    ] {
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
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

/// The parts of cargo's messages that matter here; see "External tools" in the Cargo book.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// The program of this name, if this line of cargo's tells that it was built.
pub(crate) fn executable_in(line: &str, program: &str) -> Option<PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    let target = message.target?;
    // The program's own unit tests are an executable of the same target, in a directory for intermediate results.
    let executable = message.executable?;
    let is_program = target.name == program && target.kind == ["bin"];
    (is_program && executable.file_stem().is_some_and(|stem| stem == program)).then_some(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_told_from_its_tests_and_other_programs() {
        let line = |name: &str, executable: &str| {
            format!(
                r#"{{"reason":"x","target":{{"name":"{name}","kind":["bin"]}},"executable":{executable}}}"#
            )
        };
        let program = line("simulator", r#""/target/checked/simulator""#);
        assert_eq!(executable_in(&program, "simulator"), Some(PathBuf::from("/target/checked/simulator")));
        for other in [
            line("simulator", r#""/target/checked/deps/simulator-0123456789abcdef""#),
            line("simulator", "null"),
            line("ruvector", r#""/target/checked/ruvector""#),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ] {
            assert_eq!(executable_in(&other, "simulator"), None, "{other}");
        }
    }
}
