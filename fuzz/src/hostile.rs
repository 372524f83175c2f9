//! Messages that are well-typed and otherwise anything: near what is right, so that they get far, or far from it.

use arbitrary::Unstructured;
use bytes::Bytes;
use ruvector_protocol::message::{
    AppendOutcome, AppendRequest, AppendResponse, FollowerStamp, ForwardProposals, Heartbeat,
    HeartbeatResponse, Introduction, IntroductionRequest, IntroductionResponse, LeaderStamp, PreVoteRequest,
    PreVoteResponse, ReadIndexRequest, ReadIndexResponse, VoteRequest, VoteResponse,
};
use ruvector_protocol::{
    ClusterTime, Entry, Envelope, GroupId, Incarnation, Index, LogPosition, Membership, Message, NodeId,
    Origin, Payload, Proposal, RaftStatus, SnapshotMeta, Term, Timestamp,
};

use crate::byte;

/// What a message is near to.
#[derive(Debug)]
pub struct Around<'a> {
    /// The replica that it is for.
    pub node: NodeId,
    /// What that shows of itself.
    pub status: &'a RaftStatus,
    /// Its clock.
    pub now: Timestamp,
}

impl Around<'_> {
    /// A message to this replica.
    pub fn envelope(&self, input: &mut Unstructured<'_>) -> Envelope {
        let group = if byte(input) == u8::MAX { GroupId(number(input, 1)) } else { GroupId::METADATA };
        let to = if byte(input) == u8::MAX { NodeId(number(input, 2)) } else { self.node };
        Envelope { group, from: node(input), to, term: self.term(input), message: self.message(input) }
    }

    /// A snapshot of a peer's making.
    pub fn meta(&self, input: &mut Unstructured<'_>) -> SnapshotMeta {
        let members = byte(input);
        let voters = match members {
            0..200 => self.status.membership.voters.clone(),
            _ => (1..=3).filter(|voter| members & (1 << voter) != 0).map(NodeId).collect(),
        };
        SnapshotMeta {
            position: self.position(input),
            time: self.time(input),
            membership: Membership { voters },
        }
    }

    /// A term.
    pub fn term(&self, input: &mut Unstructured<'_>) -> Term {
        Term(number(input, self.status.term.0))
    }

    fn position(&self, input: &mut Unstructured<'_>) -> LogPosition {
        let known = [self.status.last, self.status.base, LogPosition::default()];
        match byte(input) {
            exact @ 0..100 => known[usize::from(exact) % known.len()],
            _ => LogPosition { term: self.term(input), index: self.index(input) },
        }
    }

    fn index(&self, input: &mut Unstructured<'_>) -> Index {
        let known = [self.status.last.index, self.status.commit, self.status.applied, self.status.base.index];
        let near = known[usize::from(byte(input)) % known.len()];
        Index(number(input, near.0))
    }

    fn time(&self, input: &mut Unstructured<'_>) -> ClusterTime {
        ClusterTime(number(input, self.now.0 / 1000))
    }

    fn timestamp(&self, input: &mut Unstructured<'_>) -> Timestamp {
        Timestamp(number(input, self.now.0))
    }

    fn leader_stamp(&self, input: &mut Unstructured<'_>) -> LeaderStamp {
        // Mostly one reign a term, of a leader that has everything: others contradict whatever is committed.
        let is_likely = byte(input) < 240;
        let all = LogPosition { term: self.status.term, index: Index(u64::MAX / 4) };
        LeaderStamp {
            sent_at: self.timestamp(input),
            read_round: number(input, 1),
            cluster_time: self.time(input),
            answering: flag(input).then(|| self.timestamp(input)),
            leads_since: if is_likely { Timestamp(1) } else { self.timestamp(input) },
            elected_with: if is_likely { all } else { self.position(input) },
            acknowledged: if is_likely { Index(0) } else { self.index(input) },
        }
    }

    fn remembered(&self, input: &mut Unstructured<'_>) -> Vec<(NodeId, Index)> {
        let count = usize::from(byte(input) / 64);
        (0..count).map(|_| (NodeId(number(input, 1)), self.index(input))).collect()
    }

    fn follower_stamp(&self, input: &mut Unstructured<'_>) -> FollowerStamp {
        FollowerStamp {
            echo: self.timestamp(input),
            read_round: number(input, 1),
            responded_at: self.timestamp(input),
            incarnation: Incarnation(number(input, 1)),
            is_newcomer: flag(input),
            promised_us: number(input, 300_000),
            is_contradicted: byte(input) >= 240,
            committed: if byte(input) < 240 { LogPosition::default() } else { self.position(input) },
        }
    }

    fn introduction(&self, input: &mut Unstructured<'_>) -> Introduction {
        if flag(input) {
            Introduction::Welcome { commit: self.index(input), is_log_empty: flag(input) }
        } else {
            Introduction::Superseded { by: Incarnation(number(input, 1)) }
        }
    }

    fn append(&self, input: &mut Unstructured<'_>) -> AppendRequest {
        let previous = self.position(input);
        let mut last = previous;
        let entries = (0..byte(input) % 6).map(|_| {
            let hostile = byte(input);
            let index =
                Index(if hostile < 240 { last.index.0.wrapping_add(1) } else { number(input, last.index.0) });
            let term = if hostile < 128 { self.status.term.max(last.term) } else { self.term(input) };
            last = LogPosition { term, index };
            Entry { term, index, time: self.time(input), payload: payload(input) }
        });
        let entries = entries.collect();
        AppendRequest { previous, entries, commit: self.index(input), stamp: self.leader_stamp(input) }
    }

    fn append_outcome(&self, input: &mut Unstructured<'_>) -> AppendOutcome {
        if flag(input) {
            AppendOutcome::Accepted { matched: self.index(input) }
        } else {
            AppendOutcome::Rejected { previous: self.position(input), candidate: self.position(input) }
        }
    }

    fn message(&self, input: &mut Unstructured<'_>) -> Message {
        match byte(input) % 16 {
            0 => Message::PreVoteRequest(PreVoteRequest { last: self.position(input) }),
            1 => Message::PreVoteResponse(PreVoteResponse { granted: flag(input) }),
            2 => {
                Message::VoteRequest(VoteRequest { last: self.position(input), incarnation: Incarnation(1) })
            }
            3 => Message::VoteResponse(VoteResponse { granted: flag(input), incarnation: Incarnation(1) }),
            // More often than others: it reaches furthest.
            4 | 11 | 12 | 15 => Message::AppendRequest(self.append(input)),
            5 => Message::AppendResponse(AppendResponse {
                outcome: self.append_outcome(input),
                stamp: self.follower_stamp(input),
            }),
            6 => Message::Heartbeat(Heartbeat {
                commit: self.index(input),
                remembered: self.remembered(input),
                stamp: self.leader_stamp(input),
            }),
            7 => Message::HeartbeatResponse(HeartbeatResponse {
                remembered: self.remembered(input),
                stamp: self.follower_stamp(input),
            }),
            8 => Message::ForwardProposals(ForwardProposals { proposals: proposals(input) }),
            9 => Message::ReadIndexRequest(ReadIndexRequest {
                batch: number(input, 9),
                lease: flag(input),
                is_newcomer: flag(input),
            }),
            10 => Message::ReadIndexResponse(ReadIndexResponse {
                batch: number(input, 9),
                index: flag(input).then(|| self.index(input)),
            }),
            13 => Message::IntroductionRequest(IntroductionRequest {
                incarnation: Incarnation(number(input, 1)),
            }),
            _ => Message::IntroductionResponse(IntroductionResponse {
                incarnation: Incarnation(number(input, 1)),
                outcome: self.introduction(input),
            }),
        }
    }
}

