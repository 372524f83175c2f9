//! What a client is told when something was not done: a code of gRPC and a text.
//!
//! The codes and most texts are those of etcd's API, whose messages of keys and values the protocol carries:
//! clients that speak both know them. Where etcd has no such error, the text is the error's own.

use std::borrow::Cow;

use ruvector_api::ruvector::v1 as pb;
use ruvector_node::NodeError;
use ruvector_node::state_machine::kv::KvError;
use tonic::{Code, Status};

use crate::service::error::{InvalidRequest, ServiceError};
use crate::wire::busy::TOO_MANY_REQUESTS;

type Told = (Code, Cow<'static, str>);

/// The answer that a request was not done.
pub(super) fn failure(number: u64, error: &ServiceError) -> pb::NativeResponse {
    let (code, message) = told(error);
    let failure = pb::NativeFailure { code: code.into(), message: message.into_owned() };
    pb::NativeResponse {
        number,
        revision: 0,
        response: Some(pb::native_response::Response::Failure(failure)),
    }
}

/// What a client is told that gets no stream.
pub(crate) fn status(error: &ServiceError) -> Status {
    let (code, message) = told(error);
    Status::new(code, message)
}

fn told(error: &ServiceError) -> Told {
    match error {
        ServiceError::Node(error) => node_told(error),
        ServiceError::Store(error) => store_told(error),
        ServiceError::Invalid(error) => invalid_told(*error),
        ServiceError::TooManyRequests(_) => (Code::ResourceExhausted, TOO_MANY_REQUESTS.into()),
        ServiceError::NoLeader => (Code::Unavailable, NO_LEADER.into()),
        ServiceError::Stopping => (Code::Unavailable, STOPPED.into()),
        ServiceError::Mismatched { .. } | ServiceError::ReadEnded(_) => own(Code::Internal, error),
    }
}

const NO_LEADER: &str = "etcdserver: no leader";
const STOPPED: &str = "etcdserver: server stopped";

fn node_told(error: &NodeError) -> Told {
    match error {
        NodeError::OutcomeUnknown => (Code::Unavailable, "etcdserver: request timed out".into()),
        NodeError::NoLeader => (Code::Unavailable, NO_LEADER.into()),
        NodeError::TooBusy => (Code::ResourceExhausted, TOO_MANY_REQUESTS.into()),
        NodeError::TooLarge { .. } => (Code::InvalidArgument, "etcdserver: request is too large".into()),
        NodeError::Stopped(_) => (Code::Unavailable, STOPPED.into()),
        NodeError::TooStale { .. } | NodeError::Refused(_) => own(Code::FailedPrecondition, error),
    }
}

fn store_told(error: &KvError) -> Told {
    let (code, text) = match error {
        KvError::Compacted { .. } => {
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted")
        }
        KvError::FutureRevision { .. } => {
            (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision")
        }
        KvError::LeaseNotFound(_) => (Code::NotFound, "etcdserver: requested lease not found"),
        KvError::LeaseExists(_) => (Code::FailedPrecondition, "etcdserver: lease already exists"),
        KvError::LeaseTtlOutOfBounds(_) => (Code::OutOfRange, "etcdserver: too large lease TTL"),
        KvError::KeyNotFound => (Code::InvalidArgument, "etcdserver: key not found"),
        KvError::DuplicateKey => (Code::InvalidArgument, "etcdserver: duplicate key given in txn request"),
        KvError::SessionNotFound(_) => return own(Code::Aborted, error),
        KvError::SessionCommandSettled { .. } | KvError::SessionAnswerTooLarge { .. } => {
            return own(Code::FailedPrecondition, error);
        }
        KvError::SessionFull(_) | KvError::TooManySessions { .. } => {
            return own(Code::ResourceExhausted, error);
        }
        KvError::UnknownCommand(_) => return own(Code::Internal, error),
    };
    (code, text.into())
}

fn invalid_told(error: InvalidRequest) -> Told {
    let text = match error {
        InvalidRequest::EmptyKey => "etcdserver: key is not provided",
        InvalidRequest::EmptyOperation => "etcdserver: key not found",
        InvalidRequest::ValueProvided => "etcdserver: value is provided",
        InvalidRequest::LeaseProvided => "etcdserver: lease is provided",
        InvalidRequest::TooManyOperations => "etcdserver: too many operations in txn request",
        InvalidRequest::DuplicateKey => "etcdserver: duplicate key given in txn request",
        InvalidRequest::SortOption => "etcdserver: invalid sort option",
        InvalidRequest::LeaseTtlTooLarge => {
            return (Code::OutOfRange, "etcdserver: too large lease TTL".into());
        }
        InvalidRequest::NoSession => return own(Code::FailedPrecondition, &error),
        InvalidRequest::Unknown => return own(Code::InvalidArgument, &error),
        InvalidRequest::AnswerTooLarge => return own(Code::ResourceExhausted, &error),
    };
    (Code::InvalidArgument, text.into())
}

/// An error in its own words.
fn own(code: Code, error: &dyn std::error::Error) -> Told {
    (code, error.to_string().into())
}
