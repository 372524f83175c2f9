//! One replica and hand-made messages: what no honest cluster sends, or only after rare accidents.

#![allow(clippy::unwrap_used)]

mod contradictions;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use ruvector_protocol::message::{
    AppendOutcome, AppendRequest, AppendResponse, FollowerStamp, ForwardProposals, Heartbeat,
    HeartbeatResponse, Introduction, IntroductionRequest, IntroductionResponse, LeaderStamp, PreVoteRequest,
    PreVoteResponse, ReadIndexRequest, ReadIndexResponse, VoteRequest, VoteResponse,
};
use ruvector_protocol::{
    ClusterTime, Config, Contradiction, Effect, Entry, Envelope, GroupId, HardState, Incarnation, Index,
    Input, LogPosition, Membership, Message, NodeId, Origin, Payload, Proposal, Raft, ReadId, ReadLevel,
    Reign, RejectReason, Restored, RoleName, SnapshotMeta, Term, Timestamp,
};

/// Node 1 of three, with a disk that is done at once.
struct Replica {
    raft: Raft,
    now: Timestamp,
    sent: Vec<Envelope>,
    /// What it acknowledged, and where its log ends, if that is less.
    lost: Option<(Index, Index)>,
    superseded_by: Option<Incarnation>,
    /// What is committed here and its leader contradicts.
    contradiction: Option<Contradiction>,
    /// What followers had committed that it does not have.
    lacking: Vec<(NodeId, LogPosition)>,
    /// What it wrote down of how far replicas had come, each time.
    written: Vec<BTreeMap<NodeId, Index>>,
}

impl Replica {
    fn new() -> Self {
        Self::restored(Restored::default())
    }

    fn restored(restored: Restored) -> Self {
        let voters = [NodeId(1), NodeId(2), NodeId(3)].into();
        let base = SnapshotMeta { membership: Membership { voters }, ..restored.base };
        let now = Timestamp(1_000_000);
        let config = Config { tail_bytes_max: 200, append_bytes_max: 200, ..config() };
        Self {
            raft: Raft::new(config, Restored { base, ..restored }, now),
            now,
            sent: Vec::new(),
            lost: None,
            superseded_by: None,
            contradiction: None,
            lacking: Vec::new(),
            written: Vec::new(),
        }
    }

    fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let mut effects = Vec::new();
            self.raft.step(self.now, input, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Send(envelope) => self.sent.push(envelope),
                    Effect::Persist(write) => {
                        self.written.extend(write.remembered);
                        inputs.insert(0, Input::Persisted(write.id));
                    }
                    Effect::Apply(entries) => {
                        inputs.insert(0, Input::Applied(entries.last().unwrap().index));
                    }
                    Effect::LoadEntries { to, .. } => {
                        inputs.insert(0, Input::EntriesLoaded { to, entries: Vec::new() });
                    }
                    Effect::SendSnapshot { to } => {
                        inputs.insert(0, Input::SnapshotSent { to, position: None });
                    }
                    Effect::EntriesLost { acknowledged, last } => self.lost = Some((acknowledged, last)),
                    Effect::IncarnationSuperseded { by, .. } => self.superseded_by = Some(by),
                    Effect::Contradicted { contradiction, .. } => self.contradiction = Some(contradiction),
                    Effect::FollowerContradicts { follower, committed } => {
                        self.lacking.push((follower, committed));
                    }
                    Effect::ServeRead { .. }
                    | Effect::RejectReads { .. }
                    | Effect::RejectProposals { .. }
                    | Effect::InstallSnapshot(_)
                    | Effect::LeaderChanged { .. } => {}
                }
            }
        }
    }

    fn receive(&mut self, from: u64, term: u64, message: Message) {
        let envelope = Envelope {
            group: GroupId::METADATA,
            from: NodeId(from),
            to: NodeId(1),
            term: Term(term),
            message,
        };
        self.step(Input::Receive(envelope));
    }

    /// Asks for votes in term 1.
    fn candidate() -> Self {
        let mut replica = Self::new();
        while replica.raft.status().role == RoleName::Follower {
            replica.now = replica.raft.deadline().unwrap();
            replica.step(Input::Wake);
        }
        replica.receive(2, 1, Message::PreVoteResponse(PreVoteResponse { granted: true }));
        replica
    }

    /// Elected in term 1 by node 2, which has the no-op.
    fn leader() -> Self {
        let mut replica = Self::candidate();
        let response = VoteResponse { granted: true, incarnation: Incarnation(1) };
        replica.receive(2, 1, Message::VoteResponse(response));
        let outcome = AppendOutcome::Accepted { matched: Index(1) };
        let stamp = replica.follower_stamp();
        replica.receive(2, 1, Message::AppendResponse(AppendResponse { outcome, stamp }));
        assert!(replica.raft.is_established_leader());
        replica
    }

    fn follower_stamp(&self) -> FollowerStamp {
        FollowerStamp {
            echo: self.now,
            read_round: 0,
            responded_at: self.now,
            incarnation: Incarnation(1),
            is_newcomer: false,
            promised_us: 300_000,
            committed: LogPosition::default(),
            is_contradicted: false,
        }
    }

    fn count_sent(&mut self, wanted: impl Fn(&Message) -> bool) -> usize {
        self.sent.drain(..).filter(|envelope| wanted(&envelope.message)).count()
    }
}