/// Some proposals.
pub fn proposals(input: &mut Unstructured<'_>) -> Vec<Proposal> {
    (0..byte(input) % 4).map(|_| proposal(input)).collect()
}

/// A member, or sometimes somebody else.
pub fn node(input: &mut Unstructured<'_>) -> NodeId {
    match byte(input) {
        strange @ 250.. => NodeId(u64::from(strange)),
        member => NodeId(1 + u64::from(member % 3)),
    }
}

/// A choice of two.
pub fn flag(input: &mut Unstructured<'_>) -> bool {
    byte(input) & 1 == 1
}

/// A number, mostly about as large as `near`.
fn number(input: &mut Unstructured<'_>, near: u64) -> u64 {
    match byte(input) {
        0..64 => near,
        above @ 64..128 => near.saturating_add(u64::from(above - 63)),
        below @ 128..192 => near.saturating_sub(u64::from(below - 127)),
        small @ 192..220 => u64::from(small - 192),
        further @ 220..232 => near.saturating_add(1 << (further - 200)),
        edge @ 232..240 => (u64::MAX / 2 - 3).saturating_add(u64::from(edge - 232)),
        edge => u64::MAX - u64::from(edge % 4),
    }
}

fn proposal(input: &mut Unstructured<'_>) -> Proposal {
    let origin = Origin {
        node: node(input),
        incarnation: Incarnation(1),
        sequence: number(input, 1),
        settled_below: number(input, 0),
    };
    Proposal { origin, command: Bytes::from(vec![7; usize::from(byte(input))]) }
}

fn payload(input: &mut Unstructured<'_>) -> Payload {
    match byte(input) % 4 {
        0 => Payload::Noop,
        1 => Payload::Tick,
        _ => Payload::Command(proposal(input)),
    }
}
