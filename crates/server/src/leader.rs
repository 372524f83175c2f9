//! Clients that would rather have an error than wait for a leader say so in a request's header.

use axum::http::HeaderMap;

use crate::metrics::Method;
use crate::service::context::Context;
use crate::service::error::ServiceError;

/// The header, as etcd's clients send it.
const HEADER: &str = "hasleader";

/// Whether the client asks for a leader.
pub(crate) fn is_required(headers: &HeaderMap) -> bool {
    headers.get(HEADER).is_some_and(|value| value.as_bytes() == b"true")
}

/// Refuses a call that asks for a leader when there is none. Streams that began with one wait for its loss themselves.
pub(crate) fn require(method: Method, headers: &HeaderMap, context: &Context) -> Result<(), ServiceError> {
    if is_required(headers) && honours(method) { context.require_leader() } else { Ok(()) }
}

/// Whether the header means anything to a method: as in etcd, to all of them but those that nobody needs a leader for.
fn honours(method: Method) -> bool {
    match method {
        Method::Range
        | Method::Put
        | Method::DeleteRange
        | Method::Txn
        | Method::Compact
        | Method::Watch
        | Method::LeaseGrant
        | Method::LeaseRevoke
        | Method::LeaseKeepAlive
        | Method::LeaseTimeToLive
        | Method::LeaseLeases
        | Method::MemberList
        | Method::Alarm
        | Method::Status
        | Method::Native => true,
        Method::Authenticate | Method::HealthCheck | Method::HealthWatch => false,
    }
}
