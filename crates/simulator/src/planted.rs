//! The mistakes that can be planted, all together: each is listed where the rule is that it breaks.

use ruvector_node::replica::PlantedBug as ReplicaBug;
use ruvector_protocol::PlantedBug as CoreBug;
use ruvector_state_machine::kv::PlantedBug as MachineBug;

use crate::planted_disk::DiskBug;

/// A mistake that all nodes of a simulation make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlantedBug {
    /// Of the protocol core.
    Core(CoreBug),
    /// Of the replica around it.
    Replica(ReplicaBug),
    /// Of the state machine.
    Machine(MachineBug),
    /// Of whoever writes to the disk.
    Disk(DiskBug),
}

/// Makes the list of all bugs and their names out of one table. The names are a `match`, so that the compiler misses a
/// bug that some crate has and the table has not.
macro_rules! name_all {
    ($($part:ident($list:ident) { $($bug:ident = $name:literal,)+ })+) => {
        impl PlantedBug {
            /// All of them.
            pub const ALL: &[Self] = &[$($(Self::$part($list::$bug),)+)+];

            /// What it is called on a command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$part($list::$bug) => $name,)+)+
                }
            }
        }
    };
}

name_all! {
    Core(CoreBug) {
        EmptyDiskTrusted = "empty-disk-trusted",
        JoinsBelowTarget = "joins-below-target",
        VoteBeforeDurable = "vote-before-durable",
        VoteNotWritten = "vote-not-written",
        VoteForShorterLog = "vote-for-shorter-log",
        VoteWhileLeaderHeard = "vote-while-leader-heard",
        CommitOlderTermByCounting = "commit-older-term",
        AcknowledgeBeforeDurable = "acknowledge-before-durable",
        LeaderCountsBeforeDurable = "leader-counts-before-durable",
        AppendWithoutPrevious = "append-without-previous",
        KeepConflictingEntries = "keep-conflicting-entries",
        CommitBeyondMatch = "commit-beyond-match",
        ContradictionIgnored = "contradiction-ignored",
        RollbackForgotten = "rollback-forgotten",
        MemoryNotWritten = "memory-not-written",
        UncommittedUnbounded = "uncommitted-unbounded",
        ReadIndexBeforeNoop = "read-before-noop",
        MinorityConfirmsRead = "minority-confirms-read",
        NewcomerConfirmsRead = "newcomer-confirms-read",
        ReadJoinsAskedBatch = "read-joins-asked-batch",
        OldAnswerConfirmsRead = "old-answer-confirms-read",
        LeaseFromAnswer = "lease-from-answer",
        LeaseWithoutEnd = "lease-without-end",
        LeaseWithoutDrift = "lease-without-drift",
        LeaseFromOwnTimeout = "lease-from-own-timeout",
        PromiseForgotten = "promise-forgotten",
        FreshOnArrival = "fresh-on-arrival",
        ClusterTimeFromOwnClock = "cluster-time-from-own-clock",
    }
    Replica(ReplicaBug) {
        WaitingTakenForDurable = "waiting-taken-for-durable",
        SnapshotWithoutOrigins = "snapshot-without-origins",
        DifferenceIgnored = "difference-ignored",
        RetryAppliedTwice = "retry-applied-twice",
        BacklogAppliedAtOnce = "backlog-applied-at-once",
        FailedSnapshotForgotten = "failed-snapshot-forgotten",
        UnknownToldAsRefused = "unknown-told-as-refused",
        OthersTakenForDurable = "others-taken-for-durable",
        GroupsNotInTurn = "groups-not-in-turn",
    }
    Machine(MachineBug) {
        SessionRepeatApplied = "session-repeat-applied",
        SessionAnswerOfNow = "session-answer-of-now",
        SessionUseForgotten = "session-use-forgotten",
        RenewalForgotten = "renewal-forgotten",
        KeysOutliveLease = "keys-outlive-lease",
        HistoryLostByRestore = "history-lost-by-restore",
        CompactionUnnoticed = "compaction-unnoticed",
        AgeLostByRestore = "age-lost-by-restore",
    }
    Disk(DiskBug) {
        LogNotSynced = "log-not-synced",
        FailedSyncIgnored = "failed-sync-ignored",
        NamesNotSynced = "names-not-synced",
        SnapshotNotSynced = "snapshot-not-synced",
    }
}

impl PlantedBug {
    /// The core's mistake, if it is one.
    #[must_use]
    pub const fn of_core(self) -> Option<CoreBug> {
        if let Self::Core(bug) = self { Some(bug) } else { None }
    }

    /// The replica's mistake, if it is one.
    #[must_use]
    pub const fn of_replica(self) -> Option<ReplicaBug> {
        if let Self::Replica(bug) = self { Some(bug) } else { None }
    }

    /// The state machine's mistake, if it is one.
    #[must_use]
    pub const fn of_machine(self) -> Option<MachineBug> {
        if let Self::Machine(bug) = self { Some(bug) } else { None }
    }

    /// The disk's mistake, if it is one.
    #[must_use]
    pub const fn of_disk(self) -> Option<DiskBug> {
        if let Self::Disk(bug) = self { Some(bug) } else { None }
    }
}
