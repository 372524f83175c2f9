//! Mistakes that can be planted, so that tests can be seen to find them.

/// A mistake that a replica can be told to make beside those of its core. Each is a small switch at the very rule that
/// it breaks; without the feature `planted-bugs` [`ReplicaConfig`](super::ReplicaConfig) has no place for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlantedBug {
    /// When a write of the log has ended, everything that waits is taken for durable.
    WaitingTakenForDurable,
    /// A snapshot of a peer is installed without what it remembers of the origins of proposals.
    SnapshotWithoutOrigins,
    /// Replicas whose states differ go on as if they did not.
    DifferenceIgnored,
    /// A proposal that is in the log twice is applied twice.
    RetryAppliedTwice,
    /// Whatever is committed is applied in one turn, however long that takes, and nobody is heard meanwhile.
    BacklogAppliedAtOnce,
    /// A replica never hears of the end of a snapshot that failed, and waits for it for ever.
    FailedSnapshotForgotten,
    /// When a write of one group is durable, what waits of the others is taken for durable, too.
    OthersTakenForDurable,
    /// Of several groups that have something to apply it is always the first one's turn, and it applies all that it has.
    GroupsNotInTurn,
    /// A command that may be in a log is said to be refused when its time is over.
    UnknownToldAsRefused,
}
