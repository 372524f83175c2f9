//! Brings a whole cluster up and down.

use std::process::{Child, ExitStatus};
use std::time::Duration;

use indicatif::ProgressBar;
use rustix::process::Signal;
use ruvector_client::{Client, ClientOptions, NodeStatus};
use tokio::time::{Instant, sleep};

use super::cluster::{LocalCluster, LocalNode};
use super::registry::Home;
use super::spawn::spawn;
use crate::failure::{Failure, Result};
use crate::output::note;
use crate::text::count;

/// How long nodes may take to recover their logs and find a leader.
const LEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a node may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How often is looked.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// Lines of its log that are shown when a node dies.
const LOG_LINES_SHOWN: usize = 10;

/// Nodes that were just started, and are still this process's children.
#[derive(Debug, Default)]
pub(crate) struct Launched {
    children: Vec<(usize, Child)>,
}

/// What stopping did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stopped {
    /// The nodes that ran.
    pub(crate) stopped: Vec<String>,
    /// Those of them that had to be killed.
    pub(crate) killed: Vec<String>,
}

/// Starts the nodes that do not run, and writes down their processes as each is started.
pub(crate) fn start_nodes(home: &Home, cluster: &mut LocalCluster) -> Result<Launched> {
    let mut launched = Launched::default();
    for position in 0..cluster.nodes.len() {
        if cluster.nodes[position].runs() {
            continue;
        }
        let (child, process) = spawn(cluster, &cluster.nodes[position])?;
        launched.children.push((position, child));
        cluster.nodes[position].process = Some(process);
        home.save(cluster)?;
    }
    Ok(launched)
}

/// Waits until every node answers and all agree on a leader. Gives what each says, in the cluster's order.
///
/// # Errors
/// If a node that was just started dies (its last words are shown), or there is no leader in time.
pub(crate) async fn wait_for_leader(
    cluster: &LocalCluster,
    launched: &mut Launched,
    progress: &ProgressBar,
) -> Result<Vec<NodeStatus>> {
    let options = ClientOptions { request_timeout: Duration::from_secs(2), ..ClientOptions::default() };
    let client = Client::new(cluster.nodes.iter().map(|node| node.client.as_str()), options)?;
    let deadline = Instant::now() + LEADER_TIMEOUT;
    loop {
        launched.require_alive(cluster)?;
        let mut statuses = Vec::new();
        for (node, remembered) in client.nodes().zip(&cluster.nodes) {
            let status = node.status().await.ok();
            // A stranger that listens there is not an answer.
            statuses.extend(status.filter(|status| {
                status.node.name == remembered.id && status.cluster.name == cluster.name.as_str()
            }));
        }
        if agreed(cluster, &statuses) {
            return Ok(statuses);
        }
        if Instant::now() >= deadline {
            return Err(no_leader(cluster, &statuses));
        }
        progress.set_message(if statuses.len() < cluster.nodes.len() {
            format!("{} of {} answer", statuses.len(), count(cluster.nodes.len(), "node"))
        } else {
            "waiting for a leader".to_owned()
        });
        sleep(POLL_INTERVAL).await;
    }
}

/// Asks every node to stop, waits, and kills those that do not.
pub(crate) async fn stop_nodes(cluster: &LocalCluster) -> Result<Stopped> {
    let running: Vec<&LocalNode> = cluster.nodes.iter().filter(|node| node.runs()).collect();
    let mut outcome =
        Stopped { stopped: running.iter().map(|node| node.id.clone()).collect(), ..Stopped::default() };
    signal_all(&running, Signal::TERM)?;
    let present: Vec<&LocalNode> = cluster.nodes.iter().filter(|node| !node.has_ended()).collect();
    let late = wait_for_end(&present, STOP_TIMEOUT).await;
    if late.is_empty() {
        return Ok(outcome);
    }
    outcome.killed = late.iter().map(|node| node.id.clone()).collect();
    note(format_args!("{} did not stop within {STOP_TIMEOUT:?}: killing", outcome.killed.join(", ")));
    signal_all(&late, Signal::KILL)?;
    require_end(&late).await.map(|()| outcome)
}

/// Waits until the processes that were killed have closed their ports and files.
pub(crate) async fn await_killed(cluster: &LocalCluster) -> Result {
    let killed: Vec<&LocalNode> = cluster.nodes.iter().filter(|node| node.is_ending()).collect();
    require_end(&killed).await
}

async fn require_end(killed: &[&LocalNode]) -> Result {
    match wait_for_end(killed, STOP_TIMEOUT).await.first() {
        None => Ok(()),
        Some(node) => Err(Failure::failed(format!(
            "{} (process {}) does not end even when killed: its disk may be stuck",
            node.id,
            node.process.as_ref().map_or(0, |process| process.pid)
        ))),
    }
}

impl Launched {
    /// Fails, with the last words on standard error, if a node that was started has ended.
    fn require_alive(&mut self, cluster: &LocalCluster) -> Result {
        for (position, child) in &mut self.children {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(died(&cluster.nodes[*position], status));
            }
        }
        Ok(())
    }

    pub(crate) fn count(&self) -> usize {
        self.children.len()
    }
}

impl Drop for Launched {
    /// Takes note of children that have ended, so that they are not mistaken for running ones.
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            let _ = child.try_wait();
        }
    }
}

fn agreed(cluster: &LocalCluster, statuses: &[NodeStatus]) -> bool {
    let Some(leader) = statuses.iter().find(|status| status.leads()) else { return false };
    statuses.len() == cluster.nodes.len()
        && statuses.iter().all(|status| {
            status.group.leader_id() == Some(leader.node.id) && status.group.term == leader.group.term
        })
        && statuses.iter().flat_map(NodeStatus::groups).all(|group| group.leader.is_some())
}

fn died(node: &LocalNode, status: ExitStatus) -> Failure {
    let lines = node.last_log_lines(LOG_LINES_SHOWN);
    if !lines.is_empty() {
        note(format_args!("The last words of {}:", node.id));
        for line in &lines {
            note(format_args!("  {line}"));
        }
    }
    Failure::failed(format!("{} ended while starting ({status})", node.id))
}

fn no_leader(cluster: &LocalCluster, statuses: &[NodeStatus]) -> Failure {
    let answering: Vec<&str> = statuses.iter().map(|status| status.node.name.as_str()).collect();
    Failure::failed(format!(
        "no leader within {LEADER_TIMEOUT:?}; {} of {} answer{}",
        answering.len(),
        count(cluster.nodes.len(), "node"),
        if answering.is_empty() { String::new() } else { format!(" ({})", answering.join(", ")) },
    ))
}

fn signal_all(nodes: &[&LocalNode], signal: Signal) -> Result {
    nodes.iter().try_for_each(|node| node.signal(signal))
}

/// Waits until the nodes' processes have ended; gives those that have not in time.
async fn wait_for_end<'a>(nodes: &[&'a LocalNode], limit: Duration) -> Vec<&'a LocalNode> {
    let deadline = Instant::now() + limit;
    loop {
        let running: Vec<&LocalNode> = nodes.iter().copied().filter(|node| !node.has_ended()).collect();
        if running.is_empty() || Instant::now() >= deadline {
            return running;
        }
        sleep(POLL_INTERVAL).await;
    }
}
