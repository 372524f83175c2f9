//! `init`: a whole cluster on this machine, by one command.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use ruvector_client::NodeStatus;
use ruvector_server::parse_groups;

use crate::failure::{Doing, Failure, Result};
use crate::local::directories::failed_start_directory;
use crate::local::launch::{start_nodes, stop_nodes, wait_for_leader};
use crate::local::{ClusterName, Home, LocalCluster, ports};
use crate::options::Common;
use crate::output::{Output, Tone, spinner};
use crate::retention::RetentionArguments;
use crate::shapes::{describe, leader_name, print_nodes};
use crate::text::count;

/// The group that is always there.
const METADATA: &str = "metadata";
/// More nodes than this on one machine are surely a mistake.
const NODES_MAX: i64 = 32;

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ruvector consensus init
  ruvector consensus init --protocol raft --nodes 5
  ruvector consensus init --nodes 5 --groups metadata,shard-1=node-1+node-2+node-3,shard-2=node-3+node-4+node-5
  ruvector consensus init --name staging --nodes 3 --base-port 7500 --data-dir ./staging

Node i listens for clients on BASE + 10·(i − 1), and for other nodes on the port after that.
The nodes run in the background until `ruvector consensus stop`.")]
pub(crate) struct Init {
    /// How the nodes agree.
    #[arg(long, value_enum, default_value = "raft")]
    protocol: Protocol,

    /// How many nodes; three survive the loss of one, five of two.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=NODES_MAX))]
    nodes: u16,

    /// What to call the cluster [default: default].
    #[arg(long, value_name = "NAME")]
    name: Option<ClusterName>,

    /// Where to keep its data [default: in your data directory, or in RUVECTOR_HOME].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// The groups that agree on their own, each with its members; without any, all nodes are. `metadata` is always there.
    #[arg(long, value_name = "GROUP[=NODE+NODE],…")]
    groups: Option<String>,

    /// Where the nodes' ports begin.
    #[arg(long, value_name = "PORT", default_value_t = 7400, value_parser = clap::value_parser!(u16).range(1..))]
    base_port: u16,

    #[command(flatten)]
    retention: RetentionArguments,
}

/// How the nodes of a group agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Raft,
}

impl Init {
    pub(crate) async fn run(self, common: Common, output: Output) -> Result {
        let Protocol::Raft = self.protocol;
        let begun = Instant::now();
        let home = Home::find()?;
        let mut cluster = self.lay_out(&common, &home)?;
        let _lock = home.lock(&cluster.name)?;
        require_new(&home, &cluster)?;
        ports::require_free(&home, &cluster).await?;

        let statuses = match bring_up(&home, &mut cluster).await {
            Ok(Some(statuses)) => statuses,
            Ok(None) => {
                undo(&home, &cluster, Logs::Remove).await?;
                return Err(Failure::failed("interrupted; nothing was left behind"));
            }
            Err(failure) => {
                undo(&home, &cluster, Logs::Keep).await?;
                let logs = failed_start_directory(&cluster);
                return Err(
                    failure.and(&format!("all was undone but the logs, which are in {}", logs.display()))
                );
            }
        };
        cluster.cluster_id = statuses.first().map(|status| status.cluster.id.to_string());
        home.save(&cluster)?;
        if output.is_json() {
            return output.json(&describe(&cluster, &statuses));
        }
        let leader = leader_name(&statuses);
        output.line(format_args!(
            "{} Cluster {} runs on this machine: {}, {leader} leads {}\n",
            output.toned("✓", Tone::Good),
            output.toned(&cluster.name, Tone::Strong),
            count(cluster.nodes.len(), "node"),
            output.toned(format_args!("({:.1} s)", begun.elapsed().as_secs_f64()), Tone::Faint),
        ))?;
        print_nodes(&cluster, &statuses, output)?;
        print_next_steps(&cluster, output)
    }

    fn lay_out(&self, common: &Common, home: &Home) -> Result<LocalCluster> {
        if !common.endpoints.is_empty() {
            return Err(Failure::usage(
                "`init` makes nodes on this machine: give --base-port instead of --endpoints",
            ));
        }
        let name = match (&self.name, &common.cluster) {
            (Some(name), Some(other)) if name != other => {
                return Err(Failure::usage("--name and --cluster give two names: `init` needs only --name"));
            }
            (Some(name), _) | (None, Some(name)) => name.clone(),
            (None, None) => ClusterName::default_name(),
        };
        if !ports::fits(self.base_port, self.nodes) {
            return Err(Failure::usage(format!(
                "{} from port {} on would need port {}: choose a lower --base-port",
                count(usize::from(self.nodes), "node"),
                self.base_port,
                ports::last_port(self.base_port, self.nodes)
            )));
        }
        let directory = match &self.data_dir {
            Some(directory) => {
                std::path::absolute(directory).doing(|| format!("use {}", directory.display()))?
            }
            None => home.data_directory(&name),
        };
        if directory.to_str().is_none() {
            return Err(Failure::usage(format!(
                "{} is not UTF-8: choose another --data-dir",
                directory.display()
            )));
        }
        let cluster = LocalCluster::lay_out(name, directory, self.nodes, self.base_port);
        let groups = self.groups()?;
        Ok(LocalCluster { retention: self.retention, groups, ..cluster })
    }
}

