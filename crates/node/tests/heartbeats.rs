//! Heartbeats of the groups that one node leads, with every message and moment in the test's hands.
#![allow(clippy::unwrap_used)]

#[path = "support/recorder.rs"]
mod recorder;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use recorder::Recorder;
use ruvector_node::host::{Host, HostConfig};
use ruvector_node::replica::{Event, Output, PeerMessage, Ticket};
use ruvector_node::{GroupId, NodeId, ReadLevel, RoleName, Tuning};
use ruvector_protocol::{Incarnation, Membership, Message, Timestamp};
use ruvector_storage::SimulatedDisk;

const LEADER: NodeId = NodeId(1);
const NODES: [NodeId; 3] = [LEADER, NodeId(2), NodeId(3)];
const GROUPS: usize = 20;
const START: Timestamp = Timestamp(1_000_000);

fn groups() -> impl Iterator<Item = GroupId> {
    (1..=GROUPS as u64).map(GroupId)
}

/// Three nodes that have all groups, and one clock; nothing is lost and nothing takes time.
struct Cluster {
    hosts: BTreeMap<NodeId, Host<Recorder>>,
    now: Timestamp,
    interval_us: u64,
    /// Of each group since when it is led, and when its leader was last heard.
    heard: BTreeMap<GroupId, (Timestamp, Timestamp)>,
    /// For how long a group was not heard, at most.
    silent_us: u64,
    /// How many groups were heard at each moment.
    beats: BTreeMap<Timestamp, usize>,
}

fn open(node: NodeId, tuning: &Tuning) -> Host<Recorder> {
    let membership = Membership { voters: NODES.into() };
    let config = HostConfig {
        cluster_id: 9,
        node,
        incarnation: Incarnation(1),
        groups: groups().map(|group| (group, membership.clone())).collect(),
        tuning: tuning.clone(),
        seed: node.0,
        #[cfg(feature = "planted-bugs")]
        core_bug: None,
        #[cfg(feature = "planted-bugs")]
        planted_bug: None,
    };
    Host::open(config, Arc::new(SimulatedDisk::new()), |_| Recorder::default(), START).unwrap()
}

impl Cluster {
    /// The first node leads all groups, each since another moment.
    fn led() -> Self {
        let tuning = Tuning::default();
        let mut cluster = Self {
            hosts: NODES.into_iter().map(|node| (node, open(node, &tuning))).collect(),
            now: START,
            interval_us: tuning.heartbeat_interval_ms * 1_000,
            heard: BTreeMap::new(),
            silent_us: 0,
            beats: BTreeMap::new(),
        };
        // The others are never woken, and so stand for no election.
        cluster.run(100, 0);
        for group in groups() {
            let role = cluster.host(LEADER).replica(group).unwrap().raft().role();
            assert_eq!(role, RoleName::Leader, "group {group}");
        }
        let elected: BTreeSet<Timestamp> = cluster.heard.values().map(|(since, _)| *since).collect();
        assert_eq!(elected.len(), GROUPS, "two were elected at once");
        (cluster.silent_us, cluster.beats) = (0, BTreeMap::new());
        cluster
    }

    fn host(&mut self, node: NodeId) -> &mut Host<Recorder> {
        self.hosts.get_mut(&node).unwrap()
    }

    /// Lets time pass from one deadline of the first node's to the next, each of which it notices so much too late.
    fn run(&mut self, intervals: u64, late_us: u64) {
        let end = self.now.after_micros(intervals * self.interval_us);
        loop {
            let now = self.now;
            let woken = self.host(LEADER).deadline(now).unwrap().max(now).after_micros(late_us);
            if woken > end {
                self.now = end;
                return;
            }
            self.now = woken;
            let mut outputs = Vec::new();
            self.host(LEADER).wake(woken, &mut outputs).unwrap();
            self.follow_up(LEADER, outputs);
        }
    }

    /// Has a group of the first node confirm a read.
    fn read(&mut self, group: GroupId) {
        let (now, mut outputs) = (self.now, Vec::new());
        let read = Event::Read(vec![(Ticket(group.0), ReadLevel::Strong)]);
        self.host(LEADER).handle(now, group, read, &mut outputs).unwrap();
        self.follow_up(LEADER, outputs);
    }

    /// Does all that follows from an event, at once.
    fn follow_up(&mut self, node: NodeId, outputs: Vec<Output<Recorder>>) {
        let mut under_way: VecDeque<PeerMessage> = self.settle(node, outputs).into();
        while let Some(message) = under_way.pop_front() {
            let (now, to, mut outputs) = (self.now, message.to(), Vec::new());
            self.host(to).handle(now, message.group(), Event::Message(message), &mut outputs).unwrap();
            under_way.extend(self.settle(to, outputs));
        }
    }

    fn settle(&mut self, node: NodeId, mut outputs: Vec<Output<Recorder>>) -> Vec<PeerMessage> {
        let (now, host) = (self.now, self.host(node));
        while !host.is_settled() {
            host.flush(now, &mut outputs).unwrap();
            host.apply(now, || false, &mut outputs).unwrap();
        }
        let sent = |output| if let Output::Send(message) = output { Some(message) } else { None };
        let sent: Vec<_> = outputs.into_iter().filter_map(sent).collect();
        sent.iter().for_each(|message| self.watch(message));
        sent
    }

    fn watch(&mut self, message: &PeerMessage) {
        let PeerMessage::Consensus(envelope) = message else { return };
        let Message::Heartbeat(heartbeat) = &envelope.message else { return };
        if (envelope.from, envelope.to) != (LEADER, NODES[1]) {
            return;
        }
        *self.beats.entry(self.now).or_default() += 1;
        let heard = (heartbeat.stamp.leads_since, self.now);
        if let Some((_, before)) = self.heard.insert(envelope.group, heard) {
            self.silent_us = self.silent_us.max(self.now.micros_since(before));
        }
    }

    /// How many groups were heard at each moment since this was last asked. None was silent for longer than an interval and
    /// `late_us`.
    fn beats(&mut self, late_us: u64) -> Vec<usize> {
        let silent_us = std::mem::take(&mut self.silent_us);
        assert!(silent_us <= self.interval_us + late_us, "a group was silent for {silent_us} us");
        std::mem::take(&mut self.beats).into_values().collect()
    }
}

#[test]
fn the_groups_that_a_node_leads_are_heard_at_the_same_moments() {
    let mut cluster = Cluster::led();
    cluster.run(10, 0);
    assert_eq!(cluster.beats(0), [GROUPS; 10], "once an interval, all of them");
}

#[test]
fn a_group_that_has_confirmed_a_read_falls_in_step_again() {
    let mut cluster = Cluster::led();
    for group in groups() {
        cluster.now = cluster.now.after_micros(900);
        cluster.read(group);
    }
    assert_eq!(cluster.beats(0), [1; GROUPS], "each is heard for its read");
    // An interval later each is heard again, and is in step from then on.
    cluster.run(2, 0);
    assert_eq!(cluster.beats(0)[..GROUPS], [1; GROUPS]);
    cluster.run(10, 0);
    assert_eq!(cluster.beats(0), [GROUPS; 10]);
}

#[test]
fn beats_that_are_noticed_late_do_not_drift() {
    const LATE_US: u64 = 400;
    let mut cluster = Cluster::led();
    cluster.run(100, LATE_US);
    assert_eq!(cluster.beats(LATE_US), [GROUPS; 100]);
}
