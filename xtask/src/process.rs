//! Running other programs.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// `cargo` with `arguments`, in the workspace's root.
pub(crate) fn cargo<S: AsRef<OsStr>>(root: &Path, arguments: impl IntoIterator<Item = S>) -> Command {
    // Set when cargo runs this tool: the very same cargo.
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root).env("PATH", search_path());
    command
}

/// Where programs are looked for: also where cargo installs them, and where those are that mostly root runs.
pub(crate) fn search_path() -> OsString {
    let given = std::env::var_os("PATH").unwrap_or_default();
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let installed = cargo_home.map(|home| home.join("bin"));
    let further = installed.into_iter().chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    std::env::join_paths(std::env::split_paths(&given).chain(further)).unwrap_or(given)
}

/// Runs a command whose output goes where this tool's goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = display(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("can't run `{line}`"))?;
    ensure!(status.success(), "`{line}` failed: {status}");
    Ok(())
}

/// Runs a command and answers what it prints.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let line = display(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("can't run `{line}`"))?;
    ensure!(output.status.success(), "`{line}` failed: {}", output.status);
    Ok(output.stdout)
}

/// Where all that is built goes.
pub(crate) fn target_directory(root: &Path) -> Result<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let metadata = output(&mut cargo(root, ["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_slice(&metadata).context("cargo's metadata is not as known")?;
    Ok(metadata.target_directory)
}

fn display(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_else(|| command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
