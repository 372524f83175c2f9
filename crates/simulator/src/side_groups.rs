//! Groups beside the one that a simulation's clients use. They share its nodes, disks, logs and connections, have leaders and
//! states of their own, and are judged on their own: what harms one group through what it shares with another shows here.
//!
//! Their clients do one thing: each puts a key that nobody put before, to any node. So what a group's state must hold is known
//! without a history: every acknowledged key, no refused one, each once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ruvector_node::NodeError;
use ruvector_node::replica::{Event, PeerMessage, Replica, Ticket};
use ruvector_protocol::{GroupId, Membership, NodeId};
use ruvector_state_machine::kv::{Command, KeyRange, KvMachine, PutRequest, RangeRequest};

use crate::faults::FaultKind;
use crate::finale::unrest_among;
use crate::invariants::Invariants;
use crate::random::Random;
use crate::scenario::Scenario;
use crate::violation::{Violation, ensure};
use crate::world::{Arrival, Happening, World, place_of};

/// How likely each number of such groups is.
const COUNTS: [(usize, u64); 3] = [(0, 6), (1, 2), (2, 2)];
/// How long a group is left alone at most between two commands, in microseconds.
const PACE_MAX_US: u64 = 40_000;
/// For how many times what an entry costs a node a group is left alone at least. All groups of a node share its time: if these
/// wanted more of it than there is, the backlog would grow for as long as they are asked.
const PACE_BY_APPLY_COST: u64 = 20;
/// How many members a group has that is not on all nodes.
const SHARD_MEMBERS: usize = 3;
/// How many turns of applying a group waits at most for each group of its node: all of them have their turn before it has its
/// next.
const TURNS_WAITED_MAX: u32 = 2;

/// A group beside the metadata group.
#[derive(Debug, Default)]
pub(crate) struct SideGroup {
    members: BTreeSet<NodeId>,
    invariants: Invariants,
    /// Of each command that was asked and not answered, the number of its key.
    asked: BTreeMap<Ticket, u64>,
    acknowledged: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    keys: u64,
}

/// The groups of a scenario, with their members.
pub(crate) fn draw(scenario: &Scenario, random: &mut Random) -> BTreeMap<GroupId, Membership> {
    // A node whose disk may be harmed counts as one of all nodes; of fewer it may be too many.
    let harms = [FaultKind::ReplacedDisk, FaultKind::BitFlip];
    let is_harmless =
        !harms.iter().any(|fault| scenario.faults.contains(fault)) && scenario.rollback.is_none();
    let count = random.weighted(&COUNTS);
    let ids = (GroupId::METADATA.0 + 1..).map(GroupId).take(count);
    ids.map(|id| {
        let mut voters: BTreeSet<_> = (1..=scenario.nodes as u64).map(NodeId).collect();
        while is_harmless && voters.len() > SHARD_MEMBERS && random.chance(700) {
            let left_out = random.index(voters.len());
            let left_out = voters.iter().nth(left_out).copied();
            voters.retain(|voter| Some(*voter) != left_out);
        }
        (id, Membership { voters })
    })
    .collect()
}

impl SideGroup {
    /// A group in which nothing has happened.
    pub(crate) fn new(membership: &Membership) -> Self {
        Self { members: membership.voters.clone(), ..Self::default() }
    }
}

impl World {
    /// The replicas of a group that run.
    fn replicas_of(&self, group: GroupId) -> Vec<&Replica<KvMachine>> {
        let processes = self.hosts.iter().filter_map(|host| host.process.as_ref());
        processes.filter_map(|process| process.groups.replica(group)).collect()
    }

    /// The replicas of all groups that run.
    pub(crate) fn all_replicas(&self) -> impl Iterator<Item = &Replica<KvMachine>> {
        let processes = self.hosts.iter().filter_map(|host| host.process.as_ref());
        processes
            .flat_map(|process| process.groups.groups().filter_map(|group| process.groups.replica(group)))
    }

    /// A client puts the next key of a group.
    pub(crate) fn act_aside(&mut self, group: GroupId) -> Result<(), Violation> {
        if !self.clients_work {
            return Ok(());
        }
        let pause_us = self.groups_random.magnitude(1_000, PACE_MAX_US);
        let pause_us = pause_us.max(self.scenario.apply_cost_us * PACE_BY_APPLY_COST);
        self.plan(self.now_us + pause_us, Happening::ActAside(group));
        let ticket = Ticket(self.next_number());
        let Some(side) = self.sides.get_mut(&group) else { return Ok(()) };
        let members: Vec<_> = side.members.iter().copied().collect();
        let Some(node) = self.groups_random.pick(&members).map(|node| place_of(*node)) else { return Ok(()) };
        if self.hosts[node].process.is_none() {
            return Ok(());
        }
        side.keys += 1;
        side.asked.insert(ticket, side.keys);
        let command = put(side.keys).encode();
        self.arrive(node, Arrival::Event(group, Event::Propose(vec![(ticket, command)])))
    }

