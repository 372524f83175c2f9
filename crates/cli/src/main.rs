//! The `ruvector` command line: `ruvector consensus <verb>`.
//!
//! [`arguments`] says what can be typed, each file of [`verbs`] does one family of verbs, [`target`] finds the nodes
//! that a verb is about, [`local`] keeps the clusters that run on this machine, and [`output`] is the only place that
//! writes results. A verb gives `Ok` or a [`failure::Failure`], which becomes one line and an exit code here.
//!
//! What this crate does not do: it knows no protocol. Everything asked of a cluster goes through `ruvector-client`,
//! and `serve` hands its flags to `ruvector-server`.

mod arguments;
mod failure;
mod local;
mod output;
mod target;
mod text;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::arguments::{Area, Arguments};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = match Arguments::parse().area {
        Area::Consensus(consensus) => verbs::run(consensus),
        Area::Completion { shell } => completion(shell),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Prints the completion script. Made in memory first: the generator panics if its reader goes away.
fn completion(shell: clap_complete::Shell) -> failure::Result {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "ruvector", &mut script);
    output::write_raw(&script)
}
