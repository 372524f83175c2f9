//! The developer tool: `cargo xtask <command>`.

mod built;
mod fuzz;
mod mutants;
mod pipeline;
mod process;
mod setup;
mod tidy;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// The developer tool of ruvector-consensus.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Installs what is missing; then everything that must pass: format, tidy, lints, docs, tests, simulator seeds,
    /// instruction counts, fuzz.
    Test(pipeline::Arguments),
    /// What continuous integration runs: the same as `test`, but to leave anything out is a failure.
    Ci(pipeline::Arguments),
    /// Installs what `test` needs beside Rust and a C compiler, and says what it can't.
    Setup(pipeline::Arguments),
    /// The rules of this repository that no other tool checks.
    Tidy,
    /// Gives hostile bytes to everything that reads bytes; fuzz/src/lib.rs says how to go on from a find.
    Fuzz(fuzz::Arguments),
    /// Changes the code in small ways and tells which changes no test notices; run by hand, for it takes long.
    Mutants(mutants::Arguments),
    /// Counts the instructions of the hot paths with valgrind.
    Instructions,
    /// Runs the simulator, as in `--seeds 0..2000` or `--seed 7 --trace`; `--help` shows its arguments.
    #[command(disable_help_flag = true)]
    Simulate {
        /// Passed on to the simulator as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Breaks real nodes in network namespaces, as in `--minutes 5` (needs root); `--help` shows its arguments.
    #[command(disable_help_flag = true)]
    Chaos {
        /// Passed on to the harness as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Plays the same random requests to etcd and to three nodes, as in `--seeds 0..5000`; `--help` shows its arguments.
    #[command(disable_help_flag = true)]
    Differential {
        /// Passed on to the harness as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Measures the server beside etcd and ZooKeeper, as in `--quick`; `--help` shows its arguments.
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on to the load generator as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Test(arguments) => pipeline::run(&workspace_root(), arguments, false),
        Command::Ci(arguments) => pipeline::run(&workspace_root(), arguments, true),
        Command::Setup(arguments) => pipeline::set_up(&workspace_root(), arguments),
        Command::Tidy => tidy::run(&workspace_root()),
        Command::Fuzz(arguments) => fuzz::run(&workspace_root(), &arguments),
        Command::Mutants(arguments) => mutants::run(&workspace_root(), &arguments),
        Command::Instructions => pipeline::instructions(&workspace_root()),
        Command::Simulate { arguments } => pipeline::simulate(&workspace_root(), &arguments),
        Command::Chaos { arguments } => pipeline::chaos(&workspace_root(), &arguments),
        Command::Differential { arguments } => pipeline::differential(&workspace_root(), &arguments),
        Command::Bench { arguments } => pipeline::bench(&workspace_root(), &arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The directory that this package's directory lies in.
fn workspace_root() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the package lies in the workspace").to_owned()
}
