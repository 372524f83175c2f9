//! What a disk that was rolled back, or a state that differs, makes replicas say to each other.

use super::*;

fn proposal(sequence: u64) -> Proposal {
    let origin = Origin { node: NodeId(1), incarnation: Incarnation(1), sequence, settled_below: 0 };
    Proposal { origin, command: Bytes::from_static(b"x") }
}

/// A replica that has committed two entries of term 1.
fn with_two_committed() -> Replica {
    let mut replica = Replica::new();
    replica.receive(2, 1, append(position(0, 0), vec![entry(1, 1), entry(2, 1)], 2));
    assert_eq!(replica.raft.commit(), Index(2));
    replica
}

fn elected_with(elected_with: LogPosition) -> LeaderStamp {
    LeaderStamp { elected_with, ..leader_stamp() }
}

#[test]
fn a_leader_without_what_is_committed_is_contradicted() {
    let heartbeat = |stamp: LeaderStamp| {
        Message::Heartbeat(Heartbeat { commit: Index(0), remembered: Vec::new(), stamp })
    };
    let entries = |previous, entries, stamp| {
        Message::AppendRequest(AppendRequest { previous, entries, commit: Index(0), stamp })
    };
    let missing = |leader_last| Contradiction::Missing { own: position(2, 1), leader_last };
    let other = Contradiction::Entry { own: position(2, 1), theirs: Term(2) };
    let meets_all = elected_with(position(9, 2));
    let cases = [
        (heartbeat(elected_with(position(1, 1))), missing(position(1, 1))),
        (heartbeat(elected_with(position(2, 2))), other),
        (entries(position(1, 1), vec![entry(2, 2)], meets_all), other),
        (entries(position(2, 2), vec![entry(3, 2)], meets_all), other),
        (entries(position(0, 0), vec![entry(1, 1), entry(2, 2)], meets_all), other),
    ];
    for (message, contradiction) in cases {
        let mut replica = with_two_committed();
        replica.receive(3, 1, message.clone());
        let not_the_leader = matches!(replica.contradiction.take(), Some(Contradiction::Reign { .. }));
        assert!(not_the_leader, "term 1 is another's: {message:?}");
        replica.receive(3, 0, message.clone());
        assert_eq!(replica.contradiction, None, "of an older term: {message:?}");
        replica.sent.clear();
        replica.receive(3, 2, message.clone());
        assert_eq!(replica.contradiction, Some(contradiction), "{message:?}");
        let tells = |message: &Message| {
            matches!(message, Message::HeartbeatResponse(response)
                if response.stamp.is_contradicted && response.stamp.committed == position(2, 1))
        };
        assert_eq!(replica.count_sent(tells), 1, "the leader is told: {message:?}");
        assert_eq!(replica.raft.status().last, position(2, 1), "nothing is replaced");
    }
    // A leader that has it, with more behind it that is not here.
    let mut replica = with_two_committed();
    replica.receive(3, 2, heartbeat(elected_with(position(5, 1))));
    replica.receive(3, 2, entries(position(2, 1), vec![entry(3, 1)], elected_with(position(5, 1))));
    assert_eq!((replica.contradiction, replica.raft.status().last), (None, position(3, 1)));
}

#[test]
fn a_snapshot_of_another_history_is_contradicted() {
    for (index, is_contradicted) in [(1, true), (2, true), (3, false)] {
        let mut replica = with_two_committed();
        let membership = replica.raft.status().membership;
        let meta = SnapshotMeta { position: position(index, 2), membership, ..SnapshotMeta::default() };
        replica.step(Input::SnapshotReceived { from: NodeId(3), term: Term(2), meta });
        assert_eq!(replica.contradiction.is_some(), is_contradicted, "at {index}");
    }
}

