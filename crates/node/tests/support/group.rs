//! Replicas without threads, with every message, disk and moment in the test's hands.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::sync::Arc;

use ruvector_node::host::{Host, HostConfig};
use ruvector_node::replica::{
    Event, Output, PeerMessage, Replica, ReplicaEnvelope, ReplicaError, ReplicaMessage, SnapshotJob, Ticket,
};
use ruvector_node::state_machine::StateMachine;
use ruvector_node::{Applied, GroupId, NodeError, NodeId, Tuning};
use ruvector_protocol::{Incarnation, Membership, Message, Timestamp};
use ruvector_storage::{Crash, SimulatedDisk};

pub(crate) const FIRST: NodeId = NodeId(1);
pub(crate) const SECOND: NodeId = NodeId(2);
pub(crate) const THIRD: NodeId = NodeId(3);

pub(crate) const CLUSTER: u64 = 9;

pub(crate) const GROUP: GroupId = GroupId::METADATA;

const VOTERS: [NodeId; 3] = [FIRST, SECOND, THIRD];

/// What a client was told.
type Answer<T> = (Ticket, Result<T, NodeError>);

/// Three nodes with one group, one clock, and a network that loses what the test says.
pub(crate) struct Group<M: StateMachine> {
    tuning: Tuning,
    disks: Vec<SimulatedDisk>,
    hosts: Vec<Host<M>>,
    pub(crate) now: Timestamp,
    pub(crate) network: VecDeque<PeerMessage>,
    /// Jobs take their time: they wait in `jobs`.
    pub(crate) keeps_jobs: bool,
    /// Jobs that were not run, and whose.
    pub(crate) jobs: VecDeque<(NodeId, SnapshotJob<M>)>,
    outputs: Vec<Output<M>>,
    /// What clients were told of their commands, in order.
    pub(crate) proposed: Vec<Answer<Applied<M::Response>>>,
    /// What clients were given to read, in order.
    pub(crate) read: Vec<Answer<M::View>>,
}

impl<M: StateMachine + Default> Group<M> {
    pub(crate) fn start(tuning: &Tuning) -> Self {
        let now = Timestamp(1_000_000);
        // Tests that count messages wake no leader for what it gathers: it appends what comes at once.
        let tuning = Tuning { gather_max_us: 0, ..tuning.clone() };
        let disks: Vec<_> = VOTERS.iter().map(|_| SimulatedDisk::new()).collect();
        let nodes = VOTERS.iter().zip(&disks);
        let hosts = nodes.map(|(node, disk)| open(*node, Incarnation(1), &tuning, disk, now)).collect();
        Self {
            tuning,
            disks,
            hosts,
            now,
            network: VecDeque::new(),
            keeps_jobs: false,
            jobs: VecDeque::new(),
            outputs: Vec::new(),
            proposed: Vec::new(),
            read: Vec::new(),
        }
    }

    /// Has a node lose its power and start again.
    pub(crate) fn restart(&mut self, node: NodeId, incarnation: u64) {
        self.try_restart(node, incarnation).expect("what it wrote opens");
    }

    /// The same, and it may refuse to start.
    pub(crate) fn try_restart(&mut self, node: NodeId, incarnation: u64) -> Result<(), ReplicaError> {
        let disk = &self.disks[place(node)];
        disk.crash(Crash::LoseUnsynced);
        self.hosts[place(node)] = try_open(node, Incarnation(incarnation), &self.tuning, disk, self.now)?;
        Ok(())
    }

    /// Has a node start again on an empty disk.
    pub(crate) fn restart_empty(&mut self, node: NodeId, incarnation: u64) {
        self.disks[place(node)] = SimulatedDisk::new();
        self.restart(node, incarnation);
    }

    pub(crate) fn disk(&self, node: NodeId) -> &SimulatedDisk {
        &self.disks[place(node)]
    }

    pub(crate) fn replica(&self, node: NodeId) -> &Replica<M> {
        self.hosts[place(node)].replica(GROUP).expect("every node has the group")
    }

    pub(crate) fn host(&mut self, node: NodeId) -> &mut Host<M> {
        &mut self.hosts[place(node)]
    }

