//! What a replica makes of its peers' hashes, whenever they come.
#![allow(clippy::unwrap_used)]

#[path = "support/group.rs"]
mod group;
#[path = "support/recorder.rs"]
mod recorder;

use bytes::Bytes;
use group::{FIRST, GROUP, Group, SECOND, THIRD, of_replica, said};
use recorder::Recorder;
use ruvector_node::replica::{Event, Output, ReplicaMessage, StateHash, Ticket};
use ruvector_node::{Index, NodeId, ReplicaError, Tuning};

/// The first node leads, and has applied nothing yet at which replicas compare: they do at every fourth entry.
fn before_comparing() -> Group<Recorder> {
    let mut group = Group::start(&Tuning { hash_check_entries: 4, ..Tuning::default() });
    group.elect(FIRST, |_| false);
    group
}

/// The first node comes to an index at which replicas compare, and tells the others its hash.
fn compare(group: &mut Group<Recorder>) -> Result<StateHash, ReplicaError> {
    let mut outputs = Vec::new();
    for number in 0..8 {
        let now = group.now;
        let command = vec![(Ticket(number), Bytes::from(number.to_string()))];
        group.host(FIRST).handle(now, GROUP, Event::Propose(command), &mut outputs)?;
        group.host(FIRST).flush(now, &mut outputs)?;
        for output in std::mem::take(&mut outputs) {
            let Output::Send(message) = output else { continue };
            group.handle(message.to(), Event::Message(message));
        }
        for message in std::mem::take(&mut group.network) {
            let is_hash = matches!(of_replica(&message), Some(ReplicaMessage::StateHash(_)));
            if message.to() == FIRST && !is_hash {
                group.host(FIRST).handle(now, GROUP, Event::Message(message), &mut outputs)?;
            }
        }
        group.host(FIRST).apply(now, || false, &mut outputs)?;
        let told = outputs.iter().find_map(|output| {
            let Output::Send(message) = output else { return None };
            let Some(ReplicaMessage::StateHash(hash)) = of_replica(message) else { return None };
            Some(*hash)
        });
        if let Some(hash) = told {
            return Ok(hash);
        }
        outputs.clear();
    }
    panic!("nothing was compared");
}

fn tell(group: &mut Group<Recorder>, from: NodeId, index: Index, hash: u128) -> Result<(), ReplicaError> {
    let (now, message) = (group.now, ReplicaMessage::StateHash(StateHash { index, hash }));
    group.host(FIRST).handle(now, GROUP, said(from, FIRST, message), &mut Vec::new())
}

fn is_divergence(result: Result<(), ReplicaError>) -> bool {
    matches!(result, Err(ReplicaError::Diverged { .. }))
}

#[test]
fn a_replica_that_a_majority_contradicts_stops_whichever_hash_comes_last() {
    // What the others will have, which this replica does not: its own comes last, then between theirs, then first.
    let own = compare(&mut before_comparing()).unwrap();
    let other = own.hash ^ 1;
    for told_before in [2, 1, 0] {
        let mut group = before_comparing();
        let peers = [SECOND, THIRD];
        for peer in &peers[..told_before] {
            tell(&mut group, *peer, own.index, other).unwrap();
        }
        let compared = compare(&mut group);
        if told_before == 2 {
            assert!(is_divergence(compared.map(|_| ())), "its own came last");
            continue;
        }
        assert_eq!(compared.unwrap(), own, "one against one is undecided");
        for (at, peer) in peers.iter().enumerate().skip(told_before) {
            let told = tell(&mut group, *peer, own.index, other);
            assert_eq!(is_divergence(told), at == 1, "{told_before} told before, then {peer:?}");
        }
    }
}

#[test]
fn later_indexes_are_compared_as_the_first_was() {
    let mut group = before_comparing();
    let first = compare(&mut group).unwrap();
    for peer in [SECOND, THIRD] {
        tell(&mut group, peer, first.index, first.hash).unwrap();
    }
    let second = compare(&mut group).unwrap();
    assert!(second.index > first.index);
    tell(&mut group, SECOND, second.index, second.hash ^ 1).unwrap();
    assert!(is_divergence(tell(&mut group, THIRD, second.index, second.hash ^ 1)));
}

#[test]
fn strangers_and_single_peers_stop_nobody() {
    let mut group = before_comparing();
    let own = compare(&mut group).unwrap();
    for _ in 0..3 {
        tell(&mut group, SECOND, own.index, own.hash ^ 1).unwrap();
        tell(&mut group, NodeId(9), own.index, own.hash ^ 1).unwrap();
    }
}