/// Of one node or of two: a voter has forgotten its vote.
#[test]
fn a_term_with_two_reigns_is_noticed_also_after_a_restart() {
    let heartbeat = |since| {
        let stamp = LeaderStamp { leads_since: Timestamp(since), ..leader_stamp() };
        Message::Heartbeat(Heartbeat { commit: Index(0), remembered: Vec::new(), stamp })
    };
    let reign = Some(Reign { leader: NodeId(2), since: Timestamp(1) });
    let hard_state = HardState { term: Term(1), reign, ..HardState::default() };
    let restarted = || Replica::restored(Restored { hard_state, ..Restored::default() });
    let running = || {
        let mut replica = Replica::new();
        replica.receive(2, 1, heartbeat(1));
        replica
    };
    for (from, since, is_second) in [(2, 1, false), (2, 7, true), (3, 1, true)] {
        for mut replica in [restarted(), running()] {
            replica.receive(from, 1, heartbeat(since));
            let is_noticed = matches!(replica.contradiction, Some(Contradiction::Reign { .. }));
            assert_eq!(is_noticed, is_second, "of {from} since {since}");
        }
        let mut later = restarted();
        later.receive(from, 2, heartbeat(since));
        assert_eq!(later.contradiction, None, "a later term is led anew");
    }
}

/// The leader of the term in which it acknowledged them may be gone, and the one that remembers it a follower.
#[test]
fn what_a_replica_had_acknowledged_is_remembered_over_leaders() {
    let heartbeat = |acknowledged, remembered: Vec<(u64, u64)>| {
        let remembered = remembered.into_iter().map(|(node, index)| (NodeId(node), Index(index))).collect();
        let stamp = LeaderStamp { acknowledged: Index(acknowledged), ..elected_with(position(9, 1)) };
        Message::Heartbeat(Heartbeat { commit: Index(0), remembered, stamp })
    };
    let mut replica = with_two_committed();
    replica.receive(3, 2, heartbeat(2, vec![(2, 7)]));
    assert_eq!(replica.lost, None, "it has what it had");
    replica.sent.clear();
    replica.receive(2, 3, heartbeat(0, vec![(2, 5), (4, 9)]));
    let tells = |message: &Message| matches!(message, Message::HeartbeatResponse(response) if response.remembered == [(NodeId(2), Index(7))]);
    assert_eq!(replica.count_sent(tells), 1, "it tells the next leader, which knows less");
    replica.receive(2, 3, heartbeat(0, vec![(2, 7)]));
    let tells_nothing = |message: &Message| matches!(message, Message::HeartbeatResponse(response) if response.remembered.is_empty());
    assert_eq!(replica.count_sent(tells_nothing), 1, "and no more, once that one knows as much");
    replica.receive(2, 3, heartbeat(3, vec![]));
    assert_eq!(replica.lost, Some((Index(3), Index(2))));

    let hard_state = HardState { is_newcomer: true, ..HardState::default() };
    let mut newcomer = Replica::restored(Restored { hard_state, ..Restored::default() });
    newcomer.receive(3, 2, heartbeat(2, vec![]));
    assert_eq!(newcomer.lost, None, "a newcomer says that it has forgotten");
}

/// An entry that only one has may go again, and what was not committed may be replaced.
#[test]
fn a_leader_remembers_what_was_acknowledged_and_committed_only() {
    let mut replica = Replica::leader();
    replica.step(Input::Propose(vec![proposal(1), proposal(2)]));
    let reminders = |replica: &mut Replica| {
        replica.sent.clear();
        while replica.sent.iter().all(|envelope| {
            !matches!(&envelope.message, Message::Heartbeat(heartbeat) if !heartbeat.remembered.is_empty())
        }) {
            replica.now = replica.raft.deadline().unwrap();
            let stamp = replica.follower_stamp();
            let alive = HeartbeatResponse { remembered: Vec::new(), stamp };
            replica.receive(3, 1, Message::HeartbeatResponse(alive));
            replica.step(Input::Wake);
        }
        let reminder = |envelope: &Envelope| {
            let Message::Heartbeat(heartbeat) = &envelope.message else { return None };
            (!heartbeat.remembered.is_empty()).then(|| heartbeat.remembered.clone())
        };
        replica.sent.iter().find_map(reminder).unwrap()
    };
    let of = |one: u64, two: u64, three: u64| {
        vec![(NodeId(1), Index(one)), (NodeId(2), Index(two)), (NodeId(3), Index(three))]
    };
    assert_eq!(reminders(&mut replica), of(1, 1, 0), "the proposals are not committed");
    let outcome = AppendOutcome::Accepted { matched: Index(2) };
    let stamp = replica.follower_stamp();
    replica.receive(2, 1, Message::AppendResponse(AppendResponse { outcome, stamp }));
    assert_eq!(reminders(&mut replica), of(2, 2, 0), "one of them is");
    let written: Vec<Vec<_>> = replica
        .written
        .iter()
        .map(|known| known.iter().map(|(node, index)| (*node, *index)).collect())
        .collect();
    assert_eq!(written, [of(1, 1, 0), of(2, 2, 0)], "each time that it tells news");
}