impl Init {
    /// The groups beside the metadata group, as `serve` takes them.
    fn groups(&self) -> Result<Option<String>> {
        let Some(text) = &self.groups else { return Ok(None) };
        let groups = parse_groups(text).map_err(|error| Failure::usage(error.to_string()))?;
        let node = |number| format!("node-{number}");
        let nodes: Vec<_> = (1..=self.nodes).map(node).collect();
        let mut named = groups.values().flatten();
        if let Some(unknown) = named.find(|member| !nodes.contains(member)) {
            return Err(Failure::usage(format!(
                "--groups names {unknown}, and the nodes are {} to {}",
                node(1),
                node(self.nodes)
            )));
        }
        let others = groups.iter().filter(|(name, _)| *name != METADATA);
        let shown: Vec<_> = others
            .map(|(name, members)| match members.is_empty() {
                true => name.clone(),
                false => format!("{name}={}", members.join("+")),
            })
            .collect();
        Ok((!shown.is_empty()).then(|| shown.join(",")))
    }
}

/// How this program is called here: as it was called now, so that what is suggested can be copied.
fn program() -> String {
    std::env::args().next().filter(|name| !name.contains(' ')).unwrap_or_else(|| "ruvector".to_owned())
}

/// Refuses to build on anything that exists.
fn require_new(home: &Home, cluster: &LocalCluster) -> Result {
    let name = &cluster.name;
    if home.load(name)?.is_some() {
        return Err(Failure::failed(format!(
            "a cluster `{name}` exists already: `start` it, `destroy` it, or choose another --name"
        )));
    }
    for other in home.clusters()? {
        if other.directory == cluster.directory {
            return Err(Failure::failed(format!(
                "{} belongs to your cluster `{}`: choose another --data-dir",
                cluster.directory.display(),
                other.name
            )));
        }
    }
    match cluster.nodes.iter().map(|node| &node.data_dir).find(|directory| directory.exists()) {
        Some(directory) => Err(Failure::failed(format!(
            "{} exists already and is left alone: choose another --data-dir, or remove it if its data is not needed",
            directory.display()
        ))),
        None => Ok(()),
    }
}

/// Makes the directories, starts the nodes and waits for a leader; `None` if Ctrl-C came first.
async fn bring_up(home: &Home, cluster: &mut LocalCluster) -> Result<Option<Vec<NodeStatus>>> {
    for node in &cluster.nodes {
        fs::create_dir_all(&node.data_dir).doing(|| format!("make {}", node.data_dir.display()))?;
    }
    let progress = spinner(format!("starting {}", count(cluster.nodes.len(), "node")));
    let mut launched = start_nodes(home, cluster)?;
    let outcome = tokio::select! {
        statuses = wait_for_leader(cluster, &mut launched, &progress) => statuses.map(Some),
        _ = tokio::signal::ctrl_c() => Ok(None),
    };
    progress.finish_and_clear();
    outcome
}

/// What becomes of the nodes' logs when a start is undone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Logs {
    Keep,
    Remove,
}

/// Removes what this command made.
async fn undo(home: &Home, cluster: &LocalCluster, logs: Logs) -> Result {
    stop_nodes(cluster).await?;
    if logs == Logs::Keep {
        let kept = failed_start_directory(cluster);
        fs::create_dir_all(&kept).doing(|| format!("make {}", kept.display()))?;
        for node in &cluster.nodes {
            // A node that was not started has none.
            let _ = fs::rename(node.log_file(), kept.join(format!("{}.log", node.id)));
        }
    }
    for node in cluster.nodes.iter().filter(|node| node.data_dir.exists()) {
        fs::remove_dir_all(&node.data_dir).doing(|| format!("remove {}", node.data_dir.display()))?;
    }
    // Stays if something else is in it.
    let _ = fs::remove_dir(&cluster.directory);
    home.forget(&cluster.name)
}

fn print_next_steps(cluster: &LocalCluster, output: Output) -> Result {
    let program = program();
    let chosen =
        if cluster.name.is_default() { String::new() } else { format!(" --cluster {}", cluster.name) };
    let steps = [
        (format!("{program} consensus put{chosen} greeting hello"), "write a key"),
        (format!("{program} consensus get{chosen} greeting"), "read it"),
        (format!("{program} consensus status{chosen} --detailed"), "see how every node does"),
        (format!("{program} consensus stop{chosen}"), "`start` goes on, `destroy` removes"),
    ];
    let width = steps.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    output.line(format_args!("\n{}", output.toned("Try next:", Tone::Strong)))?;
    for (command, purpose) in steps {
        output.line(format_args!("  {command:<width$}   {}", output.toned(purpose, Tone::Faint)))?;
    }
    output.line(format_args!("\n{}", output.toned("With etcd's own tools:", Tone::Strong)))?;
    output.line(format_args!("  ETCDCTL_API=3 etcdctl --endpoints {} get greeting", cluster.endpoints()))
}
