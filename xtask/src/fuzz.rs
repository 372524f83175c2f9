//! `cargo xtask fuzz`: libFuzzer on the pinned stable toolchain.
//!
//! `cargo fuzz` needs a nightly compiler for the address sanitizer. Without it, all that libFuzzer needs is that the
//! compiler counts which edges were taken and shows it the operands of comparisons, and that a stable compiler does
//! when LLVM's pass is named by [`RUSTFLAGS`], the ones of `cargo fuzz build --sanitizer none`. The programs check
//! for themselves how much memory they take. `fuzz/src/lib.rs` says how to use either.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::built::executable_in;
use crate::process::{self, cargo, output};

/// Makes the compiler instrument all crates but build scripts and procedural macros.
const RUSTFLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];

/// How long one input may take.
const INPUT_SECONDS_MAX: u32 = 10;
/// Memory of a whole program, libFuzzer's own included.
const PROGRAM_MEBIBYTES_MAX: u32 = 1024;
/// The longest input that is made; what is larger is slow and seldom shows more.
const INPUT_BYTES_MAX: u32 = 8 << 10;
/// The longest input that is kept in the corpus.
const KEPT_BYTES_MAX: u32 = 1 << 10;
/// How much of a failed program's log is shown.
const LOG_LINES_SHOWN: usize = 60;
/// How long each target is run by `cargo xtask test`, its corpus included.
const PIPELINE_SECONDS: u32 = 5;

/// What to fuzz.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The names of files in fuzz/fuzz_targets; all of them if none is given.
    targets: Vec<String>,
    /// How long to run each; with 0 it only replays its corpus.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Takes what was found new into the corpus in fuzz/corpus, and leaves out of it what shows nothing new.
    #[arg(long)]
    keep: bool,
}

/// A step of `cargo xtask test`.
pub(crate) fn briefly(root: &Path) -> Result<()> {
    run(root, &Arguments { targets: Vec::new(), seconds: PIPELINE_SECONDS, keep: false })
}

/// Builds all targets and runs those asked for, one after another, also after one has failed.
pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    let all = targets(root)?;
    if let Some(unknown) = arguments.targets.iter().find(|target| !all.contains(target)) {
        bail!("no target {unknown}; there are: {}", all.join(", "));
    }
    let wanted = if arguments.targets.is_empty() { &all } else { &arguments.targets };
    let directory = target_directory(root)?;
    let programs = build(root, &directory, wanted)?;
    let mut failed = Vec::new();
    for (target, program) in wanted.iter().zip(programs) {
        let target = Target { root, directory: &directory, name: target, program };
        if let Err(error) = target.fuzz(arguments) {
            eprintln!("error: {error:#}");
            failed.push(target.name);
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// The names of all targets.
fn targets(root: &Path) -> Result<Vec<String>> {
    let sources = root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for file in fs::read_dir(&sources).with_context(|| format!("can't list {}", sources.display()))? {
        let path = file?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str());
        names.push(name.with_context(|| format!("{} is no name of a target", path.display()))?.to_owned());
    }
    names.sort();
    Ok(names)
}

/// Where all that is built of the fuzz targets goes, and what they find.
pub(crate) fn target_directory(root: &Path) -> Result<PathBuf> {
    Ok(process::target_directory(root)?.join("fuzz"))
}

/// Builds all targets; answers the programs of those that are wanted.
fn build(root: &Path, directory: &Path, wanted: &[String]) -> Result<Vec<PathBuf>> {
    let build = ["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml"];
    // With a target named, even the host's own, the flags are not those of build scripts.
    let for_host = ["--target", "host-tuple", "--message-format", "json-render-diagnostics"];
    let mut command = cargo(root, build.iter().chain(&for_host));
    command.arg("--target-dir").arg(directory).env("RUSTFLAGS", RUSTFLAGS.join(" "));
    let messages = String::from_utf8(output(&mut command)?).context("cargo speaks no UTF-8")?;
    let program = |target: &String| {
        let found = messages.lines().find_map(|line| executable_in(line, target));
        found.with_context(|| format!("the build has made no program {target}: is it in fuzz/Cargo.toml?"))
    };
    wanted.iter().map(program).collect()
}

/// A program to be run.
struct Target<'a> {
    root: &'a Path,
    /// Where what is built and found goes.
    directory: &'a Path,
    name: &'a str,
    program: PathBuf,
}

