//! A system's nodes: started, asked, killed, started again, and gone when dropped.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use ruvector_api::etcdserverpb::kv_client::KvClient;
use ruvector_api::etcdserverpb::lease_client::LeaseClient;
use ruvector_api::etcdserverpb::maintenance_client::MaintenanceClient;
use ruvector_api::etcdserverpb::{LeaseGrantRequest, StatusRequest};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::process::{ProcessGroup, kill};
use crate::programs::{NodeCommand, Programs};
use crate::session::{Session, wire};
use crate::system::System;
use crate::wire::Wire;
use crate::zookeeper;

/// Until all nodes of a new cluster take writes.
const READY_LIMIT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Lines of a node's output that are shown when it has ended.
const LINES_SHOWN: usize = 10;

/// A system that runs. Dropped, its processes are killed and its data removed.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) system: System,
    /// How many keys it holds, of those that [`Self::fill`] wrote.
    filled: u64,
    nodes: Vec<Node>,
    // Last, so that it is removed when nobody writes to it any more.
    _directory: TempDir,
}

/// Lets the disk take leave of what was removed before. A file system that tells the disk of free blocks does so when it
/// commits, seconds later, and all syncs wait meanwhile, 0.2 ms a MiB: the next system would be charged for the last one's data.
fn settle(scratch: &Path) -> Result<()> {
    let directory = File::open(scratch).with_context(|| format!("can't open {}", scratch.display()))?;
    rustix::fs::syncfs(directory).context("can't sync the file system")
}

impl Cluster {
    /// Starts a new system with data below `scratch`, and waits until each of its nodes takes writes.
    ///
    /// # Errors
    /// If a node ends, shown with its last words, or is not ready in time.
    pub(crate) async fn start(
        system: System,
        programs: &Programs,
        scratch: &Path,
        base_port: u16,
    ) -> Result<Self> {
        settle(scratch)?;
        let directory = TempDir::with_prefix_in(format!("{}-", system.name()), scratch)
            .with_context(|| format!("can't make a directory in {}", scratch.display()))?;
        let commands = programs.commands(system, base_port, directory.path())?;
        let nodes = commands.into_iter().map(Node::start).collect::<Result<_>>()?;
        let mut cluster = Self { system, filled: 0, nodes, _directory: directory };
        cluster.wait_until_ready().await.with_context(|| format!("{} does not start", system.name()))?;
        Ok(cluster)
    }

    /// The processes of its nodes.
    pub(crate) fn processes(&self) -> ProcessGroup {
        ProcessGroup(self.nodes.iter().map(|node| node.child.id()).collect())
    }

    /// The number of its nodes.
    pub(crate) fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Connections to the nodes in turn, the first of them to the leader if the system tells which that is: a single
    /// client is not to depend on the luck of the election.
    pub(crate) async fn sessions(&self, count: usize) -> Result<Vec<Session>> {
        let first = if self.system.is_etcd_like() { self.leader().await? } else { 0 };
        let mut sessions = Vec::new();
        for position in first..first + count {
            sessions.push(self.session(position % self.nodes.len()).await?);
        }
        Ok(sessions)
    }

    /// A new connection to one node.
    pub(crate) async fn session(&self, node: usize) -> Result<Session> {
        let address = &self.nodes[node].address;
        Ok(match self.system {
            System::Etcd | System::Ruvector | System::Ceiling => {
                Session::Etcd(KvClient::new(wire(address).await?))
            }
            System::ZooKeeper => Session::ZooKeeper(zookeeper::Session::connect(address).await?),
        })
    }