fn config() -> Config {
    Config::new(GroupId::METADATA, NodeId(1), Incarnation(1), 1)
}

fn leader_stamp() -> LeaderStamp {
    LeaderStamp {
        sent_at: Timestamp(5),
        read_round: 0,
        cluster_time: ClusterTime(1),
        answering: None,
        leads_since: Timestamp(1),
        elected_with: LogPosition::default(),
        acknowledged: Index(0),
    }
}

fn position(index: u64, term: u64) -> LogPosition {
    LogPosition { term: Term(term), index: Index(index) }
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { term: Term(term), index: Index(index), time: ClusterTime(0), payload: Payload::Noop }
}

fn append(previous: LogPosition, entries: Vec<Entry>, commit: u64) -> Message {
    Message::AppendRequest(AppendRequest { previous, entries, commit: Index(commit), stamp: leader_stamp() })
}

#[test]
fn nothing_is_committed_beyond_what_the_append_shows_to_match() {
    let mut replica = Replica::new();
    replica.receive(2, 1, append(position(0, 0), vec![entry(1, 1), entry(2, 1), entry(3, 1)], 0));
    // The leader of term 2 has another entry 3, and has not sent it yet.
    replica.receive(3, 2, append(position(0, 0), vec![entry(1, 1), entry(2, 1)], 3));
    assert_eq!(replica.raft.commit(), Index(2));
}

#[test]
fn a_log_of_a_higher_term_than_the_hard_state_tells_the_term() {
    let hard_state = HardState { term: Term(2), voted_for: Some(NodeId(1)), ..HardState::default() };
    let entries = vec![entry(1, 2), entry(2, 4)];
    let replica = Replica::restored(Restored { hard_state, entries, ..Restored::default() });
    assert_eq!((replica.raft.term(), replica.raft.status().voted_for), (Term(4), None));
}

