//! One follower, stepped by hand: what it may say while its disk is not done, and what it must keep.

#![allow(clippy::unwrap_used)]

use ruvector_protocol::message::{AppendOutcome, AppendRequest, AppendResponse, LeaderStamp};
use ruvector_protocol::{
    ClusterTime, Config, Effect, Entry, Envelope, GroupId, HardState, Incarnation, Index, Input, LogPosition,
    Membership, Message, NodeId, Payload, Raft, Restored, SnapshotMeta, Term, Timestamp, WriteId,
};

const NOW: Timestamp = Timestamp(1_000_000);

/// Node 1 of three, in term 1, with these entries of that term on its disk.
fn follower(entries: u64) -> Raft {
    let config = Config::new(GroupId::METADATA, NodeId(1), Incarnation(1), 1);
    let hard_state =
        HardState { term: Term(1), promised_us: config.election_timeout_us, ..HardState::default() };
    let base = SnapshotMeta { membership: membership(), ..SnapshotMeta::default() };
    let entries = (1..=entries).map(|index| entry(1, index)).collect();
    Raft::new(config, Restored { hard_state, base, entries, ..Restored::default() }, NOW)
}

fn membership() -> Membership {
    Membership { voters: [NodeId(1), NodeId(2), NodeId(3)].into() }
}

fn entry(term: u64, index: u64) -> Entry {
    Entry { term: Term(term), index: Index(index), time: ClusterTime(0), payload: Payload::Noop }
}

fn step(raft: &mut Raft, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    raft.step(NOW, input, &mut effects);
    effects
}

/// An append of node 2, which leads in `term`.
fn append(term: u64, previous: (u64, u64), entries: Vec<Entry>, commit: u64) -> Input {
    let previous = LogPosition { term: Term(previous.0), index: Index(previous.1) };
    let stamp = LeaderStamp {
        sent_at: Timestamp(5),
        read_round: 0,
        cluster_time: ClusterTime(1),
        answering: None,
        leads_since: Timestamp(1),
        elected_with: previous,
        acknowledged: Index(0),
    };
    let request = AppendRequest { previous, entries, commit: Index(commit), stamp };
    Input::Receive(Envelope {
        group: GroupId::METADATA,
        from: NodeId(2),
        to: NodeId(1),
        term: Term(term),
        message: Message::AppendRequest(request),
    })
}

/// Through where appends are acknowledged.
fn acknowledged(effects: &[Effect]) -> Vec<u64> {
    let matched = |effect: &Effect| {
        let Effect::Send(envelope) = effect else { return None };
        let Message::AppendResponse(AppendResponse { outcome, .. }) = &envelope.message else { return None };
        let AppendOutcome::Accepted { matched } = outcome else { return None };
        Some(matched.0)
    };
    effects.iter().filter_map(matched).collect()
}

fn write_of(effects: &[Effect]) -> Option<WriteId> {
    effects.iter().find_map(|effect| {
        let Effect::Persist(write) = effect else { return None };
        Some(write.id)
    })
}

/// All entries are durable already, the new leader's term is not. Were it forgotten in a crash, the leader of the term before
/// could replace what was acknowledged here to the new one, which goes on to count it.
#[test]
fn nothing_is_acknowledged_in_a_term_that_is_not_durable() {
    let mut raft = follower(2);
    let effects = step(&mut raft, append(2, (1, 1), vec![entry(1, 2)], 0));
    assert_eq!(acknowledged(&effects), [], "before the term is durable");
    let write = write_of(&effects).unwrap();
    assert_eq!(acknowledged(&step(&mut raft, Input::Persisted(write))), [2]);
}

/// A snapshot that comes late stands for what the log holds, and the log goes on behind it: what was acknowledged there may
/// be committed by that.
#[test]
fn a_snapshot_of_what_the_log_holds_takes_nothing_away() {
    let mut raft = follower(5);
    let effects = step(&mut raft, append(1, (1, 5), Vec::new(), 1));
    assert_eq!(acknowledged(&effects), [5]);
    let position = LogPosition { term: Term(1), index: Index(3) };
    let meta = SnapshotMeta { position, time: ClusterTime(0), membership: membership() };
    let effects = step(&mut raft, Input::SnapshotReceived { from: NodeId(2), term: Term(1), meta });
    let installs = effects.iter().any(|effect| matches!(effect, Effect::InstallSnapshot(_)));
    assert!(!installs, "the log matches: {effects:?}");
    let status = raft.status();
    assert_eq!((status.commit, status.last.index), (Index(3), Index(5)));
    assert_eq!(acknowledged(&effects), [3]);
}
