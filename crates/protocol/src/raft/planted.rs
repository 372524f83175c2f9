//! Mistakes that can be planted, so that tests can be seen to find them.

/// A mistake that a replica can be told to make. Each is a small switch at the very rule that it breaks, compiled
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

    // Storage.
    /// When a write of the log has ended, everything that waits is taken for durable.
    WaitingTakenForDurable,
    /// The log is written and not synced.
    LogNotSynced,
    /// A sync of the log that failed is taken for one that did not.
    FailedSyncIgnored,
    /// New and changed names of files are not made durable.
    NamesNotSynced,

    // Snapshots.
    /// A snapshot gets its name without having been synced.
    SnapshotNotSynced,
    /// A snapshot of a peer is installed without what it remembers of the origins of proposals.
    SnapshotWithoutOrigins,

    // Applying, and time.
    /// Replicas whose states differ go on as if they did not.
    DifferenceIgnored,
    /// A proposal that is in the log twice is applied twice.
    RetryAppliedTwice,
    /// Whatever is committed is applied in one turn, however long that takes, and nobody is heard meanwhile.
    BacklogAppliedAtOnce,
    /// A replica never hears of the end of a snapshot that failed, and waits for it for ever.
    FailedSnapshotForgotten,
    /// A command that may be in a log is said to be refused when its time is over.
    UnknownToldAsRefused,
    /// A new leader takes its own clock for cluster time, and not what was reached before it.
    ClusterTimeFromOwnClock,

    // Sessions.
    /// A command that comes again in its session is applied again (against section 6.3).
    SessionRepeatApplied,
    /// A command that comes again in its session is answered with the revision of now, and not with its own (against
    /// section 6.3).
    SessionAnswerOfNow,

    /// When a snapshot is restored, its sessions count as used just then.
    SessionUseForgotten,

    // Leases, compaction and watches.
    /// A lease is renewed, and ends when it would have ended before.
    RenewalForgotten,
    /// A lease ends, and its keys stay.
    KeysOutliveLease,
    /// A restored state has no history, and does not say so.
    HistoryLostByRestore,
    /// Somebody who follows is not told that changes were compacted before they came to it.
    CompactionUnnoticed,
    /// A restored state does not know how old its history is.
    AgeLostByRestore,
}

impl PlantedBug {
    /// All of them.
    pub const ALL: [Self; 47] = [
        Self::EmptyDiskTrusted,
        Self::JoinsBelowTarget,
        Self::VoteBeforeDurable,
        Self::VoteNotWritten,
        Self::VoteForShorterLog,
        Self::VoteWhileLeaderHeard,
        Self::CommitOlderTermByCounting,
        Self::AcknowledgeBeforeDurable,
        Self::LeaderCountsBeforeDurable,
        Self::AppendWithoutPrevious,
        Self::KeepConflictingEntries,
        Self::CommitBeyondMatch,
        Self::ContradictionIgnored,
        Self::RollbackForgotten,
        Self::MemoryNotWritten,
        Self::UncommittedUnbounded,
        Self::ReadIndexBeforeNoop,
        Self::MinorityConfirmsRead,
        Self::NewcomerConfirmsRead,
        Self::ReadJoinsAskedBatch,
        Self::OldAnswerConfirmsRead,
        Self::LeaseFromAnswer,
        Self::LeaseWithoutEnd,
        Self::LeaseWithoutDrift,
        Self::LeaseFromOwnTimeout,
        Self::PromiseForgotten,
        Self::FreshOnArrival,
        Self::WaitingTakenForDurable,
        Self::LogNotSynced,
        Self::FailedSyncIgnored,
        Self::NamesNotSynced,
        Self::SnapshotNotSynced,
        Self::SnapshotWithoutOrigins,
        Self::DifferenceIgnored,
        Self::RetryAppliedTwice,
        Self::BacklogAppliedAtOnce,
        Self::FailedSnapshotForgotten,
        Self::UnknownToldAsRefused,
        Self::ClusterTimeFromOwnClock,
        Self::SessionRepeatApplied,
        Self::SessionAnswerOfNow,
        Self::SessionUseForgotten,
        Self::RenewalForgotten,
        Self::KeysOutliveLease,
        Self::HistoryLostByRestore,
        Self::CompactionUnnoticed,
        Self::AgeLostByRestore,
    ];

    /// What it is called on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EmptyDiskTrusted => "empty-disk-trusted",
            Self::JoinsBelowTarget => "joins-below-target",
            Self::VoteBeforeDurable => "vote-before-durable",
            Self::VoteNotWritten => "vote-not-written",
            Self::VoteForShorterLog => "vote-for-shorter-log",
            Self::VoteWhileLeaderHeard => "vote-while-leader-heard",
            Self::CommitOlderTermByCounting => "commit-older-term",
            Self::AcknowledgeBeforeDurable => "acknowledge-before-durable",
            Self::LeaderCountsBeforeDurable => "leader-counts-before-durable",
            Self::AppendWithoutPrevious => "append-without-previous",
            Self::KeepConflictingEntries => "keep-conflicting-entries",
            Self::CommitBeyondMatch => "commit-beyond-match",
            Self::ContradictionIgnored => "contradiction-ignored",
            Self::RollbackForgotten => "rollback-forgotten",
            Self::MemoryNotWritten => "memory-not-written",
            Self::UncommittedUnbounded => "uncommitted-unbounded",
            Self::ReadIndexBeforeNoop => "read-before-noop",
            Self::MinorityConfirmsRead => "minority-confirms-read",
            Self::NewcomerConfirmsRead => "newcomer-confirms-read",
            Self::ReadJoinsAskedBatch => "read-joins-asked-batch",
            Self::OldAnswerConfirmsRead => "old-answer-confirms-read",
            Self::LeaseFromAnswer => "lease-from-answer",
            Self::LeaseWithoutEnd => "lease-without-end",
            Self::LeaseWithoutDrift => "lease-without-drift",
            Self::LeaseFromOwnTimeout => "lease-from-own-timeout",
            Self::PromiseForgotten => "promise-forgotten",
            Self::FreshOnArrival => "fresh-on-arrival",
            Self::WaitingTakenForDurable => "waiting-taken-for-durable",
            Self::LogNotSynced => "log-not-synced",
            Self::FailedSyncIgnored => "failed-sync-ignored",
            Self::NamesNotSynced => "names-not-synced",
            Self::SnapshotNotSynced => "snapshot-not-synced",
            Self::SnapshotWithoutOrigins => "snapshot-without-origins",
            Self::DifferenceIgnored => "difference-ignored",
            Self::RetryAppliedTwice => "retry-applied-twice",
            Self::BacklogAppliedAtOnce => "backlog-applied-at-once",
            Self::FailedSnapshotForgotten => "failed-snapshot-forgotten",
            Self::UnknownToldAsRefused => "unknown-told-as-refused",
            Self::ClusterTimeFromOwnClock => "cluster-time-from-own-clock",
            Self::SessionRepeatApplied => "session-repeat-applied",
            Self::SessionAnswerOfNow => "session-answer-of-now",
            Self::SessionUseForgotten => "session-use-forgotten",
            Self::RenewalForgotten => "renewal-forgotten",
            Self::KeysOutliveLease => "keys-outlive-lease",
            Self::HistoryLostByRestore => "history-lost-by-restore",
            Self::CompactionUnnoticed => "compaction-unnoticed",
            Self::AgeLostByRestore => "age-lost-by-restore",
        }
    }
}
