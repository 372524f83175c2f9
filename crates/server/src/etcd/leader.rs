//! Clients that would rather have an error than wait for a leader say so in the request's metadata.

use std::time::Duration;

use ruvector_node::Handle;
use ruvector_node::state_machine::kv::KvMachine;
use tonic::metadata::MetadataMap;

use super::error::EtcdError;

/// How many election timeouts in a row a stream may be without a leader, as in etcd.
const TIMEOUTS_WITHOUT_LEADER: u32 = 3;

/// Whether the client asks for a leader.
pub(crate) fn is_required(metadata: &MetadataMap) -> bool {
    metadata.get("hasleader").is_some_and(|value| value.as_bytes() == b"true")
}

/// Refuses a client that asks for a leader when there is none.
pub(crate) fn require(metadata: &MetadataMap, handle: &Handle<KvMachine>) -> Result<(), EtcdError> {
    if is_required(metadata) && handle.leader().is_none() { Err(EtcdError::NoLeader) } else { Ok(()) }
}

/// Waits until there has been no leader for a while.
pub(crate) async fn lost(handle: Handle<KvMachine>, election_timeout: Duration) {
    let mut without = 0;
    while without < TIMEOUTS_WITHOUT_LEADER {
        tokio::time::sleep(election_timeout).await;
        without = if handle.leader().is_none() { without + 1 } else { 0 };
    }
}
