//! What clients are told when the leader changes under them, with every message in the test's hands.
#![allow(clippy::unwrap_used)]

#[path = "support/group.rs"]
mod group;
#[path = "support/recorder.rs"]
mod recorder;

use bytes::Bytes;
use group::{FIRST, Group, SECOND, THIRD, concerns, of_core};
use recorder::Recorder;
use ruvector_node::replica::{Event, PeerMessage, Ticket};
use ruvector_node::state_machine::kv::{
    Command, KeyRange, KvMachine, KvView, LeaseId, PutRequest, RangeRequest, Revision,
};
use ruvector_node::{NodeError, NodeId, ReadLevel, Tuning};
use ruvector_protocol::{Envelope, Message};

fn propose(number: u64) -> Event {
    Event::Propose(vec![(Ticket(number), Bytes::from(number.to_string()))])
}

fn is_append_to(message: &PeerMessage, node: NodeId) -> bool {
    message.to() == node && matches!(of_core(message), Some(Message::AppendRequest(_)))
}

/// What clients were told since this was last asked: how many commands the machine had then, or why not.
fn told(group: &mut Group<Recorder>) -> Vec<(Ticket, Result<usize, NodeError>)> {
    let told = group.proposed.drain(..);
    told.map(|(ticket, result)| (ticket, result.map(|applied| applied.response))).collect()
}

/// The third node forwarded a command to the first, which leads and has no more than written it down when it
/// is cut off; it reached the second's log as well or it did not.
fn forwarded_to_a_lost_leader(reaches_second: bool) -> Group<Recorder> {
    let mut group = Group::start(&Tuning::default());
    group.elect(FIRST, |_| false);
    group.handle(THIRD, propose(1));
    group.deliver(|message| {
        is_append_to(message, THIRD)
            || is_append_to(message, SECOND) && !reaches_second
            || message.from() == SECOND && message.to() == FIRST
    });
    assert_eq!(group.replica(FIRST).raft().last().index.0, 2, "the leader has it");
    assert!(group.proposed.is_empty(), "{:?}", group.proposed);
    group
}

#[test]
fn a_forwarded_command_that_is_lost_with_the_leader_is_applied_once_and_answered() {
    for reaches_second in [false, true] {
        let mut group = forwarded_to_a_lost_leader(reaches_second);
        group.elect(SECOND, |message| concerns(message, FIRST));
        group.heartbeat(SECOND, |message| concerns(message, FIRST));
        assert_eq!(told(&mut group), [(Ticket(1), Ok(1))], "{reaches_second}");
        for _ in 0..10 {
            group.heartbeat(SECOND, |_| false);
        }
        assert_eq!(told(&mut group), [], "told once");
        for node in [FIRST, SECOND, THIRD] {
            assert_eq!(group.replica(node).view(), ["1"], "{node:?}, {reaches_second}");
        }
    }
}

#[test]
fn a_forwarded_command_of_which_nothing_is_heard_is_unknown() {
    let mut group = forwarded_to_a_lost_leader(true);
    let is_lost = |message: &PeerMessage| concerns(message, THIRD);
    while group.proposed.is_empty() {
        group.heartbeat(THIRD, is_lost);
    }
    assert_eq!(told(&mut group), [(Ticket(1), Err(NodeError::OutcomeUnknown))]);
    group.elect(SECOND, |_| false);
    group.heartbeat(SECOND, |_| false);
    assert_eq!(group.replica(THIRD).view(), ["1"], "it was applied: any other answer would have been wrong");
}

#[test]
fn a_command_that_nobody_took_is_told_to_be_without_effect_and_has_none() {
    let mut group: Group<Recorder> = Group::start(&Tuning::default());
    group.handle(THIRD, propose(1));
    while group.proposed.is_empty() {
        group.heartbeat(THIRD, |_| true);
    }
    assert_eq!(told(&mut group), [(Ticket(1), Err(NodeError::NoLeader))]);
    group.elect(SECOND, |_| false);
    for _ in 0..10 {
        group.heartbeat(SECOND, |_| false);
    }
    assert_eq!(group.replica(THIRD).view(), Vec::<Bytes>::new());
}

