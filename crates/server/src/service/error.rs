//! Why the service did not do what it was asked. Each protocol tells its clients in its own words.

use ruvector_node::NodeError;
use ruvector_node::daemon::Exhausted;
use ruvector_node::state_machine::kv::{KvError, Outcome};

/// Why the service did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The node could not do it.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The store refused it.
    #[error(transparent)]
    Store(#[from] KvError),
    /// It is not asked as it must be; nothing was done.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// The node holds too much for its clients already; nothing was done.
    #[error(transparent)]
    TooManyRequests(#[from] Exhausted),
    /// There is no leader, and whoever asks would rather know than wait.
    #[error("there is no leader")]
    NoLeader,
    /// The answer does not belong to the command that was given: a defect of the state machine, which costs the one
    /// request.
    #[error("the store did not answer the {command}")]
    Mismatched {
        /// What was to be done.
        command: &'static str,
    },
    /// A read beside the thread that serves clients ended without an answer.
    #[error("the read did not end: {0}")]
    ReadEnded(String),
    /// The task that renews leases has ended: the server stops.
    #[error("the server stops")]
    Stopping,
}

impl ServiceError {
    /// That a command was answered with what another one does.
    pub(super) fn mismatched(command: &'static str, outcome: &Outcome) -> Self {
        tracing::error!(command, ?outcome, "the store answered another command than it was given");
        Self::Mismatched { command }
    }
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRequest {
    /// There is no key in it.
    #[error("a key is needed")]
    EmptyKey,
    /// One of a transaction's operations says nothing.
    #[error("an operation of a transaction is empty")]
    EmptyOperation,
    /// A put that is to keep the value has one.
    #[error("a put that keeps the value must not give one")]
    ValueProvided,
    /// A put that is to keep the lease names one.
    #[error("a put that keeps the lease must not name one")]
    LeaseProvided,
    /// A transaction has more operations than one may have, or is deeper.
    #[error("a transaction has too many operations")]
    TooManyOperations,
    /// A transaction may write a key twice.
    #[error("a transaction writes a key twice")]
    DuplicateKey,
    /// There is no such way to sort.
    #[error("a range can't be sorted so")]
    SortOption,
    /// A lease is to live longer than one may.
    #[error("a lease is to live too long")]
    LeaseTtlTooLarge,
    /// A write names no session where it must.
    #[error("writes need a session: open one first")]
    NoSession,
    /// This version does not know what is asked.
    #[error("a request of a kind that this node does not know")]
    Unknown,
    /// It asks for more than can be told in one answer.
    #[error("the answer is too large for one message")]
    AnswerTooLarge,
}
