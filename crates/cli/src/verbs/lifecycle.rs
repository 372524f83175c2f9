//! `start`, `stop` and `destroy`: what becomes of a cluster of this machine after `init`.

use std::fs;

use clap::Args;
use ruvector_client::NodeStatus;
use serde_json::json;

use super::init::{describe, failed_start_directory, leader_name, print_nodes};
use super::restore::old_directories;
use crate::failure::{Doing, Failure, Result};
use crate::local::launch::{Stopped, await_killed, start_nodes, stop_nodes, wait_for_leader};
use crate::local::{Home, LocalCluster, ports};
use crate::options::Common;
use crate::output::{Output, Tone, confirm, spinner};
use crate::target::local_cluster;
use crate::text::count;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus start
  ruvector consensus start --cluster staging

Nodes that run are left alone, so this also brings back a node that was killed.")]
pub(crate) struct Start {}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus stop
  ruvector consensus stop --cluster staging")]
pub(crate) struct Stop {}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus destroy
  ruvector consensus destroy --cluster staging --yes")]
pub(crate) struct Destroy {
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl Start {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let (home, cluster) = local_cluster(&common, "start")?;
        let _lock = home.lock(&cluster.name)?;
        let (cluster, statuses, started) = bring_back(&home, cluster).await?;
        if output.is_json() {
            return output.json(&describe(&cluster, &statuses));
        }
        let what = match started {
            0 => "ran already".to_owned(),
            started => format!("runs: {} started", count(started, "node")),
        };
        output.line(format_args!(
            "{} Cluster {} {what}, {} leads.\n",
            output.toned("✓", Tone::Good),
            output.toned(&cluster.name, Tone::Strong),
            leader_name(&statuses)
        ))?;
        print_nodes(&cluster, &statuses, output)
    }
}

impl Stop {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let (home, cluster) = local_cluster(&common, "stop")?;
        let _lock = home.lock(&cluster.name)?;
        let stopped = stop(&home, &cluster).await?;
        if output.is_json() {
            return output.json(&json!({
                "cluster": cluster.name, "stopped": stopped.stopped, "killed": stopped.killed,
            }));
        }
        if stopped.stopped.is_empty() {
            return output.line(format_args!("No node of cluster {} was running.", cluster.name));
        }
        output.line(format_args!(
            "{} Cluster {} has stopped ({}). Its data stays; `start` goes on where it was.",
            output.toned("✓", Tone::Good),
            output.toned(&cluster.name, Tone::Strong),
            stopped.stopped.join(", ")
        ))
    }
}

impl Destroy {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let (home, cluster) = local_cluster(&common, "destroy")?;
        let _lock = home.lock(&cluster.name)?;
        if !self.yes {
            confirm(&format!(
                "This stops cluster `{}` and removes all its data in {}. Go on?",
                cluster.name,
                cluster.directory.display()
            ))?;
        }
        stop(&home, &cluster).await?;
        require_unused(&cluster)?;
        remove_data(&cluster)?;
        home.forget(&cluster.name)?;
        if output.is_json() {
            return output.json(&json!({ "cluster": cluster.name, "destroyed": true }));
        }
        output.line(format_args!(
            "{} Cluster {} and its data are gone.",
            output.toned("✓", Tone::Good),
            output.toned(&cluster.name, Tone::Strong)
        ))
    }
}

/// Starts what does not run, and waits for a leader. Gives the cluster as it is now, what its nodes say, and how many
/// were started.
pub(super) async fn bring_back(
    home: &Home,
    mut cluster: LocalCluster,
) -> Result<(LocalCluster, Vec<NodeStatus>, usize)> {
    if let Some(node) = cluster.nodes.iter().find(|node| !node.data_dir.is_dir()) {
        return Err(Failure::failed(format!(
            "{} of cluster `{}` has lost its data directory {}: bring it back, or make an empty one to have \
             the node get everything from the others (safe only while they all run), or `destroy` the cluster",
            node.id,
            cluster.name,
            node.data_dir.display()
        )));
    }
    await_killed(&cluster).await?;
    ports::require_free(home, &cluster).await?;
    let progress = spinner("starting");
    let mut launched = start_nodes(home, &mut cluster)?;
    let waited = wait_for_leader(&cluster, &mut launched, &progress).await;
    progress.finish_and_clear();
    let logs = cluster.directory.join("NODE").join("node.log");
    let statuses =
        waited.map_err(|failure| failure.and(&format!("the nodes' logs are {}", logs.display())))?;
    // A restore gives a cluster a new id.
    cluster.cluster_id = statuses.first().map(|status| format!("{:016x}", status.cluster_id));
    home.save(&cluster)?;
    Ok((cluster, statuses, launched.count()))
}

/// Stops what runs, and writes down that it does not run.
pub(super) async fn stop(home: &Home, cluster: &LocalCluster) -> Result<Stopped> {
    let progress = spinner("stopping");
    let outcome = stop_nodes(cluster).await;
    progress.finish_and_clear();
    let stopped = outcome?;
    let mut at_rest = cluster.clone();
    at_rest.nodes.iter_mut().for_each(|node| node.process = None);
    home.save(&at_rest)?;
    Ok(stopped)
}

/// Refuses to take files away from a node that was started by other means than `init` and `start`.
pub(super) fn require_unused(cluster: &LocalCluster) -> Result {
    match cluster.nodes.iter().find(|node| !ports::is_free(&node.peer)) {
        None => Ok(()),
        Some(node) => Err(Failure::failed(format!(
            "a process that `ruvector` did not start in the background has {}'s port {}: end it first",
            node.id, node.peer
        ))),
    }
}

fn remove_data(cluster: &LocalCluster) -> Result {
    let present = cluster.nodes.iter().map(|node| node.data_dir.clone());
    let before_restores = cluster.nodes.iter().flat_map(old_directories);
    for directory in present.chain(before_restores).chain([failed_start_directory(cluster)]) {
        if directory.exists() {
            fs::remove_dir_all(&directory).doing(|| format!("remove {}", directory.display()))?;
        }
    }
    // Stays if something else is in it.
    let _ = fs::remove_dir(&cluster.directory);
    Ok(())
}