#[test]
fn what_can_not_be_right_is_dropped_and_counted() {
    let heartbeat = |commit| {
        Message::Heartbeat(Heartbeat { commit: Index(commit), remembered: Vec::new(), stamp: leader_stamp() })
    };
    let mut replica = Replica::new();
    replica.receive(2, 1, append(position(0, 0), vec![entry(1, 1), entry(2, 1)], 1));
    assert_eq!(replica.raft.dropped_messages(), 0);
    let wrong = [
        (9, 1, heartbeat(0)),
        (1, 1, heartbeat(0)),
        (2, u64::MAX, heartbeat(0)),
        (3, 1, heartbeat(0)),
        (2, 1, append(position(2, 1), vec![entry(4, 1)], 0)),
        (2, 1, append(position(2, 1), vec![entry(3, 7)], 0)),
        (2, 1, append(position(u64::MAX, 1), vec![entry(3, 1)], 0)),
        (2, 1, append(position(0, 0), vec![entry(1, 0)], 0)),
    ];
    for (count, (from, term, message)) in wrong.into_iter().enumerate() {
        let description = format!("{from} {term} {message:?}");
        replica.receive(from, term, message);
        assert_eq!(replica.raft.dropped_messages(), count as u64 + 1, "{description}");
    }
    let membership = replica.raft.status().membership;
    for position in [position(9, 2), position(u64::MAX, 1)] {
        let meta = SnapshotMeta { position, membership: membership.clone(), ..SnapshotMeta::default() };
        replica.step(Input::SnapshotReceived { from: NodeId(2), term: Term(1), meta });
    }
    assert_eq!(replica.raft.dropped_messages(), 10);
    let status = replica.raft.status();
    assert_eq!((status.term, status.last, status.commit), (Term(1), position(2, 1), Index(1)));
}

#[test]
fn entries_that_take_cluster_time_back_continue_another_entry_than_the_one_here() {
    let at = |index, time| Entry { time: ClusterTime(time), ..entry(index, 1) };
    let mut replica = Replica::new();
    replica.receive(2, 1, append(position(0, 0), vec![at(1, 10), at(2, 2_100)], 0));
    for entries in [vec![at(3, 8)], vec![at(1, 5), at(2, 6), at(3, 7)]] {
        let previous = position(entries[0].index.0 - 1, u64::from(entries.len() == 1));
        let next_time = entries.last().unwrap().time;
        replica.receive(2, 1, append(previous, entries, 0));
        let time = Contradiction::Time { own: position(2, 1), own_time: ClusterTime(2_100), next_time };
        assert_eq!(replica.contradiction.take(), Some(time));
    }
    assert_eq!((replica.raft.dropped_messages(), replica.raft.status().last), (2, position(2, 1)));
    replica.receive(2, 1, append(position(2, 1), vec![at(3, 2_100)], 0));
    assert_eq!((replica.contradiction, replica.raft.status().last), (None, position(3, 1)));
}

#[test]
fn a_refusal_of_what_was_never_sent_changes_nothing() {
    let mut replica = Replica::leader();
    for index in [2, 9, u64::MAX - 1, u64::MAX] {
        let outcome = AppendOutcome::Rejected { previous: position(index, 1), candidate: position(0, 0) };
        let stamp = replica.follower_stamp();
        replica.receive(3, 1, Message::AppendResponse(AppendResponse { outcome, stamp }));
    }
    assert!(replica.raft.is_established_leader());
}

#[test]
fn a_leader_drops_acknowledgements_of_what_it_never_sent() {
    let mut replica = Replica::leader();
    let outcome = AppendOutcome::Accepted { matched: Index(50) };
    let stamp = replica.follower_stamp();
    replica.receive(3, 1, Message::AppendResponse(AppendResponse { outcome, stamp }));
    let stamp = FollowerStamp { echo: replica.now.after_micros(1), ..stamp };
    replica.receive(3, 1, Message::HeartbeatResponse(HeartbeatResponse { remembered: Vec::new(), stamp }));
    let stamp = FollowerStamp { read_round: 7, ..replica.follower_stamp() };
    replica.receive(3, 1, Message::HeartbeatResponse(HeartbeatResponse { remembered: Vec::new(), stamp }));
    assert_eq!(replica.raft.dropped_messages(), 3);
    assert_eq!(replica.raft.commit(), Index(1));
}

