//! How a node of each system is started: with its defaults, and every write synced to disk before it is acknowledged.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::system::System;

/// Ports of one node: for clients, for peers, and ZooKeeper's for elections.
const PORTS_PER_NODE: u16 = 10;
const HOST: &str = "127.0.0.1";
/// Where Debian puts ZooKeeper and what it needs.
const JARS: &str = "/usr/share/java";

/// The programs of the systems.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// This project's program.
    pub(crate) ruvector: PathBuf,
    pub(crate) etcd: PathBuf,
    pub(crate) java: PathBuf,
    /// This very program, which is also the server that does nothing.
    pub(crate) bench: PathBuf,
}

impl Programs {
    /// Why the system can't be measured here, if so.
    pub(crate) fn obstacle(&self, system: System) -> Option<String> {
        let missing = |program: &Path| match find(program) {
            Some(_) => None,
            None => Some(format!("there is no program {}", program.display())),
        };
        match system {
            System::Ruvector => missing(&self.ruvector),
            System::Etcd => missing(&self.etcd),
            System::ZooKeeper => missing(&self.java).or_else(|| match zookeeper_version() {
                Some(_) => None,
                None => Some(format!("there is no {JARS}/zookeeper.jar (Debian's package zookeeper)")),
            }),
            System::Ceiling => missing(&self.bench),
        }
    }

    /// What the system says its version is.
    pub(crate) fn version(&self, system: System) -> Result<String> {
        let (program, word) = match system {
            System::Etcd => (&self.etcd, "--version"),
            System::Ruvector => (&self.ruvector, "--version"),
            System::ZooKeeper => return zookeeper_version().context("no ZooKeeper"),
            System::Ceiling => return Ok("tonic, one runtime thread".to_owned()),
        };
        let output = Command::new(program).arg(word).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().and_then(|line| line.split_whitespace().last());
        Ok(version.with_context(|| format!("{} tells no version", program.display()))?.to_owned())
    }

    /// The commands that start all nodes of a system, whose data will be below `directory`.
    pub(crate) fn commands(
        &self,
        system: System,
        base_port: u16,
        directory: &Path,
    ) -> Result<Vec<NodeCommand>> {
        let nodes: Vec<Place> =
            (1..=system.node_count()).map(|number| Place::new(number, base_port, directory)).collect();
        nodes.iter().map(|node| self.command(system, node, &nodes)).collect()
    }

    fn command(&self, system: System, node: &Place, nodes: &[Place]) -> Result<NodeCommand> {
        fs::create_dir_all(&node.directory)?;
        let command = match system {
            System::Ruvector => ruvector(&self.ruvector, node, nodes),
            System::Etcd => etcd(&self.etcd, node, nodes),
            System::ZooKeeper => zookeeper(&self.java, node, nodes)?,
            System::Ceiling => ceiling(&self.bench, node),
        };
        let log = node.directory.join("output.log");
        Ok(NodeCommand { address: node.client.clone(), command, log })
    }
}

/// How one node is started.
#[derive(Debug)]
pub(crate) struct NodeCommand {
    /// Where it listens for clients, `host:port`.
    pub(crate) address: String,
    pub(crate) command: Command,
    /// Where its output goes.
    pub(crate) log: PathBuf,
}

/// A node's name, addresses and directory.
struct Place {
    number: u16,
    name: String,
    client: String,
    peer: String,
    election_port: u16,
    directory: PathBuf,
}

impl Place {
    fn new(number: u16, base_port: u16, directory: &Path) -> Self {
        let first = base_port + PORTS_PER_NODE * (number - 1);
        let name = format!("node-{number}");
        Self {
            number,
            client: format!("{HOST}:{first}"),
            peer: format!("{HOST}:{}", first + 1),
            election_port: first + 2,
            directory: directory.join(&name),
            name,
        }
    }
}

fn ruvector(program: &Path, node: &Place, nodes: &[Place]) -> Command {
    let peers: Vec<String> = nodes.iter().map(|node| format!("{}={}", node.name, node.peer)).collect();
    let mut command = Command::new(program);
    command
        .args(["consensus", "serve", "--cluster", "bench", "--id", &node.name])
        .arg("--data-dir")
        .arg(node.directory.join("data"))
        .args(["--listen-client", &node.client, "--listen-peer", &node.peer])
        .args(["--initial-nodes", &peers.join(",")])
        .env_remove("RUVECTOR_ENDPOINTS");
    command
}

fn etcd(program: &Path, node: &Place, nodes: &[Place]) -> Command {
    // Its default of 2 GiB would end the loads of large values.
    const QUOTA_BYTES: &str = "8589934592";
    let peers: Vec<String> = nodes.iter().map(|node| format!("{}=http://{}", node.name, node.peer)).collect();
    let client = format!("http://{}", node.client);
    let peer = format!("http://{}", node.peer);
    let mut command = Command::new(program);
    command
        .args(["--name", &node.name])
        .arg("--data-dir")
        .arg(node.directory.join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &peers.join(","), "--initial-cluster-state", "new"])
        .args(["--log-level", "error", "--quota-backend-bytes", QUOTA_BYTES]);
    command
}

fn zookeeper(java: &Path, node: &Place, nodes: &[Place]) -> Result<Command> {
    let data = node.directory.join("data");
    fs::create_dir_all(&data)?;
    fs::write(data.join("myid"), node.number.to_string())?;
    let (_, client_port) = node.client.rsplit_once(':').context("an address without a port")?;
    let mut configuration = format!(
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\nmaxClientCnxns=0\nadmin.enableServer=false\n\
         dataDir={}\nclientPort={client_port}\nclientPortAddress={HOST}\n",
        data.display()
    );
    for other in nodes {
        configuration += &format!("server.{}={}:{}\n", other.number, other.peer, other.election_port);
    }
    let file = node.directory.join("zoo.cfg");
    fs::write(&file, configuration)?;
    let mut command = Command::new(java);
    command
        .args(["-Xmx1g", "-cp"])
        .arg(format!("{JARS}/zookeeper.jar:{JARS}/*:/etc/zookeeper/conf"))
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(file);
    Ok(command)
}

fn ceiling(program: &Path, node: &Place) -> Command {
    let mut command = Command::new(program);
    command.args(["ceiling-server", "--listen", &node.client]);
    command
}

/// From the name of the file that Debian's link points to.
fn zookeeper_version() -> Option<String> {
    let directory = fs::read_dir(JARS).ok()?;
    let names = directory.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut versions = names.filter_map(|name| {
        let version = name.strip_prefix("zookeeper-")?.strip_suffix(".jar")?;
        version.starts_with(|character: char| character.is_ascii_digit()).then(|| version.to_owned())
    });
    let linked = Path::new(JARS).join("zookeeper.jar").exists();
    versions.next().filter(|_| linked)
}

/// The program as a file: as it is if it has a directory, or found in `PATH`.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_is_not_there_is_told() {
        let nowhere = PathBuf::from("/nonexistent/program");
        let programs = Programs {
            ruvector: nowhere.clone(),
            etcd: PathBuf::from("no-program-of-this-name"),
            java: nowhere.clone(),
            bench: PathBuf::from("sh"),
        };
        let missing = Some("there is no program /nonexistent/program".to_owned());
        assert_eq!(programs.obstacle(System::Ruvector), missing);
        assert_eq!(programs.obstacle(System::ZooKeeper), missing);
        let in_path = programs.obstacle(System::Etcd);
        assert_eq!(in_path, Some("there is no program no-program-of-this-name".to_owned()));
        assert_eq!(programs.obstacle(System::Ceiling), None);
    }
}
