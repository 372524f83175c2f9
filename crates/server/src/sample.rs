//! Metrics that are looked up when they are asked for: the node's and the store's present state.

use std::fmt;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use rustix::process::{Resource, getrlimit};
use ruvector_node::state_machine::kv::KvView;
use ruvector_node::status::{ConnectionStatus, GroupStatus, Id, NodeStatus, PeerStatus, Role};

use crate::etcd_version::ETCD_VERSION;
use crate::metrics::Metrics;
use crate::service::context::{Context, Version};

/// A group beside the metadata group, and its newest version.
type OtherGroup<'status> = (&'status GroupStatus, Version);

/// Everything, in the form of `OpenMetrics`. What has no label of a group is of the node, or of the metadata group.
pub(crate) fn metrics_text(
    metrics: &Metrics,
    context: &Context,
    status: &NodeStatus,
    view: &KvView,
    others: &[OtherGroup<'_>],
) -> Result<String, fmt::Error> {
    let mut sampled = Registry::default();
    add_node(&mut sampled, status);
    add_group(&mut sampled, &status.group);
    add_peers(&mut sampled, &status.group.peers);
    add_connections(&mut sampled, &status.connections);
    add_store(&mut sampled, view);
    let (watchers, streams) = context.watch_hub.counts();
    gauge(&mut sampled, "etcd_debugging_mvcc_watcher_total", "Watches", watchers as i64);
    gauge(&mut sampled, "etcd_debugging_mvcc_watch_stream_total", "Streams of watches", streams as i64);
    let held = context.budget.held() as i64;
    gauge(&mut sampled, "ruvector_client_held_bytes", "Bytes held for clients", held);
    let held_max = context.budget.bytes_max() as i64;
    gauge(&mut sampled, "ruvector_client_held_bytes_max", "Bytes that may be held for clients", held_max);
    let help = "How often more was to be held for clients than there was room for";
    counter(&mut sampled, "ruvector_client_held_refused", help, context.budget.refused());
    add_groups(&mut sampled, others);
    add_process(&mut sampled);

    let mut text = String::new();
    encode_registry(&mut text, &metrics.registry)?;
    encode_registry(&mut text, &sampled)?;
    encode_eof(&mut text)?;
    Ok(text)
}

fn add_node(registry: &mut Registry, status: &NodeStatus) {
    gauge(registry, "etcd_server_is_leader", "Whether this member leads", status.leads().into());
    info(registry, "etcd_server_id", "This member's id", id_label("server_id", status.node.id));
    let version = [("server_version", ETCD_VERSION.to_owned())];
    info(registry, "etcd_server_version", "The version of etcd whose interface this is", version);
    gauge(registry, "ruvector_log_bytes", "Size of the log's files", number(status.log_bytes));
    counter(registry, "ruvector_log_syncs", "Syncs of the log", status.log_syncs);
}

/// The metadata group.
fn add_group(registry: &mut Registry, group: &GroupStatus) {
    gauge(registry, "etcd_server_has_leader", "Whether a leader is known", group.leader.is_some().into());
    gauge(registry, "etcd_server_is_learner", "Whether this member is a learner", 0);
    counter(registry, "etcd_server_leader_changes_seen", "Leader changes seen", group.leader_changes);
    // Gauges in etcd too, in spite of their names.
    let commit = number(group.commit_index);
    gauge(registry, "etcd_server_proposals_committed_total", "The committed index", commit);
    let applied = number(group.applied_index);
    gauge(registry, "etcd_server_proposals_applied_total", "The applied index", applied);
    let pending = number(group.pending_proposals);
    gauge(registry, "etcd_server_proposals_pending", "Commands that wait for their answer", pending);

    let differs = group.differs_at_index.is_some();
    let help = "Whether the state differs from a peer's and no majority has decided which is right";
    gauge(registry, "ruvector_state_differs", help, differs.into());
    gauge(registry, "ruvector_raft_term", "The term", number(group.term));
    gauge(registry, "ruvector_log_first_index", "The oldest entry in the log", number(group.first_index));
    gauge(registry, "ruvector_log_last_index", "The newest entry in the log", number(group.last_index));
    if let Some(staleness_us) = group.staleness_us {
        let seconds = staleness_us as f64 / 1e6;
        let help = "How old the state is at most";
        registry.register("ruvector_staleness_seconds", help, ConstGauge::new(seconds));
    }
}

fn add_connections(registry: &mut Registry, connections: &[ConnectionStatus]) {
    let sent = Family::<Label, Counter>::default();
    let dropped = Family::<Label, Counter>::default();
    let connected = Family::<Label, Gauge>::default();
    let received = Family::<Label, Counter>::default();
    for connection in connections {
        let to = id_label("To", connection.peer.id);
        sent.get_or_create(&to).inc_by(connection.sent_bytes);
        dropped.get_or_create(&to).inc_by(connection.dropped_messages);
        connected.get_or_create(&to).set(connection.connected.into());
        received.get_or_create(&id_label("From", connection.peer.id)).inc_by(connection.received_bytes);
    }
    registry.register("etcd_network_peer_sent_bytes", "Bytes sent to a peer", sent);
    registry.register("etcd_network_peer_received_bytes", "Bytes received from a peer", received);
    registry.register("ruvector_peer_dropped_messages", "Messages to a peer that were dropped", dropped);
    registry.register("ruvector_peer_connected", "Whether a peer is connected", connected);
}

fn add_peers(registry: &mut Registry, peers: &[PeerStatus]) {
    let contradicts = Family::<Label, Gauge>::default();
    let unmatched = Family::<Label, Gauge>::default();
    for peer in peers {
        let to = id_label("To", peer.peer.id);
        contradicts.get_or_create(&to).set(peer.contradicts_index.is_some().into());
        unmatched.get_or_create(&to).set(number(peer.unmatched_us.unwrap_or(0) / 1_000_000));
    }
    let help = "Whether a peer had committed what this node, as its leader, did not have";
    registry.register("ruvector_peer_contradicts", help, contradicts);
    let help = "On the leader: since when a peer's log does not match";
    registry.register("ruvector_peer_unmatched_seconds", help, unmatched);
}

/// The groups beside the metadata group, each with its name as a label.
fn add_groups(registry: &mut Registry, groups: &[OtherGroup<'_>]) {
    let mut gauges = |name: &str, help: &str, value: &dyn Fn(&GroupStatus, &KvView) -> i64| {
        let family = Family::<Label, Gauge>::default();
        for (group, version) in groups {
            let label = [("group", group.name.clone())];
            family.get_or_create(&label).set(value(group, &version.view));
        }
        registry.register(name, help, family);
    };
    gauges("ruvector_group_has_leader", "Whether the group's leader is known", &|group, _| {
        group.leader.is_some().into()
    });
    gauges("ruvector_group_is_leader", "Whether this node leads the group", &|group, _| {
        (group.role == Role::Leader).into()
    });
    gauges(
        "ruvector_group_in_trouble",
        "Whether replicas of the group contradict each other",
        &|group, _| group.trouble.is_some().into(),
    );
    gauges("ruvector_group_applied_index", "The group's applied index", &|group, _| {
        number(group.applied_index)
    });
    gauges("ruvector_group_keys", "Keys of the group", &|_, view| view.key_count() as i64);
    gauges("ruvector_group_store_bytes", "Keys, values and history of the group", &|_, view| {
        number(view.size_bytes())
    });
}

fn add_store(registry: &mut Registry, view: &KvView) {
    let bytes = number(view.size_bytes());
    gauge(registry, "etcd_mvcc_db_total_size_in_bytes", "Size of keys, values and history", bytes);
    gauge(registry, "etcd_mvcc_db_total_size_in_use_in_bytes", "The same: nothing is unused", bytes);
    gauge(registry, "etcd_debugging_mvcc_keys_total", "Keys", view.key_count() as i64);
    gauge(registry, "etcd_debugging_mvcc_current_revision", "The store's revision", view.revision().0);
    let compacted = view.compacted().0;
    gauge(registry, "etcd_debugging_mvcc_compact_revision", "The compacted revision", compacted);
    gauge(registry, "ruvector_leases", "Leases", view.leases().len() as i64);
}

/// What Linux tells of the process; nothing on other systems.
fn add_process(registry: &mut Registry) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(kibibytes) = kibibytes(&status, "VmRSS:") {
        gauge(registry, "process_resident_memory_bytes", "Resident memory", kibibytes * 1024);
    }
    if let Some(kibibytes) = kibibytes(&status, "VmSize:") {
        gauge(registry, "process_virtual_memory_bytes", "Virtual memory", kibibytes * 1024);
    }
    if let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") {
        gauge(registry, "process_open_fds", "Open file descriptors", descriptors.count() as i64);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        gauge(registry, "process_max_fds", "File descriptors that may be open", number(most));
    }
}

