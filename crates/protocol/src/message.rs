//! What the cores of a group's replicas say to each other: one type per message, in an envelope that says which
//! group, from whom, to whom and in which term.

use serde::{Deserialize, Serialize};

use crate::types::{
    ClusterTime, Entry, GroupId, Incarnation, Index, LogPosition, NodeId, Proposal, Term, Timestamp,
};

/// A message with its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The group it belongs to.
    pub group: GroupId,
    /// The node that sent it.
    pub from: NodeId,
    /// The node it is for.
    pub to: NodeId,
    /// The sender's term when it was sent; for a [`PreVoteRequest`], the term the sender would campaign in.
    pub term: Term,
    /// What it says.
    pub message: Message,
}

/// Everything that a core says to another. What replicas have to say beside that is no business of the core's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Would you vote for me?
    PreVoteRequest(PreVoteRequest),
    /// The answer to it.
    PreVoteResponse(PreVoteResponse),
    /// Vote for me.
    VoteRequest(VoteRequest),
    /// The answer to it.
    VoteResponse(VoteResponse),
    /// Entries to append.
    AppendRequest(AppendRequest),
    /// The answer to it.
    AppendResponse(AppendResponse),
    /// The leader lives.
    Heartbeat(Heartbeat),
    /// The answer to it.
    HeartbeatResponse(HeartbeatResponse),
    /// Commands that a follower was given, for the leader to propose.
    ForwardProposals(ForwardProposals),
    /// A follower asks up to where it must have applied before it may serve strong reads.
    ReadIndexRequest(ReadIndexRequest),
    /// The answer to it.
    ReadIndexResponse(ReadIndexResponse),
    /// A newcomer asks a member where it stands.
    IntroductionRequest(IntroductionRequest),
    /// The answer to it.
    IntroductionResponse(IntroductionResponse),
}

/// What a message's encoding has beside entries, proposals and what is remembered, at most, in bytes.
const FIXED_BYTES_MAX: usize = 256;
/// What the encoding of an entry or proposal has beside its command, at most, in bytes.
const ENTRY_FIXED_BYTES_MAX: usize = 96;
/// The same of what is remembered of a replica.
const REMEMBERED_BYTES_MAX: usize = 20;

impl Message {
    /// How many bytes the message's encoding has at most, with its envelope. Whoever carries messages takes none that is
    /// larger than some limit, so none may be made.
    #[must_use]
    pub fn encoded_bytes_max(&self) -> usize {
        let of_command = |command: usize| ENTRY_FIXED_BYTES_MAX + command;
        let variable = match self {
            Self::AppendRequest(request) => {
                request.entries.iter().map(|entry| of_command(entry.payload.command_bytes())).sum()
            }
            Self::ForwardProposals(forwarded) => {
                forwarded.proposals.iter().map(|proposal| of_command(proposal.command.len())).sum()
            }
            Self::Heartbeat(heartbeat) => heartbeat.remembered.len() * REMEMBERED_BYTES_MAX,
            Self::HeartbeatResponse(response) => response.remembered.len() * REMEMBERED_BYTES_MAX,
            Self::PreVoteRequest(_)
            | Self::PreVoteResponse(_)
            | Self::VoteRequest(_)
            | Self::VoteResponse(_)
            | Self::AppendResponse(_)
            | Self::ReadIndexRequest(_)
            | Self::ReadIndexResponse(_)
            | Self::IntroductionRequest(_)
            | Self::IntroductionResponse(_) => 0,
        };
        FIXED_BYTES_MAX + variable
    }
}

/// Asks whether a campaign would be won, without disturbing anyone's term (Raft thesis section 9.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreVoteRequest {
    /// Where the sender's log ends.
    pub last: LogPosition,
}

/// Says whether the sender would vote so. The envelope's term is the term asked about if granted, the
/// sender's own if refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreVoteResponse {
    /// The sender would vote for the asker.
    pub granted: bool,
}

/// Asks for a vote in the envelope's term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteRequest {
    /// Where the sender's log ends.
    pub last: LogPosition,
    /// Which start of the sender asks: a vote given to one counts for no other, whose log may be shorter.
    pub incarnation: Incarnation,
}

/// Gives or refuses a vote in the envelope's term. Sent only when the vote is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteResponse {
    /// The sender voted for the asker.
    pub granted: bool,
    /// The incarnation from the request.
    pub incarnation: Incarnation,
}

/// What a leader says with every append and heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderStamp {
    /// The leader's own clock when it sent this. Comes back in [`FollowerStamp::echo`]: leases are counted
    /// from it.
    pub sent_at: Timestamp,
    /// The newest round of read confirmations that this message opens or continues; rises by one a round.
    pub read_round: u64,
    /// The leader's cluster time when it sent this.
    pub cluster_time: ClusterTime,
    /// The follower's [`FollowerStamp::responded_at`] that this leader last received from it: a bound on how
    /// old what the follower knows can be.
    pub answering: Option<Timestamp>,
    /// The leader's own clock when it was elected; the same in all that it says in its term.
    pub leads_since: Timestamp,
    /// Where the leader's log ended when it was elected; the same in all that it says in its term. Whatever was committed in
    /// earlier terms lies within (Raft thesis section 3.6.3).
    pub elected_with: LogPosition,
    /// How far the leader remembers the receiver to have come: what that acknowledged and what is committed of it is in its log for
    /// good.
    pub acknowledged: Index,
}