    /// Where each node listens for clients, `host:port`.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.clone()).collect()
    }

    /// Connections for services of etcd's API that [`Session`] does not have.
    ///
    /// # Errors
    /// If the system does not speak it.
    pub(crate) async fn wires(&self, count: usize) -> Result<Vec<Wire>> {
        let mut wires = Vec::new();
        for position in 0..count {
            wires.push(self.wire(position % self.nodes.len()).await?);
        }
        Ok(wires)
    }

    /// The same to one node.
    pub(crate) async fn wire(&self, node: usize) -> Result<Wire> {
        ensure!(self.system != System::ZooKeeper, "ZooKeeper does not speak etcd's API");
        wire(&self.nodes[node].address).await
    }

    /// Writes values of this size under the first `keys` keys, unless it was done before.
    pub(crate) async fn fill(&mut self, keys: u64, value_bytes: usize) -> Result<()> {
        if self.system == System::Ceiling || keys <= self.filled {
            return Ok(());
        }
        let value = Bytes::from(vec![b'v'; value_bytes]);
        self.session(0).await?.fill(self.filled..keys, value).await.context("the keys can't be written")?;
        self.filled = keys;
        Ok(())
    }

    /// Lets the system digest a burst of writes before it is read.
    ///
    /// etcd 3.4 keeps the buffer of the largest batch that it has written and copies it for every read, until it has
    /// committed a batch without any key: reads after a burst are several times slower than they are in daily use,
    /// where bursts are rare. A lease is such a batch.
    pub(crate) async fn digest(&self) -> Result<()> {
        /// Several of the intervals (100 ms) in which etcd commits.
        const TIME: Duration = Duration::from_millis(400);
        if !self.system.is_etcd_like() {
            return Ok(());
        }
        for node in &self.nodes {
            sleep(TIME).await;
            let grant = LeaseGrantRequest { ttl: 600, id: 0 };
            LeaseClient::new(wire(&node.address).await?).lease_grant(grant).await?;
        }
        sleep(TIME).await;
        Ok(())
    }

    /// Which node leads.
    ///
    /// # Errors
    /// If none says that it does.
    pub(crate) async fn leader(&self) -> Result<usize> {
        for (position, node) in self.nodes.iter().enumerate() {
            let mut maintenance = MaintenanceClient::new(wire(&node.address).await?);
            let status = maintenance.status(StatusRequest {}).await?.into_inner();
            if status.header.is_some_and(|header| header.member_id == status.leader) {
                return Ok(position);
            }
        }
        bail!("no node says that it leads")
    }

    /// Kills a node as a crash would.
    pub(crate) fn kill(&mut self, node: usize) -> Result<()> {
        self.nodes[node].kill()
    }

    /// Starts a node that was killed, on its data. Does not wait until it is ready.
    pub(crate) fn start_again(&mut self, node: usize) -> Result<()> {
        self.nodes[node].child = self.nodes[node].start.spawn()?;
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        for position in 0..self.nodes.len() {
            loop {
                self.nodes.iter_mut().try_for_each(Node::require_alive)?;
                match timeout(Duration::from_secs(5), self.prove(position)).await {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) if Instant::now() >= deadline => return Err(error),
                    Err(_) if Instant::now() >= deadline => bail!("node {} does not answer", position + 1),
                    Ok(Err(_)) | Err(_) => sleep(POLL_INTERVAL).await,
                }
            }
        }
        Ok(())
    }

    /// Writes the first key by way of this node.
    async fn prove(&self, node: usize) -> Result<()> {
        self.session(node).await?.fill(0..1, Bytes::from_static(b"ready")).await
    }
}

/// One node and how it is started.
#[derive(Debug)]
struct Node {
    address: String,
    start: Start,
    child: Child,
}

impl Node {
    fn start(node: NodeCommand) -> Result<Self> {
        let mut start = Start { node };
        Ok(Self { address: start.node.address.clone(), child: start.spawn()?, start })
    }

    fn kill(&mut self) -> Result<()> {
        kill(self.child.id())?;
        self.child.wait()?;
        Ok(())
    }

    fn require_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let output = fs::read_to_string(&self.start.node.log).unwrap_or_default();
                let lines: Vec<&str> = output.lines().collect();
                let last = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
                bail!("the node at {} has ended ({status}):\n{last}", self.address)
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a node, again and again.
#[derive(Debug)]
struct Start {
    node: NodeCommand,
}

impl Start {
    fn spawn(&mut self) -> Result<Child> {
        let NodeCommand { command, log, .. } = &mut self.node;
        let output = File::options().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C is for this program, which ends its nodes then.
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't run {}", command.get_program().to_string_lossy()))
    }
}
