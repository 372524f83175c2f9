//! Running the system's own tools.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Runs a tool to its end and gives what it prints.
///
/// # Errors
/// If it can't be run or fails: its own words.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let line = display(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("can't run `{line}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{line}` failed ({}): {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `ip` with words that hold no spaces.
///
/// # Errors
/// As [`run`].
pub(crate) fn ip(words: &str) -> Result<String> {
    run(Command::new("ip").args(words.split_whitespace()))
}

fn display(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