#[test]
fn a_follower_that_forgot_what_it_acknowledged_causes_no_storm() {
    let mut replica = Replica::leader();
    replica.now = replica.now.after_micros(1_000);
    replica.step(Input::PeerLost(NodeId(2)));
    replica.sent.clear();
    for _ in 0..100 {
        let outcome = AppendOutcome::Rejected { previous: position(1, 1), candidate: position(0, 0) };
        let stamp =
            FollowerStamp { incarnation: Incarnation(2), is_newcomer: true, ..replica.follower_stamp() };
        replica.receive(2, 1, Message::AppendResponse(AppendResponse { outcome, stamp }));
    }
    // It has nothing at all: it is sent everything from the first entry on, once.
    assert_eq!(replica.count_sent(|message| matches!(message, Message::AppendRequest(_))), 1);
    assert_eq!(replica.raft.commit(), Index(1), "what is committed stays so");
}

/// Its log may be shorter than that of the start which the vote was given to.
#[test]
fn a_vote_for_an_earlier_start_does_not_count() {
    let mut replica = Replica::candidate();
    for incarnation in [0, 1] {
        let response = VoteResponse { granted: true, incarnation: Incarnation(incarnation) };
        replica.receive(2, 1, Message::VoteResponse(response));
        let leads = replica.raft.status().role == RoleName::Leader;
        assert_eq!(leads, incarnation == 1, "after a vote for incarnation {incarnation}");
    }
}

#[test]
fn what_a_follower_acknowledged_and_forgot_counts_no_more_and_a_newcomer_does_not_count_yet() {
    let mut replica = Replica::leader();
    let origin = Origin { node: NodeId(1), incarnation: Incarnation(1), sequence: 1, settled_below: 0 };
    replica.step(Input::Propose(vec![Proposal { origin, command: Bytes::from_static(b"new") }]));
    let before = replica.follower_stamp();
    let introduction = IntroductionRequest { incarnation: Incarnation(2) };
    replica.receive(2, 0, Message::IntroductionRequest(introduction));
    let answers = replica.count_sent(|message| {
        let welcome = Introduction::Welcome { commit: Index(1), is_log_empty: false };
        matches!(message, Message::IntroductionResponse(response) if response.outcome == welcome)
    });
    assert_eq!(answers, 1);
    let newcomer = FollowerStamp { incarnation: Incarnation(2), is_newcomer: true, ..before };
    let member = FollowerStamp { is_newcomer: false, ..newcomer };
    for (stamp, commit) in [(before, 1), (newcomer, 1), (before, 1), (member, 2)] {
        let outcome = AppendOutcome::Accepted { matched: Index(2) };
        replica.receive(2, 1, Message::AppendResponse(AppendResponse { outcome, stamp }));
        assert_eq!(replica.raft.commit(), Index(commit), "after {stamp:?}");
    }
}

/// Its argument for being let in again rests on the leader's having forgotten what later starts had said.
#[test]
fn a_newcomer_that_is_not_the_latest_start_is_not_welcomed_and_stops() {
    let mut replica = Replica::leader();
    let later = FollowerStamp { incarnation: Incarnation(7), ..replica.follower_stamp() };
    let alive = HeartbeatResponse { remembered: Vec::new(), stamp: later };
    replica.receive(2, 1, Message::HeartbeatResponse(alive));
    let introduction = IntroductionRequest { incarnation: Incarnation(6) };
    replica.receive(2, 0, Message::IntroductionRequest(introduction));
    let outcome = Introduction::Superseded { by: Incarnation(7) };
    let answer = IntroductionResponse { incarnation: Incarnation(6), outcome };
    let is_answer = |message: &Message| *message == Message::IntroductionResponse(answer);
    assert_eq!(replica.count_sent(is_answer), 1);

    let hard_state = HardState { is_newcomer: true, ..HardState::default() };
    let mut newcomer = Replica::restored(Restored { hard_state, ..Restored::default() });
    for (incarnation, stops_for) in [(9, None), (1, Some(Incarnation(7)))] {
        let answer = IntroductionResponse { incarnation: Incarnation(incarnation), outcome };
        newcomer.receive(2, 1, Message::IntroductionResponse(answer));
        assert_eq!(newcomer.superseded_by, stops_for, "told start 1 of start {incarnation}");
    }
    assert!(newcomer.raft.status().unheard.contains(&NodeId(2)));
}

