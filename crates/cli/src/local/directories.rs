//! Where files of a cluster lie beside its nodes' data directories.

use std::fs;
use std::path::{Path, PathBuf};

use super::cluster::{LocalCluster, LocalNode};

/// Where the logs of a start that failed are kept.
pub(crate) fn failed_start_directory(cluster: &LocalCluster) -> PathBuf {
    cluster.directory.join("failed-start")
}

/// Where a node's data from before a restore is kept.
pub(crate) fn old_directory(node: &LocalNode, label: &str) -> PathBuf {
    beside(&node.data_dir, &format!("before-restore-{label}"))
}

/// All that is kept of a node from before its restores.
pub(crate) fn old_directories(node: &LocalNode) -> Vec<PathBuf> {
    let Some(parent) = node.data_dir.parent() else { return Vec::new() };
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let beginning = beside(&node.data_dir, "before-restore-");
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.as_os_str().as_encoded_bytes().starts_with(beginning.as_os_str().as_encoded_bytes())
        })
        .collect()
}

/// Where a restore makes a node's data directory, before it takes the old one's place.
pub(crate) fn new_directory(node: &LocalNode, label: &str) -> PathBuf {
    beside(&node.data_dir, &format!("restoring-{label}"))
}

fn beside(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
