//! A cluster of real processes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use ruvector_client::{Client, ClientOptions, Id, NodeStatus};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::process::{Ran, run, ruvector};
use super::wait::{PATIENCE, await_condition, await_some};
use crate::ports::free_base_port;

/// The right to use the machine: the tests of this program take turns.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "held, not looked at")] MutexGuard<'static, ()>);

impl Turn {
    pub(crate) fn take() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        // A test that failed with it held does not concern the next.
        Self(TURN.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A cluster made by `init`, destroyed when dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) cluster_id: String,
    pub(crate) home: PathBuf,
    client: Client,
    runtime: Runtime,
    _temporary: TempDir,
    _turn: Turn,
}

/// A node as `init --json` and `start --json` tell it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: String,
    /// `host:port`, as [`Node::peer`].
    pub(crate) client: String,
    pub(crate) peer: String,
    pub(crate) pid: u32,
    pub(crate) data_dir: PathBuf,
}

impl Cluster {
    /// Makes and starts a cluster of `node_count`.
    pub(crate) fn start(node_count: usize) -> Self {
        Self::start_with(node_count, &[])
    }

    /// The same, with more arguments for `init`.
    pub(crate) fn start_with(node_count: usize, arguments: &[&str]) -> Self {
        let turn = Turn::take();
        let temporary = tempfile::tempdir().unwrap();
        let home = temporary.path().join("home");
        let base_port = free_base_port(u16::try_from(node_count).unwrap()).to_string();
        let mut init = ruvector(&home);
        init.args(["init", "--json", "--name", "e2e", "--nodes", &node_count.to_string()]);
        init.args(["--base-port", &base_port]).args(arguments);
        let made = json(run(&mut init, ""));
        let nodes = nodes(&made);
        assert_eq!(nodes.len(), node_count, "{made}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = {
            let _context = runtime.enter();
            client(&nodes)
        };
        let cluster_id = made["cluster_id"].as_str().unwrap().to_owned();
        Self { nodes, cluster_id, home, client, runtime, _temporary: temporary, _turn: turn }
    }

