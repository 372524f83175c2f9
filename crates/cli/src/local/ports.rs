//! Who has a port.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::cluster::LocalCluster;
use super::registry::Home;
use crate::failure::{Failure, Result};

/// The last port there is.
const PORT_MAX: u32 = 65_535;
/// Node i's ports begin this much after node i−1's.
const PORTS_EACH: u32 = 10;

/// Not on every system can it be seen whether a process that was killed has closed all of its ports.
const CLOSING: Duration = Duration::from_secs(3);

/// Checks that every port of a cluster's nodes that do not run is free, or is soon.
///
/// # Errors
/// The port that is not, who has it as far as it is known, and a base port that would do.
pub(crate) async fn require_free(home: &Home, cluster: &LocalCluster) -> Result {
    let begun = Instant::now();
    let taken = loop {
        match taken_address(cluster) {
            None => return Ok(()),
            Some(taken) if begun.elapsed() > CLOSING => break taken,
            Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let port = taken.rsplit_once(':').map_or(taken.as_str(), |(_, port)| port);
    let owner = match remembered_owner(home, taken, cluster) {
        Some(owner) => format!("by {owner}"),
        None => format!("(`ss -ltnp 'sport = :{port}'` shows by whom)"),
    };
    let advice = match free_base_port(cluster.nodes.len()) {
        Some(base) => format!("--base-port {base} is free"),
        None => "choose others with --base-port".to_owned(),
    };
    Err(Failure::failed(format!("port {port} is in use {owner}: {advice}")))
}

fn taken_address(cluster: &LocalCluster) -> Option<&String> {
    let resting = cluster.nodes.iter().filter(|node| !node.runs());
    resting.flat_map(|node| [&node.client, &node.peer]).find(|address| !is_free(address))
}

/// Whether somebody could listen there now.
pub(crate) fn is_free(address: &str) -> bool {
    TcpListener::bind(address).is_ok()
}

/// The last port that a layout needs.
pub(crate) fn last_port(base_port: u16, node_count: u16) -> u32 {
    u32::from(base_port) + PORTS_EACH * u32::from(node_count - 1) + 1
}

/// Whether a layout fits below the last port there is.
pub(crate) fn fits(base_port: u16, node_count: u16) -> bool {
    last_port(base_port, node_count) <= PORT_MAX
}

/// The remembered node that listens there.
fn remembered_owner(home: &Home, address: &str, asking: &LocalCluster) -> Option<String> {
    home.clusters().ok()?.into_iter().filter(|cluster| cluster.name != asking.name).find_map(|cluster| {
        let owner = cluster.nodes.iter().find(|node| node.client == address || node.peer == address)?;
        Some(format!("{} of your cluster `{}`", owner.id, cluster.name))
    })
}

/// The first round base port at which a cluster of this size finds all ports free.
fn free_base_port(node_count: usize) -> Option<u16> {
    let node_count = u16::try_from(node_count).ok()?;
    (7400..32_000).step_by(100).filter(|base| fits(*base, node_count)).find(|base| {
        (0..node_count).all(|number| {
            let client = base + 10 * number;
            is_free(&format!("127.0.0.1:{client}")) && is_free(&format!("127.0.0.1:{}", client + 1))
        })
    })
}
