//! What all answers of etcd begin with.

use ruvector_api::etcdserverpb::ResponseHeader;
use ruvector_node::state_machine::kv::Revision;

use crate::service::context::Context;

/// The header of an answer given at a revision of the store.
pub(super) fn header(context: &Context, revision: Revision) -> ResponseHeader {
    ResponseHeader {
        cluster_id: context.handle.cluster_id(),
        member_id: context.handle.node_id().0,
        revision: revision.0,
        raft_term: context.handle.term().0,
    }
}