    /// Hands over an event and does at once all that follows from it, but for messages.
    pub(crate) fn handle(&mut self, node: NodeId, event: Event) {
        let (now, mut outputs) = (self.now, std::mem::take(&mut self.outputs));
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let host = self.host(node);
            host.handle(now, GROUP, event, &mut outputs).expect("the disk is well");
            while !host.is_settled() {
                host.flush(now, &mut outputs).expect("the disk is well");
                host.apply(now, || false, &mut outputs).expect("the disk is well");
            }
            for output in outputs.drain(..) {
                events.extend(self.take(node, output));
            }
        }
        self.outputs = outputs;
    }

    fn take(&mut self, node: NodeId, output: Output<M>) -> Option<Event> {
        match output {
            Output::Send(message) => self.network.push_back(message),
            Output::Run { job, .. } if self.keeps_jobs => self.jobs.push_back((node, job)),
            Output::Run { job, .. } => return Some(job.run()),
            Output::Proposed { ticket, result } => self.proposed.push((ticket, result)),
            Output::ReadReady { ticket, result } => {
                let view = self.replica(node).view();
                self.read.push((ticket, result.map(|_| view)));
            }
            Output::SnapshotCreated { .. } | Output::LogCompacted { .. } | Output::Published { .. } => {}
        }
        None
    }

    /// Runs the oldest of the jobs that wait.
    pub(crate) fn run_job(&mut self) {
        let (node, job) = self.jobs.pop_front().expect("a job waits");
        self.handle(node, job.run());
    }

    /// Delivers messages until there are none, but loses those that `is_lost` names.
    pub(crate) fn deliver(&mut self, is_lost: impl Fn(&PeerMessage) -> bool) {
        while let Some(message) = self.network.pop_front() {
            if !is_lost(&message) {
                self.handle(message.to(), Event::Message(message));
            }
        }
    }

    /// Lets time pass for one node until it leads.
    pub(crate) fn elect(&mut self, node: NodeId, is_lost: impl Fn(&PeerMessage) -> bool) {
        for _ in 0..100 {
            if self.replica(node).raft().leader() == Some(node) {
                return;
            }
            self.now = self.now.after_micros(400_000);
            self.handle(node, Event::Wake);
            self.deliver(&is_lost);
        }
        panic!("{node:?} was not elected");
    }

    /// Lets the node make itself heard.
    pub(crate) fn heartbeat(&mut self, node: NodeId, is_lost: impl Fn(&PeerMessage) -> bool) {
        self.now = self.now.after_micros(30_000);
        self.handle(node, Event::Wake);
        self.deliver(is_lost);
    }
}

pub(crate) fn concerns(message: &PeerMessage, node: NodeId) -> bool {
    message.from() == node || message.to() == node
}

/// What a core says to another by a message, if it does.
pub(crate) fn of_core(message: &PeerMessage) -> Option<&Message> {
    match message {
        PeerMessage::Consensus(envelope) => Some(&envelope.message),
        PeerMessage::Replica(_) => None,
    }
}

/// What a replica says to another by a message, if it does.
pub(crate) fn of_replica(message: &PeerMessage) -> Option<&ReplicaMessage> {
    match message {
        PeerMessage::Consensus(_) => None,
        PeerMessage::Replica(envelope) => Some(&envelope.message),
    }
}

/// A message from a replica to another.
pub(crate) fn said(from: NodeId, to: NodeId, message: ReplicaMessage) -> Event {
    Event::Message(PeerMessage::Replica(ReplicaEnvelope { group: GROUP, from, to, message }))
}

fn place(node: NodeId) -> usize {
    usize::try_from(node.0 - 1).expect("small")
}

fn open<M: StateMachine + Default>(
    node: NodeId,
    incarnation: Incarnation,
    tuning: &Tuning,
    disk: &SimulatedDisk,
    now: Timestamp,
) -> Host<M> {
    try_open(node, incarnation, tuning, disk, now).expect("what it wrote opens")
}

fn try_open<M: StateMachine + Default>(
    node: NodeId,
    incarnation: Incarnation,
    tuning: &Tuning,
    disk: &SimulatedDisk,
    now: Timestamp,
) -> Result<Host<M>, ReplicaError> {
    let config = HostConfig {
        cluster_id: CLUSTER,
        node,
        incarnation,
        groups: [(GROUP, Membership { voters: VOTERS.into() })].into(),
        tuning: tuning.clone(),
        seed: node.0,
        #[cfg(feature = "planted-bugs")]
        core_bug: None,
        #[cfg(feature = "planted-bugs")]
        planted_bug: None,
    };
    Host::open(config, Arc::new(disk.clone()), |_| M::default(), now)
}
