//! The `ruvector` command line: `ruvector consensus <verb>`.
//!
//! Modules by floors; each knows only those below it:
//!
//! - [`arguments`] says what can be typed, and [`verbs`] is the table of verbs; each file below it does one family;
//! - [`patience`] and [`nodes`]: requests that wait no longer than makes sense, and what all nodes say of themselves;
//!   [`shapes`]: what several verbs take and print alike;
//! - [`target`] finds the nodes that a verb is about; [`local`] keeps the clusters that run on this machine;
//! - [`options`], [`retention`], and [`output`], the only place that writes results and failures;
//! - [`text`], and [`failure`]: why a verb did not do what was asked, one line and an exit code.
//!
//! What this crate does not do: it knows no protocol. Everything asked of a cluster goes through `ruvector-client`,
//! and `serve` hands its flags to `ruvector-server`.

mod arguments;
mod failure;
mod local;
mod nodes;
mod options;
mod output;
mod patience;
mod retention;
mod shapes;
mod target;
mod text;
mod verbs;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::arguments::{Area, Arguments, Consensus};
use crate::failure::{Doing, Failure, Result};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() && asks_for_json() => {
            let failure = Failure::usage(one_line(&error.to_string()));
            return output::report(failure, true);
        }
        Err(error) => error.exit(),
    };
    let (result, as_json) = match arguments.area {
        Area::Consensus(consensus) => {
            let Consensus { common, verb } = *consensus;
            let as_json = common.json;
            (verb.run(common), as_json)
        }
        Area::Completion { shell } => (completion(shell), false),
        Area::Man { directory } => (man(&directory), false),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output::report(failure, as_json),
    }
}

/// Whether the line asks for JSON, as far as that can be told of one that makes no sense.
fn asks_for_json() -> bool {
    std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json")
}

/// What the parser says, without its first word and its advice in further paragraphs.
fn one_line(text: &str) -> String {
    let first = text.split("\n\n").next().unwrap_or(text);
    let words: Vec<&str> = first.trim_start_matches("error: ").split_whitespace().collect();
    words.join(" ")
}

/// Prints the completion script. Made in memory first: the generator panics if its reader goes away.
fn completion(shell: clap_complete::Shell) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "ruvector", &mut script);
    output::write_raw(&script)
}

/// Writes a manual page for each command.
fn man(directory: &Path) -> Result {
    std::fs::create_dir_all(directory).doing(|| format!("make {}", directory.display()))?;
    let command = Arguments::command();
    clap_mangen::generate_to(command, directory)
        .doing(|| format!("write manual pages to {}", directory.display()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_the_parser_says_becomes_one_line() {
        let text =
            "error: the following required arguments were not provided:\n  <KEY>\n\nUsage: x\n\nFor more\n";
        assert_eq!(super::one_line(text), "the following required arguments were not provided: <KEY>");
    }
}