#[test]
fn a_replica_whose_log_ends_before_what_it_acknowledged_says_so() {
    let heartbeat =
        Message::Heartbeat(Heartbeat { commit: Index(9), remembered: Vec::new(), stamp: leader_stamp() });
    let mut empty = Replica::new();
    empty.receive(2, 1, heartbeat.clone());
    assert_eq!(empty.lost, Some((Index(9), Index(0))));
    let hard_state = HardState { is_newcomer: true, ..HardState::default() };
    let mut newcomer = Replica::restored(Restored { hard_state, ..Restored::default() });
    newcomer.receive(2, 1, heartbeat.clone());
    assert_eq!((newcomer.lost.take(), newcomer.raft.dropped_messages()), (None, 1));
    let mut shortened = Replica::new();
    shortened.receive(2, 1, append(position(0, 0), vec![entry(1, 1), entry(2, 1)], 1));
    shortened.receive(2, 1, heartbeat);
    assert_eq!(shortened.lost, Some((Index(9), Index(2))));
    assert_eq!(shortened.raft.commit(), Index(1));
}

/// The start that had it may be gone with its disk, and this one's log may be that of an older leader.
#[test]
fn what_a_heartbeat_says_is_committed_counts_as_far_as_the_logs_were_seen_to_match() {
    for is_newcomer in [false, true] {
        let hard_state = HardState { is_newcomer, ..HardState::default() };
        let mut replica = Replica::restored(Restored { hard_state, ..Restored::default() });
        replica.receive(3, 1, append(position(0, 0), vec![entry(1, 1), entry(2, 1), entry(3, 1)], 0));
        let heartbeat =
            Message::Heartbeat(Heartbeat { commit: Index(3), remembered: Vec::new(), stamp: leader_stamp() });
        replica.receive(2, 2, heartbeat.clone());
        assert_eq!(replica.raft.commit(), Index(0), "before an append of this leader");
        replica.receive(2, 2, append(position(2, 1), Vec::new(), 0));
        replica.receive(2, 2, heartbeat.clone());
        assert_eq!(replica.raft.commit(), Index(2));
        replica.receive(2, 2, append(position(2, 1), vec![entry(3, 2)], 0));
        replica.receive(2, 2, heartbeat.clone());
        assert_eq!(replica.raft.commit(), Index(3));
    }
}

#[test]
fn a_leader_sees_again_whether_the_logs_match_when_its_follower_was_started_again() {
    let mut replica = Replica::leader();
    let probes = |message: &Message| matches!(message, Message::AppendRequest(request) if request.previous == position(1, 1));
    for (incarnation, count) in [(1, 0), (2, 1), (2, 0)] {
        replica.sent.clear();
        let stamp = FollowerStamp { incarnation: Incarnation(incarnation), ..replica.follower_stamp() };
        let alive = HeartbeatResponse { remembered: Vec::new(), stamp };
        replica.receive(2, 1, Message::HeartbeatResponse(alive));
        assert_eq!(replica.count_sent(probes), count, "start {incarnation}");
    }
}

#[test]
fn only_a_members_question_in_the_leaders_own_term_confirms_it() {
    let question =
        |is_newcomer| Message::ReadIndexRequest(ReadIndexRequest { batch: 7, lease: false, is_newcomer });
    let answer = |index| Message::ReadIndexResponse(ReadIndexResponse { batch: 7, index });
    let mut replica = Replica::leader();
    let cases = [
        (1, question(false), vec![answer(Some(Index(1)))], "a member's"),
        (0, question(false), vec![], "of an older term"),
        (2, question(false), vec![answer(None)], "of a later term"),
    ];
    for (term, question, answers, which) in cases {
        replica.sent.clear();
        replica.receive(3, term, question);
        let sent: Vec<Message> = replica.sent.drain(..).map(|envelope| envelope.message).collect();
        assert_eq!(sent, answers, "after a question {which}");
    }
    assert_eq!(replica.raft.status().role, RoleName::Follower, "deposed by the later term");
    let mut replica = Replica::leader();
    replica.sent.clear();
    replica.receive(3, 1, question(true));
    let heartbeats = replica.sent.iter().filter(|sent| matches!(sent.message, Message::Heartbeat(_))).count();
    assert_eq!((heartbeats, replica.sent.len()), (2, 2), "a newcomer's question opens a round");
}

