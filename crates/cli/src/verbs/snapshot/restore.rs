//! `snapshot --restore`: a cluster of this machine goes back to a snapshot.
//!
//! The new data directories are made, and the snapshot verified by that, before anything of the old ones is
//! touched; the old ones stay beside the new.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ruvector_server::{RestoredNode, restore_data_directory};
use serde_json::json;

use crate::failure::{Doing, Failure, Result};
use crate::local::directories::{new_directory, old_directory};
use crate::local::lifecycle::{bring_back, require_unused, stop};
use crate::local::{LocalCluster, LocalNode};
use crate::nodes::ask_all;
use crate::options::Common;
use crate::output::{Output, Tone, confirm};
use crate::shapes::{describe, print_nodes};
use crate::target::{Target, local_cluster};
use crate::text::time_for_names;

/// Takes a cluster of this machine back to a snapshot that one of its nodes has.
pub(super) async fn restore(common: &Common, name: &str, yes: bool, output: Output) -> Result {
    let (home, cluster) = local_cluster(common, "snapshot --restore")?;
    let _lock = home.lock(&cluster.name)?;
    if let Some(groups) = &cluster.groups {
        return Err(Failure::failed(format!(
            "a snapshot is of one group, and cluster `{}` has several (metadata,{groups}): to restore would drop the \
             others, and is not done; nothing was changed",
            cluster.name
        )));
    }
    let loss = match cluster.nodes.iter().any(LocalNode::runs) {
        true => loss_of_running(&cluster, name).await?,
        false => "everything written since is lost".to_owned(),
    };
    if !yes {
        confirm(&format!(
            "This takes cluster `{}` back to snapshot `{name}`: {loss} (the old data directories are kept beside the \
             new). Go on?",
            cluster.name
        ))?;
    }
    stop(&home, &cluster).await?;
    require_unused(&cluster)?;

    let label = time_for_names(SystemTime::now());
    let restored = make_directories(&cluster, name, &label)
        .map_err(|failure| failure.and("nothing was changed, and `start` brings the nodes back"))?;
    exchange_directories(&cluster, &label)?;
    let (cluster, statuses, _) = bring_back(&home, cluster).await?;

    let index = restored.snapshot.meta.position.index.0;
    let old: Vec<PathBuf> = cluster.nodes.iter().map(|node| old_directory(node, &label)).collect();
    if output.is_json() {
        let mut description = describe(&cluster, &statuses);
        description["snapshot"] = json!({ "name": name, "index": index });
        description["old_data_dirs"] = json!(old);
        return output.json(&description);
    }
    output.line(format_args!(
        "{} Cluster {} is back at snapshot {name}, the state after entry {index}.\n",
        output.toned("✓", Tone::Good),
        output.toned(&cluster.name, Tone::Strong),
    ))?;
    print_nodes(&cluster, &statuses, output)?;
    output.line("\nThe data from before is kept in")?;
    old.iter().try_for_each(|directory| output.line(format_args!("  {}", directory.display())))
}

/// What would be lost, in words.
///
/// # Errors
/// If no node that answers has the snapshot; nothing has been touched then.
async fn loss_of_running(cluster: &LocalCluster, name: &str) -> Result<String> {
    let client = Target::of_cluster(cluster).client()?;
    let lists = ask_all(client.nodes(), |node| async move { node.list_snapshots().await }).await;
    let listed = lists.into_iter().filter_map(|answer| answer.result.ok()).flatten();
    let snapshots: Vec<_> = listed.filter(|snapshot| snapshot.damage.is_none()).collect();
    let Some(snapshot) = snapshots.iter().find(|snapshot| snapshot.name == name) else {
        let mut names: Vec<&str> = snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        return Err(Failure::failed(format!(
            "no node has a snapshot `{name}`; there {}; nothing was changed",
            if names.is_empty() { "is none".to_owned() } else { format!("are {}", names.join(", ")) }
        )));
    };
    let statuses = ask_all(client.nodes(), |node| async move { node.status().await }).await;
    let last = statuses
        .iter()
        .filter_map(|answer| answer.result.as_ref().ok())
        .map(|status| status.group.commit_index)
        .max();
    Ok(match last {
        Some(last) => format!(
            "the snapshot holds the state after entry {}, and the {} entries since are lost",
            snapshot.index,
            last.saturating_sub(snapshot.index)
        ),
        None => format!("everything after entry {} is lost", snapshot.index),
    })
}

/// Makes the new data directory of every node, from the first node whose snapshot is good.
fn make_directories(cluster: &LocalCluster, name: &str, label: &str) -> Result<RestoredNode> {
    let mut reasons = Vec::new();
    for source in &cluster.nodes {
        match make_directories_from(cluster, &source.data_dir, name, label) {
            Ok(restored) => return Ok(restored),
            Err(reason) => reasons.push(format!("{}: {reason}", source.id)),
        }
        for node in &cluster.nodes {
            let half_made = new_directory(node, label);
            if half_made.exists() {
                fs::remove_dir_all(&half_made).doing(|| format!("remove {}", half_made.display()))?;
            }
        }
    }
    Err(Failure::failed(format!("no node has a good snapshot `{name}` ({})", reasons.join("; "))))
}

fn make_directories_from(
    cluster: &LocalCluster,
    source: &Path,
    name: &str,
    label: &str,
) -> std::result::Result<RestoredNode, String> {
    let mut last = Err("the cluster has no nodes".to_owned());
    for node in &cluster.nodes {
        let made = restore_data_directory(source, name, &new_directory(node, label), &node.id, label);
        last = Ok(made.map_err(|error| error.to_string())?);
    }
    last
}

/// Puts the new directories in the place of the old.
fn exchange_directories(cluster: &LocalCluster, label: &str) -> Result {
    for node in &cluster.nodes {
        let old = old_directory(node, label);
        let new = new_directory(node, label);
        fs::rename(&node.data_dir, &old)
            .and_then(|()| fs::rename(&new, &node.data_dir))
            .doing(|| format!("put {} in the place of {}", new.display(), node.data_dir.display()))?;
    }
    File::open(&cluster.directory)
        .and_then(|directory| directory.sync_all())
        .doing(|| format!("sync {}", cluster.directory.display()))
}