#[test]
fn a_command_that_comes_again_is_known_to_a_node_that_started_from_its_snapshot() {
    let tuning = Tuning { snapshot_entries: 4, retained_entries: 0, ..Tuning::default() };
    let mut group: Group<Recorder> = Group::start(&tuning);
    group.elect(FIRST, |_| false);
    group.handle(THIRD, propose(1));
    let forwarded = |message: &PeerMessage| match message {
        PeerMessage::Consensus(envelope) if matches!(envelope.message, Message::ForwardProposals(_)) => {
            Some(envelope.clone())
        }
        PeerMessage::Consensus(_) | PeerMessage::Replica(_) => None,
    };
    let forwarded = group.network.iter().find_map(forwarded).unwrap();
    group.deliver(|_| false);
    // Only the snapshot can tell what came from the third node.
    for number in 2..6 {
        group.handle(FIRST, propose(number));
        group.deliver(|_| false);
    }
    group.heartbeat(FIRST, |_| false);
    let snapshot = group.replica(FIRST).newest_snapshot().unwrap();
    let applied = group.replica(FIRST).applied().index;
    assert!(applied > snapshot, "a part of what is applied is in the log only");

    group.restart(FIRST, 2);
    group.elect(SECOND, |_| false);
    // The network had kept a copy.
    let term = group.replica(SECOND).raft().term();
    group.handle(SECOND, Event::Message(PeerMessage::Consensus(Envelope { to: SECOND, term, ..forwarded })));
    for _ in 0..10 {
        group.heartbeat(SECOND, |_| false);
    }
    let hashes = [FIRST, SECOND, THIRD].map(|node| group.replica(node).state_hash());
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    for node in [FIRST, SECOND, THIRD] {
        assert_eq!(group.replica(node).view(), ["1", "2", "3", "4", "5"], "{node:?}");
    }
}

/// So many commands of so many bytes.
fn propose_many(count: u64, bytes: usize) -> Event {
    let command = |number: u64| Bytes::from(format!("{number:0bytes$}"));
    Event::Propose((1..=count).map(|number| (Ticket(number), command(number))).collect())
}

/// Waits for all to be answered, and returns what they were told, by ticket.
fn told_in_the_end(
    group: &mut Group<Recorder>,
    leader: NodeId,
    count: usize,
) -> Vec<Result<usize, NodeError>> {
    let mut all = Vec::new();
    for _ in 0..1_000 {
        all.extend(told(group));
        if all.len() >= count {
            break;
        }
        group.heartbeat(leader, |_| false);
        group.handle(THIRD, Event::Wake);
        group.deliver(|_| false);
    }
    all.sort_by_key(|(ticket, _)| *ticket);
    all.into_iter().map(|(_, result)| result).collect()
}

#[test]
fn everything_that_waits_when_its_node_becomes_leader_is_committed_in_order() {
    // Of the second group of commands a leader has no room for more than ten at once.
    for uncommitted_bytes_max in [Tuning::default().uncommitted_bytes_max, 1_000] {
        let mut group = Group::start(&Tuning { uncommitted_bytes_max, ..Tuning::default() });
        group.handle(FIRST, propose_many(3_000, 30));
        group.elect(FIRST, |_| false);
        let told = told_in_the_end(&mut group, FIRST, 3_000);
        assert!(told.iter().all(Result::is_ok), "{:?}", told.iter().find(|result| result.is_err()));
        assert_eq!(told.len(), 3_000);
        assert!(group.replica(SECOND).view().is_sorted(), "{uncommitted_bytes_max}");
    }
}

#[test]
fn everything_that_waits_at_a_follower_is_committed_in_order() {
    let mut group = Group::start(&Tuning { uncommitted_bytes_max: 10_000, ..Tuning::default() });
    group.handle(THIRD, propose_many(3_000, 30));
    group.elect(FIRST, |_| false);
    let told = told_in_the_end(&mut group, FIRST, 3_000);
    assert!(told.iter().all(Result::is_ok), "{:?}", told.iter().find(|result| result.is_err()));
    assert_eq!(told.len(), 3_000);
    assert!(group.replica(SECOND).view().is_sorted());
}

#[test]
fn a_follower_forwards_much_in_many_messages_and_not_all_at_once() {
    let tuning = Tuning { uncommitted_bytes_max: 4_000, append_bytes_max: 500, ..Tuning::default() };
    let mut group = Group::start(&tuning);
    group.elect(FIRST, |_| false);
    group.handle(THIRD, propose_many(100, 200));
    let mut proposals = 0;
    for message in &group.network {
        let Some(Message::ForwardProposals(forwarded)) = of_core(message) else { continue };
        let bytes: usize = forwarded.proposals.iter().map(|proposal| proposal.command.len()).sum();
        assert!(bytes <= 500, "a message of {} proposals, {bytes} bytes", forwarded.proposals.len());
        proposals += forwarded.proposals.len();
    }
    assert_eq!(proposals, 7, "half of what the leader may hold, with what an entry has beside its command");
    let told = told_in_the_end(&mut group, FIRST, 100);
    assert_eq!(told.iter().filter(|result| result.is_ok()).count(), 100, "{told:?}");
    assert!(group.replica(SECOND).view().is_sorted());
}

