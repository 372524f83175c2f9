//! A cluster of this machine, when its nodes run.

use std::path::Path;

use ruvector_client::{NodeStatus, Role};
use serde_json::json;

use crate::failure::Result;
use crate::local::LocalCluster;
use crate::output::{Content, Output, Rows, Tone};

/// A table of the nodes of a cluster that runs.
pub(crate) fn print_nodes(cluster: &LocalCluster, statuses: &[NodeStatus], output: Output) -> Result {
    let mut rows = Rows::new(["NODE", "ROLE", "CLIENTS", "PEERS", "PID", "DATA"]);
    for node in &cluster.nodes {
        let role = statuses.iter().find(|status| status.node.name == node.id).map(|status| status.group.role);
        let tone = if role == Some(Role::Leader) { Tone::Good } else { Tone::Plain };
        rows.add([
            Content::toned(&node.id, Tone::Strong),
            Content::toned(role.map_or_else(|| "-".to_owned(), |role| role.to_string()), tone),
            (&node.client).into(),
            (&node.peer).into(),
            node.pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string()).into(),
            short(&node.data_dir).into(),
        ]);
    }
    output.table(rows)
}

/// The leader's name, as the nodes tell it.
pub(crate) fn leader_name(statuses: &[NodeStatus]) -> &str {
    let leader = statuses.iter().find(|status| status.leads());
    leader.map_or("nobody", |status| status.node.name.as_str())
}

/// What `--json` prints of a cluster of this machine.
pub(crate) fn describe(cluster: &LocalCluster, statuses: &[NodeStatus]) -> serde_json::Value {
    let nodes: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| {
            json!({
                "id": node.id,
                "client": node.client,
                "peer": node.peer,
                "pid": node.pid(),
                "data_dir": node.data_dir,
                "log": node.log_file(),
            })
        })
        .collect();
    let leader = statuses.iter().find(|status| status.leads()).map(|status| &status.node.name);
    json!({
        "cluster": cluster.name,
        "cluster_id": cluster.cluster_id,
        "leader": leader,
        "endpoints": cluster.endpoints(),
        "nodes": nodes,
    })
}

/// A path as it is usually typed.
fn short(path: &Path) -> String {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    match home.and_then(|home| path.strip_prefix(home).ok().map(Path::to_owned)) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}
