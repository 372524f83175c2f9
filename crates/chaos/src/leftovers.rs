//! What a run that was killed left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::command::{ip, run};

/// What the names of everything that a run makes begin with; its process id follows.
const NAMESPACES: &str = "chaos-";
const DIRECTORIES: &str = "ruvector-chaos-";

/// What a run of this process calls its namespaces.
pub(crate) fn namespace_prefix(run: &str) -> String {
    format!("{NAMESPACES}{}-{run}", std::process::id())
}

/// A directory of this process, removed when dropped.
///
/// # Errors
/// If it can't be made.
pub(crate) fn directory() -> Result<TempDir> {
    let prefix = format!("{DIRECTORIES}{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir().context("can't make a directory")
}

/// Gives a directory a name under which no later run removes it.
///
/// # Errors
/// If it can't be renamed.
pub(crate) fn keep(directory: TempDir) -> Result<PathBuf> {
    let made = directory.keep();
    let name = made.file_name().unwrap_or_default().to_string_lossy();
    let kept = made.with_file_name(name.replacen(DIRECTORIES, &format!("{DIRECTORIES}kept-"), 1));
    fs::rename(&made, &kept).with_context(|| format!("can't rename {}", made.display()))?;
    Ok(kept)
}

/// Ends the processes, namespaces, mounts and directories of runs whose own process is gone.
///
/// # Errors
/// If what there is can't be listed, or something of it can't be removed.
pub(crate) fn remove() -> Result<()> {
    for line in ip("netns list")?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if is_orphan(name, NAMESPACES) {
            end_processes(name)?;
            ip(&format!("netns del {name}"))?;
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    // The last is unmounted first: a disk before what is behind it.
    for line in mounts.lines().rev() {
        let directory = Path::new(line.split_whitespace().nth(1).unwrap_or_default());
        let ours = |part: &std::ffi::OsStr| is_orphan(&part.to_string_lossy(), DIRECTORIES);
        if directory.iter().any(ours) {
            run(Command::new("umount").arg("--lazy").arg(directory))?;
        }
    }
    for entry in fs::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        if is_orphan(&entry.file_name().to_string_lossy(), DIRECTORIES) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Whether a name is one that a process gave that is gone.
fn is_orphan(name: &str, prefix: &str) -> bool {
    let id = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next());
    let id = id.and_then(|id| id.parse::<u32>().ok());
    id.is_some_and(|id| !is_run(id))
}

/// Whether a process is a harness that runs: not one that has ended and waits to be reaped, which has no program, and
/// not another one that was given the same id later.
fn is_run(id: u32) -> bool {
    let program = fs::read_link(format!("/proc/{id}/exe"));
    program
        .is_ok_and(|program| program.file_name().is_some_and(|name| name.to_string_lossy().contains("chaos")))
}

/// Nothing but nodes of that run can be in its namespaces.
fn end_processes(namespace: &str) -> Result<()> {
    for id in ip(&format!("netns pids {namespace}"))?.split_whitespace() {
        // It may end by itself meanwhile.
        let _ = run(Command::new("kill").args(["-9", id]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{is_orphan, namespace_prefix};

    #[test]
    fn only_what_a_dead_run_made_is_an_orphan() {
        // Above the largest process id that Linux gives.
        assert!(is_orphan("chaos-4194305-0-node-1", "chaos-"));
        assert!(is_orphan("ruvector-chaos-4194305-x1y2z3", "ruvector-chaos-"));
        assert!(is_orphan("chaos-1-0-node-1", "chaos-"), "the first process is no run");
        assert!(!is_orphan(&namespace_prefix("0"), "chaos-"));
        assert!(!is_orphan("ruvector-chaos-kept-4194305-x1y2z3", "ruvector-chaos-"));
        for foreign in ["chaos-monkey", "my-chaos-4194305", "", "chaos-"] {
            assert!(!is_orphan(foreign, "chaos-"), "{foreign}");
        }
    }
}
