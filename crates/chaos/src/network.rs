//! A network of namespaces: each node in one of its own, all plugged into a bridge.
//!
//! ```text
//!   clients ── bridge 10.77.0.254 ─┬─ node 1: 10.77.0.1
//!                                  ├─ node 2: 10.77.0.2
//!                                  └─ node 3: 10.77.0.3
//! ```
//!
//! The bridge lies in a namespace too, and the harness's threads move in there: nothing of all this is seen from, or
//! reaches, the machine's own network. Interfaces vanish with their namespaces.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::ip;

/// How many nodes there are.
pub const NODES: usize = 3;
/// A hardware address that nobody has: what is sent there is lost without a word, like on a broken wire.
const NOWHERE: &str = "02:00:00:00:00:99";

/// A node by its place, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub usize);

impl Place {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..NODES).map(Self)
    }

    /// All the others.
    pub fn others(self) -> impl Iterator<Item = Self> {
        Self::all().filter(move |place| *place != self)
    }

    /// Its IP address within the namespaces.
    #[must_use]
    pub fn address(self) -> String {
        format!("10.77.0.{}", self.0 + 1)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "node-{}", self.0 + 1)
    }
}

/// The namespaces of a run; removed when dropped.
#[derive(Debug)]
pub struct Network {
    /// What the names of all its namespaces begin with.
    prefix: String,
}

impl Network {
    /// Makes the namespaces, interfaces and addresses.
    ///
    /// # Errors
    /// If `ip` fails; what was made until then is removed.
    pub fn build(prefix: &str) -> Result<Self> {
        // From here on, whatever fails, the guard removes what there is.
        let network = Self { prefix: prefix.to_owned() };
        let bridge = network.bridge_namespace();
        ip(&format!("netns add {bridge}"))?;
        ip(&format!("-n {bridge} link set lo up"))?;
        ip(&format!("-n {bridge} link add bridge type bridge"))?;
        ip(&format!("-n {bridge} addr add 10.77.0.254/24 dev bridge"))?;
        ip(&format!("-n {bridge} link set bridge up"))?;
        for place in Place::all() {
            let node = network.namespace(place);
            ip(&format!("netns add {node}"))?;
            ip(&format!("-n {bridge} link add {place} type veth peer name eth0 netns {node}"))?;
            ip(&format!("-n {bridge} link set {place} master bridge up"))?;
            ip(&format!("-n {node} addr add {}/24 dev eth0", place.address()))?;
            ip(&format!("-n {node} link set lo up"))?;
            ip(&format!("-n {node} link set eth0 up"))?;
        }
        Ok(network)
    }

    /// Moves the calling thread, and every thread that it starts from now on, to the bridge.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn enter(&self) -> Result<()> {
        let path = path_of(&self.bridge_namespace());
        let file = File::open(&path).with_context(|| format!("can't open {path}"))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("can't enter {path}"))
    }

    /// A program that will run where a node is. It replaces `nsenter`, so that the process started is the program.
    /// (`ip netns exec` would also give it copies of all mounts, which keep other nodes' disks from being unmounted.)
    #[must_use]
    pub fn command_at(&self, place: Place, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", path_of(&self.namespace(place)))).arg(program);
        command
    }

    /// Takes a node off the network: neither peers nor clients reach it.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn unplug(&self, place: Place) -> Result<()> {
        ip(&format!("-n {} link set {place} down", self.bridge_namespace())).map(drop)
    }

    /// The opposite of [`Self::unplug`].
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn plug(&self, place: Place) -> Result<()> {
        ip(&format!("-n {} link set {place} up", self.bridge_namespace())).map(drop)
    }

    /// Loses everything that one node sends to another.
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn cut(&self, from: Place, to: Place) -> Result<()> {
        let (node, address) = (self.namespace(from), to.address());
        ip(&format!("-n {node} neigh replace {address} lladdr {NOWHERE} dev eth0 nud permanent")).map(drop)
    }

    /// The opposite of [`Self::cut`].
    ///
    /// # Errors
    /// If `ip` fails.
    pub fn join(&self, from: Place, to: Place) -> Result<()> {
        ip(&format!("-n {} neigh del {} dev eth0", self.namespace(from), to.address())).map(drop)
    }

    fn bridge_namespace(&self) -> String {
        format!("{}-bridge", self.prefix)
    }

    fn namespace(&self, place: Place) -> String {
        format!("{}-{place}", self.prefix)
    }
}

/// Where `ip netns` keeps a namespace.
fn path_of(namespace: &str) -> String {
    format!("/run/netns/{namespace}")
}

impl Drop for Network {
    fn drop(&mut self) {
        let namespaces = Place::all().map(|place| self.namespace(place)).chain([self.bridge_namespace()]);
        for namespace in namespaces {
            // Some may not have been made; what stays is removed by the next run.
            let _ = ip(&format!("netns del {namespace}"));
        }
    }
}
