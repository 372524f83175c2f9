//! `cargo xtask mutants`: changes the code in small ways and sees whether the tests notice.
//!
//! The work is that of `cargo-mutants`: it copies the tree, and in the copy makes one change after the other, builds, and runs the
//! tests of the crate that was changed. What is never changed is in `.cargo/mutants.toml`, with the reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::ArgGroup;
use serde::Deserialize;

use crate::process::{cargo, output, run as run_command, target_directory};
use crate::setup::find;

/// The program, as cargo finds it.
const PROGRAM: &str = "cargo-mutants";
/// The version whose results are read here: they are not the same in all.
const VERSION: &str = "27.1.0";

/// Quickly built, for every mutant is built; a crate's own tests take seconds also without much optimization.
const PROFILE: &str = "mutants";
/// A mutant's tests are ended when they take so many times as long as without it,
const TIMEOUT_FACTOR: &str = "5";
/// but not before: other work may slow them down.
const TIMEOUT_SECONDS_MIN: &str = "60";

const EXAMPLES: &str = "\
Examples:
  cargo xtask mutants --crate storage              all of crates/storage: hours
  cargo xtask mutants --crate storage --shard 0/8  every eighth mutant: a fair sample
  cargo xtask mutants --crate storage --list       what would be tried
  cargo xtask mutants --changed                    lines changed since the branch left main
  cargo xtask mutants --changed HEAD~3             lines changed since then, committed or not

A missed mutant is an error with --changed only: whoever changes a line is to have a test that
needs it. What the tests said to each mutant is in target/mutations/mutants.out/log.";

/// What to mutate.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("what").required(true).args(["crate_name", "changed"]))]
pub(crate) struct Arguments {
    /// The code of this crate, by the name of its directory in crates/.
    #[arg(long = "crate", value_name = "NAME")]
    crate_name: Option<String>,
    /// The lines that were changed since BASE, committed or not: since the branch left main, or, on main, in the newest
    /// commit. A new file counts when git has been told of it.
    #[arg(long, value_name = "BASE", num_args = 0..=1)]
    changed: Option<Option<String>>,
    /// Only part K of N, counted from 0: every Nth mutant, so that any part is a fair sample.
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Shows the mutants, and tries none.
    #[arg(long)]
    list: bool,
    /// Does not install what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Tries mutants and tells which of them no test noticed.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    ensure_installed(root, !arguments.no_install)?;
    let directory = target_directory(root)?.join("mutations");
    fs::create_dir_all(&directory).with_context(|| format!("can't make {}", directory.display()))?;
    let Some(scope) = scope(root, arguments, &directory)? else {
        println!("no line was changed that could be mutated");
        return Ok(());
    };
    let mut command = cargo(root, mutants_arguments(&scope, arguments, &directory));
    // Each run has a new copy of the tree; what is built of other people's crates serves all of them.
    command.env("CARGO_TARGET_DIR", directory.join("target"));
    if arguments.list {
        return run_command(&mut command);
    }
    let outcomes = directory.join("mutants.out/outcomes.json");
    if outcomes.exists() {
        fs::remove_file(&outcomes).with_context(|| format!("can't remove {}", outcomes.display()))?;
    }
    let status = command.status().context("can't run cargo mutants")?;
    // Missed mutants and those that took too long have codes of their own, and are told of below.
    ensure!(matches!(status.code(), Some(0 | 2 | 3)), "cargo mutants failed: {status}");
    if !outcomes.exists() {
        println!("there is nothing to mutate");
        return Ok(());
    }
    let text = fs::read_to_string(&outcomes).with_context(|| format!("can't read {}", outcomes.display()))?;
    let tally = Tally::read(&text)?;
    println!("{tally}");
    let missed = tally.missed.len();
    ensure!(arguments.changed.is_none() || missed == 0, "no test noticed {missed} mutants of changed lines");
    Ok(())
}

/// Where mutants are made.
#[derive(Debug, PartialEq, Eq)]
struct Scope {
    packages: Vec<String>,
    /// Only lines that this file of differences touches.
    diff: Option<PathBuf>,
}

fn scope(root: &Path, arguments: &Arguments, directory: &Path) -> Result<Option<Scope>> {
    if let Some(name) = &arguments.crate_name {
        let is_crate = root.join("crates").join(name).join("Cargo.toml").is_file();
        ensure!(is_crate, "there is no crate {name} in crates/");
        return Ok(Some(Scope { packages: vec![package(name)], diff: None }));
    }
    let base = match arguments.changed.clone().flatten() {
        Some(base) => base,
        None => default_base(root)?,
    };
    println!("lines changed since {base}");
    let options = ["diff", "--no-color", "--no-ext-diff", "--src-prefix=a/", "--dst-prefix=b/"];
    let changes = git(root, &[&options[..], &[&base, "--", "crates/*/src/*.rs"]].concat())?;
    let packages: Vec<String> = changed_crates(&changes).into_iter().map(package).collect();
    if packages.is_empty() {
        return Ok(None);
    }
    let diff = directory.join("changed.diff");
    fs::write(&diff, changes).with_context(|| format!("can't write {}", diff.display()))?;
    Ok(Some(Scope { packages, diff: Some(diff) }))
}