/// All of them are started again, and only one of them knew.
#[test]
fn what_replicas_had_acknowledged_is_remembered_over_restarts() {
    let told: Vec<_> = [(2, 7), (3, 5)].map(|(node, index)| (NodeId(node), Index(index))).into();
    let mut replica = with_two_committed();
    for (remembered, writes) in [(told.clone(), 1), (told.clone(), 1), (Vec::new(), 1)] {
        let stamp = elected_with(position(9, 1));
        replica.receive(3, 2, Message::Heartbeat(Heartbeat { commit: Index(0), remembered, stamp }));
        assert_eq!(replica.written.len(), writes, "what is no news is not written");
    }
    let remembered = replica.written.pop().unwrap();
    assert_eq!(remembered, told.into_iter().collect());

    let mut restarted = Replica::restored(Restored { remembered, ..Restored::default() });
    let nobody_knows = vec![(NodeId(2), Index(0))];
    let stamp = elected_with(position(9, 1));
    restarted.receive(
        3,
        2,
        Message::Heartbeat(Heartbeat { commit: Index(0), remembered: nobody_knows, stamp }),
    );
    let tells = |message: &Message| {
        matches!(message, Message::HeartbeatResponse(response)
            if response.remembered == [(NodeId(2), Index(7)), (NodeId(3), Index(5))])
    };
    assert_eq!(restarted.count_sent(tells), 1, "it tells its leader");
    assert!(restarted.written.is_empty(), "it has it on its disk");
}

#[test]
fn a_follower_that_has_committed_what_its_leader_lacks_counts_for_nothing() {
    let mut replica = Replica::leader();
    replica.step(Input::Propose(vec![proposal(1)]));
    let contradicting = [
        FollowerStamp { committed: position(3, 1), ..replica.follower_stamp() },
        FollowerStamp { committed: position(1, 0), ..replica.follower_stamp() },
        FollowerStamp { is_contradicted: true, ..replica.follower_stamp() },
    ];
    for stamp in contradicting {
        let outcome = AppendOutcome::Accepted { matched: Index(2) };
        replica.receive(2, 1, Message::AppendResponse(AppendResponse { outcome, stamp }));
        assert_eq!(replica.raft.commit(), Index(1), "after {stamp:?}");
        assert_eq!(replica.lacking, [(NodeId(2), stamp.committed)], "told once");
        assert_eq!(replica.raft.status().contradicted_by, [(NodeId(2), stamp.committed)].into());
        // It says something else.
        let stamp = FollowerStamp { committed: position(1, 1), ..replica.follower_stamp() };
        replica.receive(
            2,
            1,
            Message::HeartbeatResponse(HeartbeatResponse { remembered: Vec::new(), stamp }),
        );
        assert!(replica.raft.status().contradicted_by.is_empty(), "after {stamp:?}");
        replica.lacking.clear();
    }
}

#[test]
fn a_replica_whose_state_may_be_wrong_neither_leads_nor_votes() {
    let mut replica = Replica::leader();
    replica.step(Input::Suspect(true));
    assert_eq!(replica.raft.leader(), None);
    replica.now = replica.now.after_micros(10_000_000);
    replica.step(Input::Wake);
    assert_eq!(replica.raft.status().role, RoleName::Follower, "it does not campaign");
    let ask = |replica: &mut Replica, term| {
        replica.sent.clear();
        let request = VoteRequest { last: position(9, 1), incarnation: Incarnation(1) };
        replica.receive(2, term, Message::VoteRequest(request));
        replica.count_sent(|message| matches!(message, Message::VoteResponse(vote) if vote.granted))
    };
    assert_eq!(ask(&mut replica, 2), 0, "it does not vote");
    replica.step(Input::Suspect(false));
    replica.now = replica.now.after_micros(10_000_000);
    assert_eq!(ask(&mut replica, 3), 1, "until a majority has its state");
}
