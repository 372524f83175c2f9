//! etcd's errors. Clients tell them apart by their texts, so every text and code is etcd's
//! (etcd's `api/v3rpc/rpctypes/error.go`).

use ruvector_node::NodeError;
use ruvector_node::state_machine::kv::{KvError, Outcome};
use tonic::{Code, Status};

/// The errors of etcd that this server answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EtcdError {
    EmptyKey,
    KeyNotFound,
    ValueProvided,
    LeaseProvided,
    TooManyOperations,
    DuplicateKey,
    InvalidSortOption,
    Compacted,
    FutureRevision,
    LeaseNotFound,
    LeaseExists,
    LeaseTtlTooLarge,
    AuthNotEnabled,
    RequestTooLarge,
    TooManyRequests,
    NoLeader,
    Timeout,
    Stopped,
}

impl EtcdError {
    /// What clients match on.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::EmptyKey => "etcdserver: key is not provided",
            Self::KeyNotFound => "etcdserver: key not found",
            Self::ValueProvided => "etcdserver: value is provided",
            Self::LeaseProvided => "etcdserver: lease is provided",
            Self::TooManyOperations => "etcdserver: too many operations in txn request",
            Self::DuplicateKey => "etcdserver: duplicate key given in txn request",
            Self::InvalidSortOption => "etcdserver: invalid sort option",
            Self::Compacted => "etcdserver: mvcc: required revision has been compacted",
            Self::FutureRevision => "etcdserver: mvcc: required revision is a future revision",
            Self::LeaseNotFound => "etcdserver: requested lease not found",
            Self::LeaseExists => "etcdserver: lease already exists",
            Self::LeaseTtlTooLarge => "etcdserver: too large lease TTL",
            Self::AuthNotEnabled => "etcdserver: authentication is not enabled",
            Self::RequestTooLarge => "etcdserver: request is too large",
            Self::TooManyRequests => "etcdserver: too many requests",
            Self::NoLeader => "etcdserver: no leader",
            Self::Timeout => "etcdserver: request timed out",
            Self::Stopped => "etcdserver: server stopped",
        }
    }

    fn code(self) -> Code {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOperations
            | Self::DuplicateKey
            | Self::InvalidSortOption
            | Self::RequestTooLarge => Code::InvalidArgument,
            Self::Compacted | Self::FutureRevision | Self::LeaseTtlTooLarge => Code::OutOfRange,
            Self::LeaseNotFound => Code::NotFound,
            Self::LeaseExists | Self::AuthNotEnabled => Code::FailedPrecondition,
            Self::TooManyRequests => Code::ResourceExhausted,
            Self::NoLeader | Self::Timeout | Self::Stopped => Code::Unavailable,
        }
    }
}

impl From<EtcdError> for Status {
    fn from(error: EtcdError) -> Self {
        Self::new(error.code(), error.text())
    }
}

/// What a client is told when the node could not do what it asked.
pub(crate) fn node_status(error: NodeError) -> Status {
    match error {
        NodeError::OutcomeUnknown => EtcdError::Timeout.into(),
        NodeError::NoLeader => EtcdError::NoLeader.into(),
        NodeError::TooBusy => EtcdError::TooManyRequests.into(),
        NodeError::TooLarge { .. } => EtcdError::RequestTooLarge.into(),
        NodeError::Stopped(_) => EtcdError::Stopped.into(),
        // No request of etcd's leads to these.
        NodeError::TooStale { .. } | NodeError::Refused(_) => Status::failed_precondition(error.to_string()),
    }
}

/// What a client is told when its next message on a stream can't be taken. One that is too large has another code in Go's
/// gRPC, which etcd's clients know, than in this library.
pub(crate) fn request_status(status: Status) -> Status {
    match status.code() == Code::OutOfRange {
        true => Status::resource_exhausted(status.message()),
        false => status,
    }
}

/// What a client is told when the store refused.
pub(crate) fn store_status(error: KvError) -> Status {
    match error {
        KvError::Compacted { .. } => EtcdError::Compacted.into(),
        KvError::FutureRevision { .. } => EtcdError::FutureRevision.into(),
        KvError::LeaseNotFound(_) => EtcdError::LeaseNotFound.into(),
        KvError::LeaseExists(_) => EtcdError::LeaseExists.into(),
        KvError::LeaseTtlOutOfBounds(_) => EtcdError::LeaseTtlTooLarge.into(),
        KvError::KeyNotFound => EtcdError::KeyNotFound.into(),
        KvError::DuplicateKey => EtcdError::DuplicateKey.into(),
        // Not etcd's: of the native protocol.
        KvError::SessionNotFound(_) => Status::aborted(error.to_string()),
        KvError::SessionCommandSettled { .. } | KvError::SessionAnswerTooLarge { .. } => {
            Status::failed_precondition(error.to_string())
        }
        KvError::SessionFull(_) | KvError::TooManySessions { .. } => {
            Status::resource_exhausted(error.to_string())
        }
        KvError::UnknownCommand(_) => Status::internal(error.to_string()),
    }
}

/// An answer that does not belong to the command that was given: a defect of the state machine, which costs
/// the one request.
pub(crate) fn mismatched(command: &str, outcome: &Outcome) -> Status {
    tracing::error!(command, ?outcome, "the store answered another command than it was given");
    Status::internal(format!("the store did not answer the {command}"))
}

#[cfg(test)]
mod tests {
    use ruvector_node::state_machine::kv::{LeaseId, Revision};

    use super::*;

    #[test]
    fn the_store_s_errors_have_etcd_s_codes_and_texts() {
        let (requested, compacted, current) = (Revision(1), Revision(2), Revision(3));
        for (error, code, text) in [
            (
                KvError::Compacted { requested, compacted },
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
            ),
            (
                KvError::FutureRevision { requested, current },
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
            ),
            (KvError::LeaseNotFound(LeaseId(1)), Code::NotFound, "etcdserver: requested lease not found"),
            (KvError::LeaseExists(LeaseId(1)), Code::FailedPrecondition, "etcdserver: lease already exists"),
            (KvError::LeaseTtlOutOfBounds(1), Code::OutOfRange, "etcdserver: too large lease TTL"),
            (KvError::KeyNotFound, Code::InvalidArgument, "etcdserver: key not found"),
            (KvError::DuplicateKey, Code::InvalidArgument, "etcdserver: duplicate key given in txn request"),
        ] {
            let status = store_status(error);
            assert_eq!((status.code(), status.message()), (code, text));
        }
    }

    #[test]
    fn the_node_s_errors_have_etcd_s_codes_and_texts() {
        for (error, code, text) in [
            (NodeError::OutcomeUnknown, Code::Unavailable, "etcdserver: request timed out"),
            (NodeError::NoLeader, Code::Unavailable, "etcdserver: no leader"),
            (NodeError::TooBusy, Code::ResourceExhausted, "etcdserver: too many requests"),
            (
                NodeError::TooLarge { bytes: 2, bytes_max: 1 },
                Code::InvalidArgument,
                "etcdserver: request is too large",
            ),
            (NodeError::Stopped("disk".to_owned()), Code::Unavailable, "etcdserver: server stopped"),
        ] {
            let status = node_status(error);
            assert_eq!((status.code(), status.message()), (code, text));
        }
    }
}