/// The name of the package in a directory of crates/.
fn package(crate_name: &str) -> String {
    format!("ruvector-{crate_name}")
}

/// The crates that have changed files, by their directories.
fn changed_crates(diff: &str) -> BTreeSet<&str> {
    let files = diff.lines().filter_map(|line| line.strip_prefix("+++ b/crates/"));
    files.filter_map(|file| file.split('/').next()).collect()
}

fn default_base(root: &Path) -> Result<String> {
    let branch = git(root, &["rev-parse", "--abbrev-ref", "HEAD"])?;
    if branch.trim() == "main" {
        return Ok("HEAD~1".to_owned());
    }
    let base = git(root, &["merge-base", "HEAD", "main"]);
    Ok(base
        .context("where the branch left main is not known; name the commit to compare with")?
        .trim()
        .to_owned())
}

fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    let answer = output(Command::new("git").args(arguments).current_dir(root))?;
    String::from_utf8(answer).context("git speaks no UTF-8")
}

/// The whole command line behind `cargo`.
fn mutants_arguments(scope: &Scope, arguments: &Arguments, directory: &Path) -> Vec<String> {
    let mut line: Vec<String> =
        ["mutants", "--no-shuffle", "--jobs", "1", "--profile", PROFILE].map(str::to_owned).into();
    line.extend(["--timeout-multiplier", TIMEOUT_FACTOR].map(str::to_owned));
    line.extend(["--minimum-test-timeout", TIMEOUT_SECONDS_MIN].map(str::to_owned));
    line.extend(["--output".to_owned(), directory.display().to_string()]);
    for package in &scope.packages {
        line.extend(["--package".to_owned(), package.clone()]);
    }
    if let Some(diff) = &scope.diff {
        line.extend(["--in-diff".to_owned(), diff.display().to_string()]);
    }
    if let Some(shard) = &arguments.shard {
        // Neighbours are alike: slices would not be fair samples.
        line.extend(["--sharding", "round-robin", "--shard", shard].map(str::to_owned));
    }
    if arguments.list {
        line.push("--list".to_owned());
    }
    // Without examples in the documentation, and without benchmarks.
    line.extend(["--", "--tests"].map(str::to_owned));
    line
}

fn ensure_installed(root: &Path, may_install: bool) -> Result<()> {
    if find(PROGRAM).is_some() {
        return Ok(());
    }
    let install = ["install", "--locked", PROGRAM, "--version", VERSION];
    if !may_install {
        bail!("{PROGRAM} is missing; `cargo {}` installs it", install.join(" "));
    }
    println!("{PROGRAM} is missing: installing it");
    run_command(&mut cargo(root, install))
}

/// What became of all mutants.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    caught: usize,
    /// Those that no test noticed, each with its file, line and change.
    missed: Vec<String>,
    /// Those whose tests did not end, which notices them, too.
    timed_out: Vec<String>,
    /// Those that did not compile.
    unviable: usize,
}

/// The parts of `outcomes.json` that matter here.
#[derive(Deserialize)]
struct Outcomes {
    outcomes: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    scenario: Scenario,
    summary: String,
}

#[derive(Deserialize)]
enum Scenario {
    /// The tests of the code as it is.
    Baseline,
    Mutant {
        name: String,
    },
}

