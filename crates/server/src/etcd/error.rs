//! etcd's errors. Clients tell them apart by their texts, so every text and code is etcd's
//! (etcd's `api/v3rpc/rpctypes/error.go`).

use ruvector_node::NodeError;
use ruvector_node::state_machine::kv::KvError;
use tonic::{Code, Status};

use crate::service::error::{InvalidRequest, ServiceError};
use crate::wire::busy::TOO_MANY_REQUESTS;

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
            Self::TooManyRequests => TOO_MANY_REQUESTS,
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

/// What a client is told when the service did not do what it asked.
pub(crate) fn status(error: ServiceError) -> Status {
    match error {
        ServiceError::Node(error) => node_status(error),
        ServiceError::Store(error) => store_status(error),
        ServiceError::Invalid(error) => invalid_status(error),
        ServiceError::TooManyRequests(_) => EtcdError::TooManyRequests.into(),
        ServiceError::NoLeader => EtcdError::NoLeader.into(),
        ServiceError::Stopping => EtcdError::Stopped.into(),
        ServiceError::Mismatched { .. } | ServiceError::ReadEnded(_) => Status::internal(error.to_string()),
    }
}

/// What a client is told when the node could not do what it asked.
fn node_status(error: NodeError) -> Status {
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
fn store_status(error: KvError) -> Status {
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

fn invalid_status(error: InvalidRequest) -> Status {
    match error {
        InvalidRequest::EmptyKey => EtcdError::EmptyKey.into(),
        InvalidRequest::EmptyOperation => EtcdError::KeyNotFound.into(),
        InvalidRequest::ValueProvided => EtcdError::ValueProvided.into(),
        InvalidRequest::LeaseProvided => EtcdError::LeaseProvided.into(),
        InvalidRequest::TooManyOperations => EtcdError::TooManyOperations.into(),
        InvalidRequest::DuplicateKey => EtcdError::DuplicateKey.into(),
        InvalidRequest::SortOption => EtcdError::InvalidSortOption.into(),
        InvalidRequest::LeaseTtlTooLarge => EtcdError::LeaseTtlTooLarge.into(),
        InvalidRequest::AnswerTooLarge => {
            Status::resource_exhausted("the answer has more bytes than gRPC can express: ask for less")
        }
        // No request of etcd's leads to these.
        InvalidRequest::NoSession => Status::failed_precondition(error.to_string()),
        InvalidRequest::Unknown => Status::invalid_argument(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use ruvector_node::daemon::Exhausted;
    use ruvector_node::state_machine::kv::{LeaseId, Revision, SessionId};

    use super::*;
    use crate::native;

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
            let status = status(error.into());
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
            let status = status(error.into());
            assert_eq!((status.code(), status.message()), (code, text));
        }
    }
    #[test]
    fn invalid_requests_have_etcd_s_codes_and_texts() {
        for (error, text) in [
            (InvalidRequest::EmptyKey, "etcdserver: key is not provided"),
            (InvalidRequest::EmptyOperation, "etcdserver: key not found"),
            (InvalidRequest::ValueProvided, "etcdserver: value is provided"),
            (InvalidRequest::LeaseProvided, "etcdserver: lease is provided"),
            (InvalidRequest::TooManyOperations, "etcdserver: too many operations in txn request"),
            (InvalidRequest::DuplicateKey, "etcdserver: duplicate key given in txn request"),
            (InvalidRequest::SortOption, "etcdserver: invalid sort option"),
        ] {
            let status = status(error.into());
            assert_eq!((status.code(), status.message()), (Code::InvalidArgument, text));
        }
        let status = status(InvalidRequest::LeaseTtlTooLarge.into());
        assert_eq!((status.code(), status.message()), (Code::OutOfRange, "etcdserver: too large lease TTL"));
    }

    #[test]
    fn the_service_s_own_errors_have_codes_and_texts_of_their_own() {
        for (error, code, text) in [
            (
                ServiceError::TooManyRequests(Exhausted),
                Code::ResourceExhausted,
                "etcdserver: too many requests",
            ),
            (ServiceError::NoLeader, Code::Unavailable, "etcdserver: no leader"),
            (ServiceError::Stopping, Code::Unavailable, "etcdserver: server stopped"),
            (ServiceError::Mismatched { command: "put" }, Code::Internal, "the store did not answer the put"),
            (ServiceError::ReadEnded("why".to_owned()), Code::Internal, "the read did not end: why"),
        ] {
            let status = status(error);
            assert_eq!((status.code(), status.message()), (code, text));
        }
    }

    /// One of each kind that both protocols tell.
    fn errors() -> Vec<ServiceError> {
        let (requested, compacted, current) = (Revision(1), Revision(2), Revision(3));
        let (session, sequence) = (SessionId(1), 2);
        let node = [
            NodeError::OutcomeUnknown,
            NodeError::NoLeader,
            NodeError::TooBusy,
            NodeError::TooLarge { bytes: 2, bytes_max: 1 },
            NodeError::TooStale { staleness_ms: Some(1) },
            NodeError::Refused("why".to_owned()),
            NodeError::Stopped("why".to_owned()),
        ];
        let store = [
            KvError::Compacted { requested, compacted },
            KvError::FutureRevision { requested, current },
            KvError::LeaseNotFound(LeaseId(1)),
            KvError::LeaseExists(LeaseId(1)),
            KvError::LeaseTtlOutOfBounds(1),
            KvError::KeyNotFound,
            KvError::DuplicateKey,
            KvError::SessionNotFound(session),
            KvError::SessionCommandSettled { session, sequence },
            KvError::SessionFull(session),
            KvError::UnknownCommand("why".to_owned()),
            KvError::TooManySessions { max: 3 },
            KvError::SessionAnswerTooLarge { session, sequence },
        ];
        let invalid = [
            InvalidRequest::EmptyKey,
            InvalidRequest::EmptyOperation,
            InvalidRequest::ValueProvided,
            InvalidRequest::LeaseProvided,
            InvalidRequest::TooManyOperations,
            InvalidRequest::DuplicateKey,
            InvalidRequest::SortOption,
            InvalidRequest::LeaseTtlTooLarge,
            InvalidRequest::NoSession,
            InvalidRequest::Unknown,
        ];
        let own = [
            ServiceError::TooManyRequests(Exhausted),
            ServiceError::NoLeader,
            ServiceError::Mismatched { command: "put" },
            ServiceError::ReadEnded("why".to_owned()),
            ServiceError::Stopping,
        ];
        let wrapped = node.map(ServiceError::from).into_iter().chain(store.map(ServiceError::from));
        wrapped.chain(invalid.map(ServiceError::from)).chain(own).collect()
    }

    /// Clients of both protocols tell errors apart by code and text.
    #[test]
    fn every_error_is_told_alike_on_a_native_stream() {
        for error in errors() {
            let (native, etcd) = (native::error::status(&error), status(error.clone()));
            assert_eq!((native.code(), native.message()), (etcd.code(), etcd.message()), "{error:?}");
        }
    }
}
