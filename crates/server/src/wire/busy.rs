//! The refusal of what there is no room for: told before it is known what is asked, and so alike in all protocols.

use tonic::Status;

/// Clients tell by it that they may try again (etcd's `api/v3rpc/rpctypes/error.go`).
pub(crate) const TOO_MANY_REQUESTS: &str = "etcdserver: too many requests";

/// What a client is told for which the node holds too much already.
pub(crate) fn busy() -> Status {
    Status::resource_exhausted(TOO_MANY_REQUESTS)
}