fn kibibytes(status: &str, key: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// One label with its value. Ids are in hexadecimal, as in etcd.
type Label = [(&'static str, String); 1];

fn id_label(name: &'static str, node: Id) -> Label {
    [(name, format!("{:x}", node.0))]
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    registry.register(name, help, ConstGauge::new(value));
}

/// The library adds `_total` to the name.
fn counter(registry: &mut Registry, name: &str, help: &str, value: u64) {
    registry.register(name, help, ConstCounter::new(value));
}

/// A gauge of value 1 that says something by its label.
fn info(registry: &mut Registry, name: &str, help: &str, label: Label) {
    let family = Family::<Label, Gauge>::default();
    family.get_or_create(&label).set(1);
    registry.register(name, help, family);
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use ruvector_node::status::Named;

    use super::*;

    /// The peers of a healthy leader of three.
    fn peers() -> Vec<PeerStatus> {
        let peer = |id| PeerStatus {
            peer: Named { id: Id(id), name: String::new() },
            matched_index: Some(9),
            commit_index: Some(9),
            state: Some("replicate".to_owned()),
            heard_us_ago: Some(1),
            ..PeerStatus::default()
        };
        vec![peer(2), peer(0xab)]
    }

    /// Those of the lines about replicas that contradict each other that are not green.
    fn red_lines(group: &GroupStatus) -> Vec<String> {
        let mut registry = Registry::default();
        add_group(&mut registry, group);
        add_peers(&mut registry, &group.peers);
        let mut text = String::new();
        encode_registry(&mut text, &registry).expect("it is text");
        let red = ["ruvector_state_differs", "ruvector_peer_contradicts", "ruvector_peer_unmatched_seconds"];
        let is_about = |line: &&str| red.iter().any(|name| line.starts_with(name));
        let lines: Vec<&str> = text.lines().filter(is_about).collect();
        assert_eq!(lines.len(), 1 + 2 * group.peers.len(), "{text}");
        lines.into_iter().filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect()
    }

    #[test]
    fn replicas_that_contradict_each_other_are_red() {
        let healthy = GroupStatus { peers: peers(), ..GroupStatus::default() };
        assert_eq!(red_lines(&healthy), [""; 0]);
        let differs = GroupStatus { differs_at_index: Some(5), ..healthy.clone() };
        assert_eq!(red_lines(&differs), ["ruvector_state_differs 1"]);
        let mut contradicted = healthy;
        contradicted.peers[1].contradicts_index = Some(8);
        contradicted.peers[1].unmatched_us = Some(3_500_000);
        let red = ["ruvector_peer_contradicts{To=\"ab\"} 1", "ruvector_peer_unmatched_seconds{To=\"ab\"} 3"];
        assert_eq!(red_lines(&contradicted), red);
    }

    #[test]
    fn memory_is_read_from_linux_text() {
        let status = "Name:\tx\nVmSize:\t  7890123 kB\nVmRSS:\t  123456 kB\nRssAnon: 1 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(123_456));
        assert_eq!(kibibytes(status, "VmSize:"), Some(7_890_123));
        assert_eq!(kibibytes("Name:\tx\n", "VmRSS:"), None);
    }
}
