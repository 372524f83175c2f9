//! What a failed attempt means for a call, and whether another may follow.

use std::error::Error;

use tonic::{Code, Status};

use crate::endpoint::Endpoint;
use crate::error::ClientError;

/// Whether doing a call twice does harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It changes nothing.
    Read,
    /// It changes something.
    Write,
}

/// What a failed attempt means for the call.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The error to give if there is no further attempt.
    pub(crate) error: ClientError,
    /// Whether another attempt may be made.
    pub(crate) may_retry: bool,
}

/// Judges a failed attempt: what it tells of the call, and whether the call may be made again.
pub(crate) fn judge(status: &Status, endpoint: &Endpoint, effect: Effect) -> Verdict {
    let reason = status.message().to_owned();
    if never_connected(status) {
        let error =
            ClientError::Unreachable { endpoints: endpoint.to_string(), reason: connect_reason(status) };
        return Verdict { error, may_retry: true };
    }
    match status.code() {
        Code::Unavailable if reason.contains("no leader") => {
            Verdict { error: ClientError::NoLeader { reason }, may_retry: true }
        }
        // Nothing was done, and another node may be one.
        Code::Unavailable if reason.contains("is no member of group") => {
            Verdict { error: ClientError::NoLeader { reason }, may_retry: true }
        }
        // etcd answers "too many requests" with this code before it takes a request in.
        Code::ResourceExhausted if reason.contains("too many requests") => {
            Verdict { error: ClientError::Busy { reason }, may_retry: true }
        }
        Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled | Code::Internal => {
            let reason = if reason.is_empty() { status.code().description().to_owned() } else { reason };
            match effect {
                Effect::Read => Verdict { error: ClientError::TimedOut { reason }, may_retry: true },
                Effect::Write => Verdict { error: ClientError::OutcomeUnknown { reason }, may_retry: false },
            }
        }
        Code::Unimplemented => Verdict {
            error: ClientError::Unsupported { endpoint: endpoint.to_string(), reason },
            may_retry: false,
        },
        // An answer that this side can't take: what was asked for is done.
        Code::OutOfRange if is_too_large(&reason) => {
            let error = match effect {
                Effect::Read => ClientError::TooLarge { reason },
                Effect::Write => ClientError::OutcomeUnknown { reason },
            };
            Verdict { error, may_retry: false }
        }
        // A request that the other side does not take.
        Code::ResourceExhausted if is_too_large(&reason) => {
            Verdict { error: ClientError::TooLarge { reason }, may_retry: false }
        }
        Code::OutOfRange if reason.contains("compacted") => {
            Verdict { error: ClientError::Compacted { oldest: None, reason }, may_retry: false }
        }
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::DataLoss
        | Code::Unauthenticated => Verdict { error: ClientError::Refused { reason }, may_retry: false },
    }
}

/// What a time limit of this client looks like, in the terms that [`judge`] judges.
pub(crate) fn timeout_status(endpoint: &Endpoint) -> Status {
    Status::deadline_exceeded(format!("{endpoint} is silent"))
}

/// Whether a stream ended because of an answer that this side can't take.
pub(crate) fn status_is_too_large(status: &Status) -> bool {
    status.code() == Code::OutOfRange && is_too_large(status.message())
}

/// Whether a status tells of a message that is larger than one side takes, and not of what a node refuses.
fn is_too_large(reason: &str) -> bool {
    reason.contains("message length too large") || reason.contains("message larger than max")
}

/// Whether the connection could not be made, so that the request never left.
fn never_connected(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<tonic::ConnectError>())
}

/// The innermost cause says it best: `Connection refused` rather than `transport error`.
fn connect_reason(status: &Status) -> String {
    let reason = causes(status).last().map_or_else(|| status.message().to_owned(), ToString::to_string);
    // The system's number for it tells a person nothing.
    reason.split(" (os error").next().unwrap_or(&reason).to_lowercase()
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |cause| (*cause).source())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn verdict(status: &Status, effect: Effect) -> Verdict {
        judge(status, &"127.0.0.1:1".parse().unwrap(), effect)
    }

    #[test]
    fn a_lost_answer_stops_a_write_and_not_a_read() {
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Unknown, Code::Cancelled] {
            let status = Status::new(code, "etcdserver: request timed out");
            let write = verdict(&status, Effect::Write);
            assert!(!write.may_retry, "{write:?}");
            assert!(matches!(write.error, ClientError::OutcomeUnknown { .. }), "{write:?}");
            assert!(verdict(&status, Effect::Read).may_retry);
        }
    }

    #[test]
    fn a_write_may_be_repeated_when_nothing_was_applied() {
        for status in [
            Status::unavailable("etcdserver: no leader"),
            Status::resource_exhausted("etcdserver: too many requests"),
        ] {
            assert!(verdict(&status, Effect::Write).may_retry, "{status}");
        }
    }

    #[test]
    fn what_is_too_large_for_a_message_is_not_asked_for_again() {
        let answer = Status::out_of_range(
            "Error, decoded message length too large: found 70000000 bytes, the limit is: 67108864 bytes",
        );
        let request =
            Status::resource_exhausted("grpc: received message larger than max (70000000 vs. 4194304)");
        for (status, effect) in [(&answer, Effect::Read), (&request, Effect::Read), (&request, Effect::Write)]
        {
            let verdict = verdict(status, effect);
            assert!(!verdict.may_retry, "{status}");
            assert!(matches!(verdict.error, ClientError::TooLarge { .. }), "{verdict:?}");
            assert!(verdict.error.to_string().contains("as with a limit"), "{verdict:?}");
        }
        // Its answer came, and so it may have been applied.
        let verdict = verdict(&answer, Effect::Write);
        assert!(
            !verdict.may_retry && matches!(verdict.error, ClientError::OutcomeUnknown { .. }),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_refusal_is_final_and_keeps_the_words() {
        for status in [
            Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
            Status::failed_precondition("there is no leader named so"),
        ] {
            let verdict = verdict(&status, Effect::Read);
            assert!(!verdict.may_retry);
            assert_eq!(verdict.error.to_string(), status.message());
        }
    }
}