impl Target<'_> {
    fn fuzz(&self, arguments: &Arguments) -> Result<()> {
        let (found, corpus, artifacts) = (self.found(), self.corpus(), self.artifacts());
        for directory in [&found, &corpus, &artifacts] {
            fs::create_dir_all(directory).with_context(|| format!("can't make {}", directory.display()))?;
        }
        let mut command = self.command();
        command.arg(format!("-artifact_prefix={}/", artifacts.display())).arg(match arguments.seconds {
            0 => "-runs=0".to_owned(),
            seconds => format!("-max_total_time={seconds}"),
        });
        // libFuzzer writes into the first directory only.
        let log = self.logged(command.arg(&found).arg(&corpus))?;
        println!("{:<16} {}", self.name, summary(&log));
        if arguments.keep { self.keep() } else { Ok(()) }
    }

    /// Makes the corpus anew of the smallest inputs, new and old, that together reach everything.
    fn keep(&self) -> Result<()> {
        let (corpus, merged) = (self.corpus(), self.directory.join("merged").join(self.name));
        if merged.exists() {
            fs::remove_dir_all(&merged).with_context(|| format!("can't remove {}", merged.display()))?;
        }
        fs::create_dir_all(&merged).with_context(|| format!("can't make {}", merged.display()))?;
        let mut command = self.command();
        // One input for each edge, not for each number of times that an edge was taken: ten times less.
        command.args(["-set_cover_merge=1", "-use_counters=0", &format!("-max_len={KEPT_BYTES_MAX}")]);
        self.logged(command.arg(&merged).arg(&corpus).arg(self.found()))?;
        fs::remove_dir_all(&corpus)?;
        fs::create_dir_all(&corpus)?;
        for file in fs::read_dir(&merged)? {
            let file = file?;
            fs::copy(file.path(), corpus.join(file.file_name()))?;
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(self.root).args([
            format!("-max_len={INPUT_BYTES_MAX}"),
            format!("-timeout={INPUT_SECONDS_MAX}"),
            format!("-rss_limit_mb={PROGRAM_MEBIBYTES_MAX}"),
            "-print_final_stats=1".to_owned(),
        ]);
        command
    }

    /// Runs a command whose many lines go to a file, and answers them.
    fn logged(&self, command: &mut Command) -> Result<String> {
        let path = self.directory.join(format!("{}.log", self.name));
        let file = File::create(&path).with_context(|| format!("can't make {}", path.display()))?;
        let status = command.stdout(file.try_clone()?).stderr(file).status();
        let status = status.with_context(|| format!("can't run {}", self.program.display()))?;
        let log = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        if !status.success() {
            let lines: Vec<&str> = log.lines().collect();
            println!("{}", lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n"));
            bail!("{} has failed ({status}); all of what it said is in {}", self.name, path.display());
        }
        Ok(log)
    }

    fn found(&self) -> PathBuf {
        self.directory.join("found").join(self.name)
    }

    fn corpus(&self) -> PathBuf {
        self.root.join("fuzz/corpus").join(self.name)
    }

    fn artifacts(&self) -> PathBuf {
        self.root.join("fuzz/artifacts").join(self.name)
    }
}

/// What a run did, out of what libFuzzer said of it.
fn summary(log: &str) -> String {
    let statistic = |name: &str| {
        log.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':'))
    };
    let reached = log.lines().filter_map(|line| line.split_once(" cov: ")?.1.split(' ').next()).next_back();
    let [runs, rate, new] = ["number_of_executed_units", "average_exec_per_sec", "new_units_added"]
        .map(|name| statistic(name).unwrap_or("?").trim());
    format!("{runs} inputs, {rate} per second, {new} of them new, {} edges reached", reached.unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_summed_up() {
        let log = "#2\tINITED cov: 11 ft: 12 corp: 1/1b\n#9\tNEW    cov: 13 ft: 14 corp: 2/5b\n\
            stat::number_of_executed_units: 4321\nstat::average_exec_per_sec:     432\n\
            stat::new_units_added:          7\n";
        assert_eq!(summary(log), "4321 inputs, 432 per second, 7 of them new, 13 edges reached");
    }

    #[test]
    fn an_unknown_log_is_no_reason_to_fail() {
        assert_eq!(summary(""), "? inputs, ? per second, ? of them new, ? edges reached");
    }
}
