//! Starts and stops a cluster that is remembered, and remembers what came of it.

use ruvector_client::NodeStatus;

use super::cluster::LocalCluster;
use super::launch::{Stopped, await_killed, start_nodes, stop_nodes, wait_for_leader};
use super::ports;
use super::registry::Home;
use crate::failure::{Failure, Result};
use crate::output::spinner;

/// Starts what does not run, and waits for a leader. Gives the cluster as it is now, what its nodes say, and how many
/// were started.
pub(crate) async fn bring_back(
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
    cluster.cluster_id = statuses.first().map(|status| status.cluster.id.to_string());
    home.save(&cluster)?;
    Ok((cluster, statuses, launched.count()))
}

/// Stops what runs, and writes down that it does not run.
pub(crate) async fn stop(home: &Home, cluster: &LocalCluster) -> Result<Stopped> {
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
pub(crate) fn require_unused(cluster: &LocalCluster) -> Result {
    match cluster.nodes.iter().find(|node| !ports::is_free(&node.peer)) {
        None => Ok(()),
        Some(node) => Err(Failure::failed(format!(
            "a process that `ruvector` did not start in the background has {}'s port {}: end it first",
            node.id, node.peer
        ))),
    }
}
