//! Requests answered without a node: for the fuzz targets.

use bytes::Bytes;
use ruvector_api::ruvector::v1 as pb_native;
use ruvector_api::{etcdserverpb as pb, mvccpb};
use ruvector_node::state_machine::kv::{Command, KvMachine, KvView, LeaseId, Outcome, Response, Revision};
use ruvector_node::state_machine::{Committed, StateMachine};
use tonic::Status;

use crate::config::Limits;
use crate::etcd::error::status;
use crate::etcd::watch;
use crate::native;
pub use crate::native::fuzzing::{Exchanged, Written};
use crate::service::error::ServiceError;
use crate::service::leases::granted_ttl_seconds;
use crate::service::read::TxnFreshness;
use crate::wire::{asked, convert};

/// A store that does at once what the services would have committed first.
#[derive(Debug, Default)]
pub struct Store {
    machine: KvMachine,
    index: u64,
    time_ms: u64,
}

impl Store {
    /// Lets time pass, by an entry without a command: leases may end.
    pub fn pass_ms(&mut self, milliseconds: u64) {
        self.index += 1;
        self.time_ms += milliseconds;
        self.machine.advance_time(self.index, self.time_ms);
    }

    /// The present version.
    #[must_use]
    pub fn view(&self) -> KvView {
        self.machine.view()
    }

    /// Answers a range.
    ///
    /// # Errors
    /// As the service.
    pub fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        let response = self.view().range(&asked::range(request).map_err(refused)?).map_err(refused)?;
        Ok(convert::range_response(&response, header(self.view().revision())))
    }

    /// Answers a put.
    ///
    /// # Errors
    /// As the service.
    pub fn put(&mut self, request: pb::PutRequest) -> Result<pb::PutResponse, Status> {
        match self.propose(&Command::Put(asked::put(request).map_err(refused)?))? {
            (header, Outcome::Put(put)) => Ok(convert::put_response(&put, header)),
            (_, other) => panic!("a put is answered by {other:?}"),
        }
    }

    /// Answers a deletion.
    ///
    /// # Errors
    /// As the service.
    pub fn delete_range(
        &mut self,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, Status> {
        match self.propose(&Command::Delete(asked::delete(request).map_err(refused)?))? {
            (header, Outcome::Delete(delete)) => Ok(convert::delete_response(&delete, header)),
            (_, other) => panic!("a deletion is answered by {other:?}"),
        }
    }

    /// Answers a transaction.
    ///
    /// # Errors
    /// As the service.
    pub fn txn(&mut self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        let (freshness, request) = asked::txn(request, Limits::default().txn_operations).map_err(refused)?;
        match freshness {
            TxnFreshness::Write => match self.propose(&Command::Txn(request))? {
                (header, Outcome::Txn(txn)) => Ok(convert::txn_response(&txn, header)),
                (_, other) => panic!("a transaction is answered by {other:?}"),
            },
            TxnFreshness::Linearizable | TxnFreshness::Serializable | TxnFreshness::Comparisons => {
                let response = self.view().read_only_txn(&request).map_err(refused)?;
                Ok(convert::txn_response(&response, header(self.view().revision())))
            }
        }
    }

    /// Answers a compaction.
    ///
    /// # Errors
    /// As the service.
    pub fn compact(&mut self, request: pb::CompactionRequest) -> Result<pb::CompactionResponse, Status> {
        self.propose(&Command::Compact { revision: asked::compaction(request) })
            .map(|(header, _)| pb::CompactionResponse { header: Some(header) })
    }

    /// Answers a grant; a lease without an id gets a fixed one.
    ///
    /// # Errors
    /// As the service.
    pub fn lease_grant(&mut self, request: pb::LeaseGrantRequest) -> Result<pb::LeaseGrantResponse, Status> {
        let ttl_seconds = granted_ttl_seconds(request.ttl).map_err(refused)?;
        let id = if request.id == 0 { LeaseId(7) } else { LeaseId(request.id) };
        let (header, _) = self.propose(&Command::LeaseGrant { id, ttl_seconds })?;
        let header = Some(header);
        Ok(pb::LeaseGrantResponse { header, id: id.0, ttl: ttl_seconds, error: String::new() })
    }

    /// Answers a revocation.
    ///
    /// # Errors
    /// As the service.
    pub fn lease_revoke(
        &mut self,
        request: pb::LeaseRevokeRequest,
    ) -> Result<pb::LeaseRevokeResponse, Status> {
        let (header, _) = self.propose(&Command::LeaseRevoke { id: LeaseId(request.id) })?;
        Ok(pb::LeaseRevokeResponse { header: Some(header) })
    }

    /// What a watch is told of the changes so far; `None` if no key can be in its range.
    ///
    /// # Errors
    /// If its first changes are compacted.
    pub fn watch(&self, request: pb::WatchCreateRequest) -> Result<Option<Vec<mvccpb::Event>>, Status> {
        watch::fuzzing::told(&self.view(), request).map_err(refused)
    }

    /// Answers a frame of the native protocol.
    pub fn exchange(&mut self, frame: pb_native::ClientFrame) -> Exchanged {
        let view = self.view();
        let apply = |command| {
            let response = self.apply(command);
            (self.view(), response)
        };
        native::fuzzing::exchange(frame, apply, view)
    }

    /// Goes on from a snapshot, as a node does that starts.
    ///
    /// # Panics
    /// If the snapshot can't be read or is another state.
    pub fn restart(&mut self) {
        let mut snapshot = Vec::new();
        KvMachine::write_snapshot(&self.view(), &mut snapshot).expect("a vector takes everything");
        let mut restored = KvMachine::default();
        restored.restore(&mut &snapshot[..]).expect("a machine reads its own snapshot");
        assert_eq!(restored.state_hash(), self.machine.state_hash(), "a snapshot is another state");
        self.machine = restored;
    }

    fn propose(&mut self, command: &Command) -> Result<(pb::ResponseHeader, Outcome), Status> {
        let response = self.apply(command.encode());
        Ok((header(response.revision), response.result.map_err(refused)?))
    }

    fn apply(&mut self, command: Bytes) -> Response {
        self.index += 1;
        self.machine.apply(&Committed { index: self.index, time_ms: self.time_ms, command })
    }
}

fn header(revision: Revision) -> pb::ResponseHeader {
    pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: revision.0, raft_term: 3 }
}

/// What a client is told.
fn refused(error: impl Into<ServiceError>) -> Status {
    status(error.into())
}