/// Whoever reads much is told to wait, at the leader and at a follower alike.
#[test]
fn so_many_reads_wait_and_no_more() {
    const WAITING_MAX: u64 = 1 << 16;
    let mut follower = Replica::new();
    let stamp = leader_stamp();
    follower.receive(2, 1, Message::Heartbeat(Heartbeat { commit: Index(0), remembered: Vec::new(), stamp }));
    for mut replica in [Replica::leader(), follower] {
        let mut refused = |ids: std::ops::Range<u64>| {
            let ids: Vec<ReadId> = ids.map(ReadId).collect();
            let mut effects = Vec::new();
            replica.raft.step(replica.now, Input::Read { ids, level: ReadLevel::Strong }, &mut effects);
            let refused = effects.into_iter().filter_map(|effect| {
                let Effect::RejectReads { ids, reason: RejectReason::TooBusy } = effect else { return None };
                Some(ids.len())
            });
            refused.sum::<usize>()
        };
        assert_eq!(refused(0..1), 0, "what is asked for first does not wait");
        assert_eq!(refused(1..2), 0);
        assert_eq!(refused(2..WAITING_MAX + 2), 1 << 16, "more than there is room for, together");
        assert_eq!(refused(2..WAITING_MAX + 1), 0, "as many as there is room for");
        assert_eq!(refused(0..1), 1, "one more");
    }
}

/// A voter that promised until then may vote for another at that very moment.
#[test]
fn a_lease_is_over_at_its_end() {
    let replica = Replica::leader();
    let end = replica.raft.lease_until(replica.now).unwrap();
    let just_before = Timestamp(end.0 - 1);
    assert_eq!(replica.raft.lease_until(just_before), Some(end));
    assert_eq!(replica.raft.lease_until(end), None);
}

#[test]
fn a_question_renews_no_lease() {
    let mut replica = Replica::leader();
    let before = (replica.raft.lease_until(replica.now), replica.raft.status().followers[1].heard_at);
    assert!(before.0.is_some());
    replica.now = replica.now.after_micros(200_000);
    for (batch, lease) in [(7, false), (8, true)] {
        let question = ReadIndexRequest { batch, lease, is_newcomer: false };
        replica.receive(3, 1, Message::ReadIndexRequest(question));
    }
    let after = (replica.raft.lease_until(replica.now), replica.raft.status().followers[1].heard_at);
    assert_eq!(after, before);
    replica.now = replica.now.after_micros(100_000);
    assert_eq!(replica.raft.lease_until(replica.now), None);
}

#[test]
fn an_alive_follower_is_sent_again_what_seems_lost_but_not_more_than_once_an_interval() {
    let mut replica = Replica::leader();
    let origin = Origin { node: NodeId(1), incarnation: Incarnation(1), sequence: 1, settled_below: 0 };
    replica.step(Input::Propose(vec![Proposal { origin, command: Bytes::from_static(b"lost") }]));
    replica.sent.clear();
    let interval_us = config().heartbeat_interval_us;
    let mut appends = 0;
    for _ in 0..100 {
        replica.now = replica.now.after_micros(interval_us / 10);
        let stamp = replica.follower_stamp();
        replica.receive(
            2,
            1,
            Message::HeartbeatResponse(HeartbeatResponse { remembered: Vec::new(), stamp }),
        );
        appends += replica.count_sent(|message| matches!(message, Message::AppendRequest(_)));
    }
    // Ten intervals: three of patience, then one append in each.
    assert!((5..=8).contains(&appends), "{appends} appends");
}