impl Tally {
    fn read(outcomes: &str) -> Result<Self> {
        let unknown = || format!("what {PROGRAM} found is not as version {VERSION} writes it");
        let outcomes: Outcomes = serde_json::from_str(outcomes).with_context(unknown)?;
        let mut tally = Self::default();
        for Outcome { scenario, summary } in outcomes.outcomes {
            let Scenario::Mutant { name } = scenario else { continue };
            match summary.as_str() {
                "CaughtMutant" => tally.caught += 1,
                "MissedMutant" => tally.missed.push(name),
                "Timeout" => tally.timed_out.push(name),
                "Unviable" => tally.unviable += 1,
                other => bail!("{}: {name} is {other}", unknown()),
            }
        }
        Ok(tally)
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { caught, missed, timed_out, unviable } = self;
        for (what, names) in [("missed", missed), ("timed out", timed_out)] {
            for name in names {
                writeln!(out, "{what}: {name}")?;
            }
        }
        let count = caught + missed.len() + timed_out.len() + unviable;
        let (missed, timed_out) = (missed.len(), timed_out.len());
        write!(
            out,
            "{count} mutants: {caught} caught, {missed} missed, {timed_out} timed out, {unviable} unviable"
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Line::try_parse_from(["mutants"].into_iter().chain(line.split_whitespace()))
            .map(|line| line.arguments)
    }

    #[test]
    fn it_is_said_what_to_mutate() {
        assert_eq!(parse("--crate storage").unwrap().crate_name.as_deref(), Some("storage"));
        assert_eq!(parse("--changed").unwrap().changed, Some(None));
        assert_eq!(parse("--changed HEAD~3").unwrap().changed, Some(Some("HEAD~3".to_owned())));
        for wrong in ["", "--shard 0/8", "--crate storage --changed", "--crate"] {
            parse(wrong).unwrap_err();
        }
    }

    #[test]
    fn every_example_is_understood() {
        let examples = EXAMPLES.lines().filter_map(|line| line.trim().strip_prefix("cargo xtask mutants "));
        let lines: Vec<&str> = examples.map(|line| line.split("  ").next().unwrap()).collect();
        assert_eq!(lines.len(), 5);
        for line in lines {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn one_crate_is_mutated_in_a_copy_and_in_fair_parts() {
        let scope = Scope { packages: vec![package("storage")], diff: None };
        let arguments = parse("--crate storage --shard 1/8").unwrap();
        let line = mutants_arguments(&scope, &arguments, Path::new("/out")).join(" ");
        assert!(line.starts_with("mutants ") && line.ends_with(" -- --tests"), "{line}");
        for part in
            ["--package ruvector-storage", "--sharding round-robin --shard 1/8", "--output /out", "--jobs 1"]
        {
            assert!(line.contains(part), "{part}: {line}");
        }
        for part in ["--in-place", "--in-diff", "--list"] {
            assert!(!line.contains(part), "{part}: {line}");
        }
    }

    #[test]
    fn only_changed_lines_of_changed_crates_are_mutated() {
        let diff = "\
diff --git a/crates/node/src/driver.rs b/crates/node/src/driver.rs
--- a/crates/node/src/driver.rs
+++ b/crates/node/src/driver.rs
@@ -1 +1 @@
-one
+two
diff --git a/crates/storage/src/gone.rs b/crates/storage/src/gone.rs
--- a/crates/storage/src/gone.rs
+++ /dev/null
@@ -1 +0,0 @@
-three
diff --git a/crates/state-machine/src/kv/key.rs b/crates/state-machine/src/kv/key.rs
--- /dev/null
+++ b/crates/state-machine/src/kv/key.rs
@@ -0,0 +1 @@
+four
";
        let crates = changed_crates(diff);
        assert_eq!(crates.iter().copied().collect::<Vec<_>>(), ["node", "state-machine"]);
        let packages = crates.into_iter().map(package).collect();
        let scope = Scope { packages, diff: Some(PathBuf::from("/out/changed.diff")) };
        let line = mutants_arguments(&scope, &parse("--changed").unwrap(), Path::new("/out")).join(" ");
        let expected = "--package ruvector-node --package ruvector-state-machine --in-diff /out/changed.diff";
        assert!(line.contains(expected), "{line}");
    }

    /// As version 27.1.0 writes it, without what is not read.
    const FOUND: &str = r#"{
        "outcomes": [
            {"scenario": "Baseline", "summary": "Success", "log_path": "log/baseline.log", "phase_results": []},
            {"scenario": {"Mutant": {"name": "crates/a/src/lib.rs:7:5: replace one -> u32 with 0", "package": "a"}},
             "summary": "CaughtMutant"},
            {"scenario": {"Mutant": {"name": "crates/a/src/lib.rs:9:8: replace < with <= in two", "package": "a"}},
             "summary": "MissedMutant"},
            {"scenario": {"Mutant": {"name": "crates/a/src/lib.rs:12:3: replace three with ()", "package": "a"}},
             "summary": "Timeout"},
            {"scenario": {"Mutant": {"name": "crates/a/src/lib.rs:15:3: replace four -> X with Default::default()"}},
             "summary": "Unviable"}
        ],
        "total_mutants": 4, "missed": 1, "caught": 1, "timeout": 1, "unviable": 1, "success": 0
    }"#;

    #[test]
    fn what_was_missed_is_told_with_its_place() {
        assert_eq!(
            Tally::read(FOUND).unwrap().to_string(),
            "missed: crates/a/src/lib.rs:9:8: replace < with <= in two\n\
             timed out: crates/a/src/lib.rs:12:3: replace three with ()\n\
             4 mutants: 1 caught, 1 missed, 1 timed out, 1 unviable"
        );
    }

    #[test]
    fn results_of_an_unknown_form_are_an_error() {
        for (known, other) in
            [("MissedMutant", "Escaped"), ("outcomes", "results"), ("\"name\"", "\"title\"")]
        {
            let error = Tally::read(&FOUND.replace(known, other)).unwrap_err();
            assert!(error.to_string().contains("not as version 27.1.0 writes it"), "{error:#}");
        }
    }
}
