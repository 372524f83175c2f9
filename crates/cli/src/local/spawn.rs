//! Starts a node's process in the background.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::cluster::{LocalCluster, LocalNode};
use super::process::NodeProcess;
use crate::failure::{Doing, Result};

/// Starts a node in the background: in a process group of its own, so that neither Ctrl-C nor a closed terminal
/// reaches it, and with all of its output in the node's log file: its log, and what it may say before that is set up or when it panics.
pub(crate) fn spawn(cluster: &LocalCluster, node: &LocalNode) -> Result<(Child, NodeProcess)> {
    let log_path = node.log_file();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .doing(|| format!("write {}", log_path.display()))?;
    let for_errors = log.try_clone().doing(|| format!("write {}", log_path.display()))?;
    let program = std::env::current_exe().doing(|| "find this program's own file".to_owned())?;
    let mut child = Command::new(program)
        .args(["consensus", "serve"])
        .args(["--cluster", cluster.name.as_str()])
        .args(["--id", &node.id])
        .arg("--data-dir")
        .arg(&node.data_dir)
        .args(["--listen-client", &node.client])
        .args(["--listen-peer", &node.peer])
        .args(["--initial-nodes", &cluster.initial_nodes()])
        .arg("--log-file")
        .arg(&log_path)
        .args(cluster.groups.iter().flat_map(|groups| ["--groups", groups]))
        .args(cluster.retention.flags())
        .env_remove("RUVECTOR_ENDPOINTS")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(for_errors)
        .process_group(0)
        .spawn()
        .doing(|| format!("start {}", node.id))?;
    match NodeProcess::of(child.id()) {
        Some(process) => Ok((child, process)),
        None => {
            // It can't be recognised later, so it must not stay.
            let _ = child.kill().and_then(|()| child.wait());
            Err(io::Error::other("the system does not tell when it began"))
                .doing(|| format!("watch {}", node.id))
        }
    }
}