    /// Runs a verb of the command line on this cluster.
    pub(crate) fn verb(&self, arguments: &[&str]) -> Ran {
        run(ruvector(&self.home).args(arguments), "")
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for something asynchronous.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// `host:port,host:port,…` of all nodes' client ports.
    pub(crate) fn endpoints(&self) -> String {
        self.nodes.iter().map(|node| node.client.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Kills the processes as `kill -9` does, all before waiting for the end of any.
    pub(crate) fn kill(&self, positions: &[usize]) {
        self.signal(positions, Signal::KILL);
        for position in positions {
            self.await_end(*position);
        }
    }

    /// Has the processes stand still, all their threads at once.
    pub(crate) fn pause(&self, positions: &[usize]) {
        self.signal(positions, Signal::STOP);
    }

    /// Has processes that stood still go on.
    pub(crate) fn go_on(&self, positions: &[usize]) {
        self.signal(positions, Signal::CONT);
    }

    fn signal(&self, positions: &[usize], signal: Signal) {
        for position in positions {
            let pid = i32::try_from(self.nodes[*position].pid).unwrap();
            kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        }
    }

    /// Waits until a node's process is gone.
    pub(crate) fn await_end(&self, position: usize) {
        let node = &self.nodes[position];
        await_condition(&format!("the end of {}", node.id), || !is_running(node.pid));
    }

    /// Starts the nodes that do not run, and waits for a leader.
    pub(crate) fn start_missing(&mut self) {
        let started = json(self.verb(&["start", "--json"]));
        self.nodes = nodes(&started);
    }

    /// What a node answers over plain HTTP: the status, and the body.
    pub(crate) fn http(&self, position: usize, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.nodes[position].client).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Stops all nodes in good order.
    pub(crate) fn stop(&self) {
        self.verb(&["stop"]).succeeded();
    }

    /// What each node that answers says of itself, with its position.
    pub(crate) fn statuses(&self) -> Vec<(usize, NodeStatus)> {
        self.wait(async {
            let mut statuses = Vec::new();
            for (position, node) in self.client.nodes().enumerate() {
                statuses.extend(node.status().await.ok().map(|status| (position, status)));
            }
            statuses
        })
    }

    pub(crate) fn status(&self, position: usize) -> NodeStatus {
        let node = self.client.nodes().nth(position).unwrap();
        self.wait(node.status()).unwrap()
    }

    /// The position of a leader that knows itself to be one.
    pub(crate) fn leader(&self) -> usize {
        await_some("a leader", || {
            let statuses = self.statuses();
            let leader = statuses.iter().filter(|(_, status)| status.leads());
            leader.max_by_key(|(_, status)| status.group.term).map(|(position, _)| *position)
        })
    }

    /// Waits until all nodes have applied the same, and checks that it made the same of them.
    pub(crate) fn await_agreement(&self) -> NodeStatus {
        await_some("all nodes at the same index", || {
            let statuses = self.statuses();
            let applied: BTreeSet<u64> =
                statuses.iter().map(|(_, status)| status.group.applied_index).collect();
            let leaders: BTreeSet<Option<Id>> =
                statuses.iter().map(|(_, status)| status.group.leader_id()).collect();
            if statuses.len() < self.nodes.len() || applied.len() > 1 || leaders.len() > 1 {
                return None;
            }
            let hashes: BTreeSet<&str> =
                statuses.iter().map(|(_, status)| status.group.state_hash.as_str()).collect();
            assert_eq!(hashes.len(), 1, "replicas differ at index {applied:?}: {statuses:#?}");
            let revisions: BTreeSet<i64> =
                statuses.iter().map(|(_, status)| status.group.store().revision).collect();
            assert_eq!(revisions.len(), 1, "{statuses:#?}");
            statuses.into_iter().next().map(|(_, status)| status)
        })
    }

    fn check_logs(&self) {
        for node in &self.nodes {
            let log = node.log();
            assert!(!log.contains("panicked"), "{} panicked:\n{log}", node.id);
        }
    }

    /// Tells what the nodes said last, for the reader of a failed test.
    fn show_logs(&self) {
        for node in &self.nodes {
            let log = node.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the last lines of {}", node.id);
            for line in &lines[lines.len().saturating_sub(30)..] {
                eprintln!("{line}");
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        let logs = (!std::thread::panicking()).then(|| self.check_logs());
        let destroyed = run(ruvector(&self.home).args(["destroy", "--yes"]), "");
        if logs.is_some() {
            destroyed.succeeded();
        }
    }
}

impl Node {
    /// Everything that the node's processes wrote to their log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.data_dir.join("node.log")).unwrap_or_default()
    }

    /// `serve` with this node's directory and ports, in the foreground, as `start` runs it.
    pub(crate) fn serve(&self, home: &Path, cluster: &str) -> Command {
        let mut serve = ruvector(home);
        serve.args(["serve", "--cluster", cluster, "--id", &self.id]);
        serve.args(["--listen-client", &self.client, "--listen-peer", &self.peer]);
        serve.arg("--data-dir").arg(&self.data_dir);
        serve
    }

    /// All files of the node below a directory of its data directory, largest first.
    pub(crate) fn files(&self, directory: &str) -> Vec<PathBuf> {
        let mut files: Vec<(u64, PathBuf)> = fs::read_dir(self.data_dir.join(directory))
            .unwrap_or_else(|error| {
                panic!("no directory {directory} in {}: {error}", self.data_dir.display())
            })
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| (entry.metadata().unwrap().len(), entry.path()))
            .collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        files.into_iter().map(|(_, path)| path).collect()
    }
}

/// Changes one byte of a file.
pub(crate) fn flip_byte(path: &Path, offset: u64) {
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&[!byte[0]]).unwrap();
}

fn client(nodes: &[Node]) -> Client {
    Client::new(nodes.iter().map(|node| node.client.as_str()), ClientOptions::default()).unwrap()
}

fn json(ran: Ran) -> Value {
    let text = ran.succeeded();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn nodes(made: &Value) -> Vec<Node> {
    let text = |node: &Value, key: &str| {
        node[key].as_str().unwrap_or_else(|| panic!("no {key} in {node}")).to_owned()
    };
    let nodes = made["nodes"].as_array().unwrap_or_else(|| panic!("no nodes in {made}"));
    nodes
        .iter()
        .map(|node| Node {
            id: text(node, "id"),
            client: text(node, "client"),
            peer: text(node, "peer"),
            pid: u32::try_from(node["pid"].as_u64().unwrap_or_else(|| panic!("no pid in {node}"))).unwrap(),
            data_dir: PathBuf::from(text(node, "data_dir")),
        })
        .collect()
}

/// Whether there is such a process that has not ended; one that only waits to be noticed has. While its first thread
/// is gone and another is not, it still has its ports and files.
fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // The state and the number of threads, see proc_pid_stat(5).
    !(matches!(fields[0], "Z" | "X") && matches!(fields[17], "0" | "1"))
}