fn any_position() -> impl Strategy<Value = LogPosition> {
    prop_oneof![9 => (0..8_u64, 0..6_u64), 1 => (any::<u64>(), any::<u64>())]
        .prop_map(|(index, term)| position(index, term))
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 0..8_u64, 1 => any::<u64>()]
}

fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
    let honest = (1..6_u64, 1..5_u64, 0..5_u64)
        .prop_map(|(first, term, count)| (first..first + count).map(|index| entry(index, term)).collect());
    let wild = prop::collection::vec(
        (any_position(), any_number())
            .prop_map(|(at, time)| Entry { time: ClusterTime(time), ..entry(at.index.0, at.term.0) }),
        0..4,
    );
    prop_oneof![3 => honest, 1 => wild]
}

fn any_leader_stamp() -> impl Strategy<Value = LeaderStamp> {
    let reign = prop_oneof![9 => Just((Timestamp(1), position(9, 5))), 1 => any_reign()];
    (any_number(), any_number(), any_number(), prop::option::of(any_number()), reign).prop_map(
        |(sent_at, read_round, cluster_time, answering, (leads_since, elected_with))| LeaderStamp {
            sent_at: Timestamp(sent_at),
            read_round,
            cluster_time: ClusterTime(cluster_time),
            answering: answering.map(Timestamp),
            leads_since,
            elected_with,
            acknowledged: Index(0),
        },
    )
}

fn any_reign() -> impl Strategy<Value = (Timestamp, LogPosition)> {
    (any_number().prop_map(Timestamp), any_position())
}

fn any_follower_stamp() -> impl Strategy<Value = FollowerStamp> {
    let committed = prop_oneof![9 => Just(LogPosition::default()), 1 => any_position()];
    let numbers = (any_number(), any_number(), any_number(), any_number(), any_number());
    (numbers, any::<bool>(), committed, prop::bool::weighted(0.1)).prop_map(
        |(
            (echo, read_round, responded_at, incarnation, promised_us),
            is_newcomer,
            committed,
            is_contradicted,
        )| {
            FollowerStamp {
                committed,
                is_contradicted,
                echo: Timestamp(echo),
                read_round,
                responded_at: Timestamp(responded_at),
                incarnation: Incarnation(incarnation),
                is_newcomer,
                promised_us,
            }
        },
    )
}

fn any_message() -> impl Strategy<Value = Message> {
    let outcome = prop_oneof![
        any_number().prop_map(|matched| AppendOutcome::Accepted { matched: Index(matched) }),
        (any_position(), any_position())
            .prop_map(|(previous, candidate)| AppendOutcome::Rejected { previous, candidate }),
    ];
    prop_oneof![
        any_position().prop_map(|last| Message::PreVoteRequest(PreVoteRequest { last })),
        any::<bool>().prop_map(|granted| Message::PreVoteResponse(PreVoteResponse { granted })),
        any_position()
            .prop_map(|last| Message::VoteRequest(VoteRequest { last, incarnation: Incarnation(1) })),
        any::<bool>().prop_map(|granted| {
            Message::VoteResponse(VoteResponse { granted, incarnation: Incarnation(1) })
        }),
        (any_position(), any_entries(), any_number(), any_leader_stamp()).prop_map(
            |(previous, entries, commit, stamp)| {
                Message::AppendRequest(AppendRequest { previous, entries, commit: Index(commit), stamp })
            }
        ),
        (outcome, any_follower_stamp())
            .prop_map(|(outcome, stamp)| Message::AppendResponse(AppendResponse { outcome, stamp })),
        (any_number(), any_leader_stamp()).prop_map(|(commit, stamp)| Message::Heartbeat(Heartbeat {
            commit: Index(commit),
            remembered: Vec::new(),
            stamp
        })),
        any_follower_stamp().prop_map(|stamp| Message::HeartbeatResponse(HeartbeatResponse {
            remembered: Vec::new(),
            stamp
        })),
        Just(Message::ForwardProposals(ForwardProposals { proposals: Vec::new() })),
        (any::<u64>(), any::<bool>(), any::<bool>()).prop_map(|(batch, lease, is_newcomer)| {
            Message::ReadIndexRequest(ReadIndexRequest { batch, lease, is_newcomer })
        }),
        any_number().prop_map(|incarnation| {
            Message::IntroductionRequest(IntroductionRequest { incarnation: Incarnation(incarnation) })
        }),
        (any_number(), any_number(), any::<bool>()).prop_map(|(incarnation, commit, is_log_empty)| {
            let outcome = Introduction::Welcome { commit: Index(commit), is_log_empty };
            let incarnation = Incarnation(incarnation);
            Message::IntroductionResponse(IntroductionResponse { incarnation, outcome })
        }),
        (any_number(), any_number()).prop_map(|(incarnation, by)| {
            let outcome = Introduction::Superseded { by: Incarnation(by) };
            let incarnation = Incarnation(incarnation);
            Message::IntroductionResponse(IntroductionResponse { incarnation, outcome })
        }),
        (any::<u64>(), prop::option::of(any_number())).prop_map(|(batch, index)| {
            Message::ReadIndexResponse(ReadIndexResponse { batch, index: index.map(Index) })
        }),
    ]
}