    /// A command's fate is known. Returns whether it was one of a group beside.
    pub(crate) fn proposed_aside(&mut self, ticket: Ticket, error: Option<&NodeError>) -> bool {
        for side in self.sides.values_mut() {
            let Some(key) = side.asked.remove(&ticket) else { continue };
            match error {
                None => drop(side.acknowledged.insert(key)),
                Some(NodeError::OutcomeUnknown | NodeError::Stopped(_)) => {}
                Some(
                    NodeError::NoLeader
                    | NodeError::TooBusy
                    | NodeError::TooLarge { .. }
                    | NodeError::TooStale { .. }
                    | NodeError::Refused(_),
                ) => drop(side.refused.insert(key)),
            }
            return true;
        }
        false
    }

    /// A message of a group leaves a node. Returns whether it is of a group beside.
    ///
    /// # Errors
    /// See [`Invariants::watch`].
    pub(crate) fn watch_aside(&mut self, message: &PeerMessage) -> Result<bool, Violation> {
        let Some(side) = self.sides.get_mut(&message.group()) else { return Ok(false) };
        if let PeerMessage::Consensus(envelope) = message {
            let judged = side.invariants.watch(envelope);
            self.forgiven(judged)?;
        }
        Ok(true)
    }

    /// A node starts: what its groups were last seen at does not bind it.
    pub(crate) fn forget_aside(&mut self, node: NodeId) {
        self.sides.values_mut().for_each(|side| side.invariants.forget(node));
    }

    /// A node has lost its disk, and with it the votes that it gave.
    pub(crate) fn forget_votes_aside(&mut self, node: NodeId) {
        self.sides.values_mut().for_each(|side| side.invariants.forget_votes(node));
    }

    /// A node has taken a turn.
    ///
    /// # Errors
    /// If what a group is now breaks a promise.
    pub(crate) fn look_aside(&mut self, node: usize) -> Result<(), Violation> {
        let host = &self.hosts[node];
        let Some(process) = &host.process else { return Ok(()) };
        let leader = process.replica().raft().leader();
        let mut judged = Ok(());
        for (group, side) in &mut self.sides {
            let Some(replica) = process.groups.replica(*group) else { continue };
            judged = judged.and(side.invariants.inspect(host.id, replica).map(drop));
            let leader_aside = replica.raft().leader();
            let is_apart = leader.is_some() && leader_aside.is_some() && leader != leader_aside;
            self.marks.groups_led_apart += u64::from(is_apart);
        }
        self.forgiven(judged)
    }

    /// A node has had a turn of applying: none of its groups waits for another's backlog.
    ///
    /// # Errors
    /// If one waited for too many turns.
    pub(crate) fn nobody_waits_for_a_backlog(&mut self, node: usize) -> Result<(), Violation> {
        let host = &mut self.hosts[node];
        let Some(process) = &mut host.process else { return Ok(()) };
        let groups: Vec<_> = process.groups.groups().collect();
        let turns_max =
            TURNS_WAITED_MAX * u32::try_from(groups.len()).expect("a simulated node has few groups");
        for group in groups {
            let Some(replica) = process.groups.replica(group) else { continue };
            let applied = replica.applied().index;
            let waited = match process.waited.get(&group) {
                Some((before, turns)) if *before == applied && replica.needs_apply() => turns + 1,
                _ => 0,
            };
            process.waited.insert(group, (applied, waited));
            ensure!(
                waited <= turns_max,
                Liveness,
                "group {group} of node {} has applied nothing for {waited} turns",
                host.id
            );
        }
        Ok(())
    }

    /// What is not yet as it should be in the groups beside.
    pub(crate) fn unrest_aside(&self) -> Option<String> {
        self.sides.keys().find_map(|group| {
            let unrest = unrest_among(&self.replicas_of(*group))?;
            Some(format!("group {group}: {unrest}"))
        })
    }

    /// Every group beside holds what was acknowledged, nothing that was refused, and each key once.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn check_aside(&self) -> Result<(), Violation> {
        for (group, side) in &self.sides {
            for replica in self.replicas_of(*group) {
                let held = keys_of(replica);
                let lost = side.acknowledged.difference(&held).next();
                ensure!(lost.is_none(), AnswerFitsHistory, "group {group} lost acknowledged key {lost:?}");
                let kept = side.refused.intersection(&held).next();
                ensure!(kept.is_none(), RefusedIsNotApplied, "group {group} holds refused key {kept:?}");
                let revision = replica.view().revision().0;
                let expected = held.len() as u64 + 1;
                ensure!(
                    revision == expected as i64,
                    EventAgreement,
                    "group {group} is at revision {revision} with {} keys, each of which was put once",
                    held.len()
                );
            }
        }
        Ok(())
    }
}

fn put(key: u64) -> Command {
    let bytes = Bytes::copy_from_slice(&key.to_be_bytes());
    Command::Put(PutRequest {
        key: bytes.clone(),
        value: bytes,
        lease: None,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    })
}

/// The numbers of the keys that a replica holds.
fn keys_of(replica: &Replica<KvMachine>) -> BTreeSet<u64> {
    let from_zero = Bytes::from_static(&[0]);
    let everything = RangeRequest::of(KeyRange { key: from_zero.clone(), range_end: from_zero });
    let held = replica.view().range(&everything).expect("the newest revision can be read");
    let number = |key: &[u8]| u64::from_be_bytes(key.try_into().expect("keys are numbers"));
    held.kvs.iter().map(|kv| number(&kv.key)).collect()
}