const LEASE: LeaseId = LeaseId(7);

fn key(name: &str) -> KeyRange {
    KeyRange { key: Bytes::from(name.to_owned()), range_end: Bytes::new() }
}

fn put(name: &str, lease: Option<LeaseId>) -> Command {
    Command::Put(PutRequest {
        key: Bytes::from(name.to_owned()),
        value: Bytes::new(),
        lease,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    })
}

fn has(view: &KvView, name: &str) -> bool {
    let none = Revision(0);
    let request = RangeRequest {
        range: key(name),
        revision: None,
        limit: 0,
        sort: None,
        keys_only: false,
        count_only: true,
        min_mod_revision: none,
        max_mod_revision: none,
        min_create_revision: none,
        max_create_revision: none,
    };
    view.range(&request).unwrap().count == 1
}

fn run(number: u64, command: &Command) -> Event {
    Event::Propose(vec![(Ticket(number), command.encode())])
}

fn renew() -> Command {
    Command::LeaseRenew { ids: vec![LEASE] }
}

/// The first node leads and stands still for longer than a lease of five seconds lives, while the second leads
/// and renews it. Nothing that reached the first was looked at; what it sent was.
fn leader_paused_past_a_lease() -> Group<KvMachine> {
    let mut group: Group<KvMachine> = Group::start(&Tuning::default());
    group.elect(FIRST, |_| false);
    group.handle(FIRST, run(1, &Command::LeaseGrant { id: LEASE, ttl_seconds: 5 }));
    group.deliver(|_| false);
    group.handle(FIRST, run(2, &put("leased", Some(LEASE))));
    group.deliver(|_| false);
    group.heartbeat(FIRST, |_| false);
    let is_lost = |message: &PeerMessage| concerns(message, FIRST);
    group.elect(SECOND, is_lost);
    for number in 3..253 {
        group.handle(SECOND, run(number, &renew()));
        group.heartbeat(SECOND, is_lost);
    }
    group.handle(SECOND, run(253, &put("new", None)));
    group.deliver(is_lost);
    assert_eq!(group.proposed.len(), 253);
    assert!(
        group
            .proposed
            .drain(..)
            .all(|(_, result)| result.is_ok_and(|applied| applied.response.result.is_ok()))
    );
    group
}

#[test]
fn a_leader_that_stood_still_past_its_lease_answers_nothing_from_its_old_term() {
    // Before it looks at what the others sent it looks at its clock, at what its clients sent, or both.
    for wakes_first in [false, true] {
        let mut group = leader_paused_past_a_lease();
        assert_eq!(group.replica(FIRST).raft().leader(), Some(FIRST), "it knows of no other yet");
        if wakes_first {
            group.handle(FIRST, Event::Wake);
        }
        let reads = vec![(Ticket(301), ReadLevel::Lease), (Ticket(302), ReadLevel::Strong)];
        group.handle(FIRST, Event::Read(reads));
        group.handle(FIRST, run(303, &renew()));
        group.handle(FIRST, Event::Wake);
        assert!(group.read.is_empty() && group.proposed.is_empty(), "{:?} {:?}", group.read, group.proposed);
        assert!(has(&group.replica(FIRST).view(), "leased"), "it ended a lease that the others renewed");

        while group.read.len() < 2 || group.proposed.is_empty() {
            group.heartbeat(SECOND, |_| false);
            group.handle(FIRST, Event::Wake);
        }
        for (ticket, view) in group.read.drain(..) {
            assert!(
                has(&view.unwrap(), "new"),
                "{ticket:?} was given what was there before the other leader"
            );
        }
        let (ticket, result) = group.proposed.remove(0);
        let (term, applied) = (group.replica(SECOND).raft().term(), result.unwrap());
        assert_eq!(
            (ticket, applied.position.term),
            (Ticket(303), term),
            "committed by the leader that there is"
        );
        assert!(has(&group.replica(FIRST).view(), "leased"));
        let hashes = [FIRST, SECOND, THIRD].map(|node| group.replica(node).state_hash());
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    }
}
