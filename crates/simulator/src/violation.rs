//! What a checker found wrong.

use std::fmt;

/// A promise that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The promise.
    pub rule: Rule,
    /// The facts that contradict it.
    pub details: String,
}

/// The promises that every simulation holds the system to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// At most one leader a term.
    ElectionSafety,
    /// At most one vote a node and term, restarts included.
    OneVotePerTerm,
    /// Entries with equal index and term are equal, and so is everything before them.
    LogMatching,
    /// An entry that was committed stays, at every node that commits its index.
    CommittedEntriesStay,
    /// A leader's log holds everything that was committed before.
    LeaderCompleteness,
    /// A node's term, commit index and applied index never fall while it runs.
    Monotonicity,
    /// Nobody is elected in a later term while a leader's lease lasts.
    LeaseExclusion,
    /// Equal applied index, equal state.
    StateAgreement,
    /// All nodes' changes are the same sequence, each change made once.
    EventAgreement,
    /// What was answered fits the changes that were made.
    AnswerFitsHistory,
    /// The history of every key is linearizable.
    Linearizability,
    /// What was answered before an operation began is seen by it, and a linearizable read sees what any replica had
    /// applied.
    RealTimeOrder,
    /// A watch is told every change once, in order, all of a revision together, wherever it goes on.
    WatchGuarantee,
    /// A stale read is no staler than was asked for or said.
    BoundedStaleness,
    /// A command that was refused is never applied.
    RefusedIsNotApplied,
    /// A node stops only if its disk failed or its data was damaged.
    StopsOnlyForCause,
    /// No queue grows beyond what it is set to.
    BoundedQueues,
    /// Without faults there is a leader, everything asked is answered and all replicas become equal.
    Liveness,
    /// What is lost with a disk that was rolled back is not lost in silence.
    LossIsNoticed,
    /// The program's own assertions hold.
    NoPanic,
}

impl Violation {
    /// A broken promise.
    #[must_use]
    pub fn new(rule: Rule, details: impl Into<String>) -> Self {
        Self { rule, details: details.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.details)
    }
}

/// Errs with a violation unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $rule:ident, $($details:tt)+) => {
        if !$condition {
            return Err($crate::violation::Violation::new($crate::violation::Rule::$rule, format!($($details)+)));
        }
    };
}
pub(crate) use ensure;
