//! `start`, `stop` and `destroy`: what becomes of a cluster of this machine after `init`.

use std::fs;

use clap::Args;
use serde_json::json;

use crate::failure::{Doing, Result};
use crate::local::LocalCluster;
use crate::local::directories::{failed_start_directory, old_directories};
use crate::local::lifecycle::{bring_back, require_unused, stop};
use crate::options::Common;
use crate::output::{Output, Tone, confirm};
use crate::shapes::{describe, leader_name, print_nodes};
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