#[derive(Clone, Debug)]
enum Event {
    Message { from: u64, term: u64, message: Message },
    Time(u64),
    Timeout,
    Read(ReadLevel),
    Propose,
    PeerLost(u64),
    Compact,
    Snapshot { from: u64, term: u64, position: LogPosition },
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (1..5_u64, any_number(), any_message())
            .prop_map(|(from, term, message)| Event::Message { from, term, message }),
        1 => (0..400_000_u64).prop_map(Event::Time),
        2 => Just(Event::Timeout),
        1 => prop_oneof![Just(ReadLevel::Strong), Just(ReadLevel::Lease)].prop_map(Event::Read),
        1 => Just(Event::Propose),
        1 => (1..5_u64).prop_map(Event::PeerLost),
        1 => Just(Event::Compact),
        1 => (1..5_u64, any_number(), any_position())
            .prop_map(|(from, term, position)| Event::Snapshot { from, term, position }),
    ]
}

fn happen(replica: &mut Replica, event: Event) {
    match event {
        Event::Message { from, term, message } => replica.receive(from, term, message),
        Event::Time(micros) => {
            replica.now = replica.now.after_micros(micros);
            replica.step(Input::Wake);
        }
        Event::Timeout => {
            replica.now = replica.raft.deadline().unwrap_or(replica.now).max(replica.now);
            replica.step(Input::Wake);
        }
        Event::Read(level) => replica.step(Input::Read { ids: vec![ReadId(1)], level }),
        Event::Propose => {
            let origin =
                Origin { node: NodeId(1), incarnation: Incarnation(1), sequence: 1, settled_below: 0 };
            replica.step(Input::Propose(vec![Proposal { origin, command: Bytes::from_static(b"x") }]));
        }
        Event::PeerLost(peer) => replica.step(Input::PeerLost(NodeId(peer))),
        Event::Compact => {
            let status = replica.raft.status();
            if status.applied == status.last.index {
                let membership = status.membership;
                let meta = SnapshotMeta { position: status.last, time: ClusterTime(0), membership };
                replica.step(Input::Compacted(meta));
            }
        }
        Event::Snapshot { from, term, position } => {
            let membership = replica.raft.status().membership;
            let meta = SnapshotMeta { position, time: ClusterTime(0), membership };
            replica.step(Input::SnapshotReceived { from: NodeId(from), term: Term(term), meta });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_message_makes_a_replica_panic(events in prop::collection::vec(any_event(), 1..60)) {
        let mut replica = Replica::new();
        for event in events {
            happen(&mut replica, event);
        }
    }
}