/// What a follower answers every append and heartbeat with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowerStamp {
    /// The [`LeaderStamp::sent_at`] of the message this answers.
    pub echo: Timestamp,
    /// The [`LeaderStamp::read_round`] of the message this answers.
    pub read_round: u64,
    /// The follower's own clock when it answered.
    pub responded_at: Timestamp,
    /// Which start of the follower answers.
    pub incarnation: Incarnation,
    /// The follower is a newcomer: what it says counts for no quorum.
    pub is_newcomer: bool,
    /// For how long after it received the message that this answers the follower elects nobody else, in
    /// microseconds of its own clock: its own election timeout, or less if a start after a crash would not remember so
    /// much. The leader's lease is made of such promises (Raft thesis section 6.4.1).
    pub promised_us: u64,
    /// The last entry that the follower knows to be committed. Every leader of its term or a later one has it.
    pub committed: LogPosition,
    /// The leader contradicts what the follower has committed, and the follower stops.
    pub is_contradicted: bool,
}

/// Entries to append behind `previous` (Raft thesis section 3.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendRequest {
    /// What the receiver's log must hold right before `entries`.
    pub previous: LogPosition,
    /// The entries, consecutive, possibly none (a probe).
    pub entries: Vec<Entry>,
    /// The leader's commit index.
    pub commit: Index,
    /// Time, lease and read confirmation.
    pub stamp: LeaderStamp,
}

/// Says whether the entries were appended. Sent only when they are durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppendResponse {
    /// Whether and up to where the logs match.
    pub outcome: AppendOutcome,
    /// Time, lease and read confirmation.
    pub stamp: FollowerStamp,
}

/// How an append ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppendOutcome {
    /// The receiver's log equals the leader's up to and with `matched`, durably.
    Accepted {
        /// The last index known to match.
        matched: Index,
    },
    /// The receiver does not have `previous`.
    Rejected {
        /// The `previous` of the request that was refused, so that an old refusal can be told.
        previous: LogPosition,
        /// The highest position of the receiver's log at which the logs may match: skips a whole
        /// conflicting term at a time (Raft thesis section 3.5, last paragraph).
        candidate: LogPosition,
    },
}

/// Sent to every follower at the heartbeat interval and when reads wait for confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The leader's commit index, but not beyond what it knows the receiver to have.
    pub commit: Index,
    /// Now and then: how far the leader remembers all replicas to have come, as in [`LeaderStamp::acknowledged`].
    pub remembered: Vec<(NodeId, Index)>,
    /// Time, lease and read confirmation.
    pub stamp: LeaderStamp,
}

/// The answer to a [`Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatResponse {
    /// What the follower remembers of other replicas beyond what the leader said to remember.
    pub remembered: Vec<(NodeId, Index)>,
    /// Time, lease and read confirmation.
    pub stamp: FollowerStamp,
}

/// Commands from a follower's clients. What becomes of them is seen in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardProposals {
    /// The commands, in the order in which the follower was given them.
    pub proposals: Vec<Proposal>,
}

/// Asks for a read index (Raft thesis section 6.4, last paragraphs).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadIndexRequest {
    /// The asker's number for the batch of reads that waits; comes back in the answer.
    pub batch: u64,
    /// Whether the leader's lease is enough, or leadership must be confirmed.
    pub lease: bool,
    /// The asker is a newcomer: that it asks confirms nothing.
    pub is_newcomer: bool,
}

/// The answer to a [`ReadIndexRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadIndexResponse {
    /// The number from the request.
    pub batch: u64,
    /// Once this index is applied the reads may be served; `None` if the leader can't say, try again.
    pub index: Option<Index>,
}

/// Tells a member that the sender remembers nothing of its earlier starts. Nothing of those counts any more once
/// this was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntroductionRequest {
    /// Which start of the sender asks.
    pub incarnation: Incarnation,
}

/// The answer to an [`IntroductionRequest`]; the envelope's term is the sender's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntroductionResponse {
    /// The incarnation from the request: proof that this was said after that start.
    pub incarnation: Incarnation,
    /// What the sender says to it.
    pub outcome: Introduction,
}

/// What a member says to a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Introduction {
    /// Nothing of the newcomer's earlier starts counts at the sender from now on.
    Welcome {
        /// What the sender knows to be committed.
        commit: Index,
        /// The sender's log holds nothing, and never did.
        is_log_empty: bool,
    },
    /// The sender has counted answers of a start with a higher number, and goes on to. The newcomer can't make good for
    /// that one under its own number.
    Superseded {
        /// That number.
        by: Incarnation,
    },
}
