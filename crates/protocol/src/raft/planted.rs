//! Mistakes that can be planted, so that tests can be seen to find them.

/// A mistake that the core can be told to make. Each is a small switch at the very rule that it breaks, compiled
/// in only with the feature `planted-bugs`; without it [`Config`](super::Config) has no place for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlantedBug {
    // Election.
    /// A replica with an empty disk votes and counts at once, whatever it may have promised before (against
    /// figure 3.1, "persistent state").
    EmptyDiskTrusted,
    /// A replica with an empty disk is a member again before it has what the others had called committed.
    JoinsBelowTarget,
    /// A vote is sent before it is durable (against Raft thesis figure 3.1).
    VoteBeforeDurable,
    /// The hard state is written without the vote, which is forgotten at a restart (against figure 3.1).
    VoteNotWritten,
    /// A vote is given to a candidate whose log lacks entries (against section 3.6.1).
    VoteForShorterLog,
    /// A vote is given although a leader was heard a moment ago, whose lease holds (against section 6.4.1).
    VoteWhileLeaderHeard,

    // Replication.
    /// An entry of an older term is committed by counting, so that no no-op is needed (against section 3.6.2).
    CommitOlderTermByCounting,
    /// A follower acknowledges entries before they are durable (against section 3.8).
    AcknowledgeBeforeDurable,
    /// A leader counts itself for entries that its own disk does not have yet (against section 10.2.1).
    LeaderCountsBeforeDurable,
    /// A follower appends without having the entry before (against section 3.5).
    AppendWithoutPrevious,
    /// A follower keeps what contradicts its leader's log, and appends only behind its own end (against
    /// figure 3.1, rule 3 of `AppendEntries`).
    KeepConflictingEntries,
    /// A heartbeat tells the leader's commit index also to those whose logs are not known to match so far
    /// (against section 3.5).
    CommitBeyondMatch,

    /// A replica goes on, and a leader says nothing, when a follower has committed what its leader does not have.
    ContradictionIgnored,
    /// A leader tells nobody how far replicas had come.
    RollbackForgotten,
    /// Nobody writes down how far replicas had come.
    MemoryNotWritten,
    /// A leader takes in more than it may hold uncommitted.
    UncommittedUnbounded,

    // Reads.
    /// A read index is given out before the term's no-op committed (against section 6.4).
    ReadIndexBeforeNoop,
    /// A follower's question for a read index confirms its leader among any number of voters.
    MinorityConfirmsRead,
    /// A newcomer's question for a read index confirms its leader.
    NewcomerConfirmsRead,
    /// A read that comes to a follower while it asks its leader is served by the answer to that question.
    ReadJoinsAskedBatch,
    /// Any answer to a heartbeat, however old, confirms the newest round of reads (against section 6.4).
    OldAnswerConfirmsRead,
    /// The leader's lease is counted from when it was answered, and not from when it had asked (against
    /// section 6.4.1).
    LeaseFromAnswer,
    /// The leader's lease has no end (against section 6.4.1).
    LeaseWithoutEnd,
    /// The leader's lease is not shortened by the bound of clock drift (against section 6.4.1).
    LeaseWithoutDrift,
    /// The leader's lease is as long as its own election timeout, and not as its voters promised.
    LeaseFromOwnTimeout,
    /// A voter that starts again does not keep what it had promised to a leader before.
    PromiseForgotten,
    /// A follower takes what its leader says for as new as when it arrives.
    FreshOnArrival,

    // Time.
    /// A new leader takes its own clock for cluster time, and not what was reached before it.
    ClusterTimeFromOwnClock,
}
