//! A published, immutable version of the store, and everything that can be read from it.

use std::sync::Arc;

use super::command::{
    KeyValue, KvError, LeaseId, RangeRequest, RangeResponse, Revision, TxnRequest, TxnResponse,
};

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted; the event's `kv` has only its key and the deletion's revision.
    Delete,
}

/// A change of one key (etcd's `mvccpb.Event`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key after it.
    pub kv: Arc<KeyValue>,
    /// The key before it, if it existed and that is not compacted.
    pub prev_kv: Option<Arc<KeyValue>>,
}

/// A lease as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Its id.
    pub id: LeaseId,
    /// The time to live it was granted, in seconds.
    pub granted_ttl_seconds: i64,
    /// The cluster time at which it ends without renewal, in milliseconds.
    pub expires_at_ms: u64,
    /// The keys attached to it, ascending.
    pub keys: Vec<bytes::Bytes>,
}

/// One version of the store. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct KvView {}

impl KvView {
    /// The revision of this version.
    #[must_use]
    pub fn revision(&self) -> Revision {
        todo!()
    }

    /// History at and below this revision is forgotten.
    #[must_use]
    pub fn compacted(&self) -> Revision {
        todo!()
    }

    /// The cluster time of the last entry applied, in milliseconds.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        todo!()
    }

    /// Reads keys.
    ///
    /// # Errors
    /// [`KvError::Compacted`], [`KvError::FutureRevision`].
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        let _ = request;
        todo!()
    }

    /// Evaluates a transaction that writes nothing in either branch.
    ///
    /// # Errors
    /// As [`range`](Self::range).
    pub fn read_only_txn(&self, request: &TxnRequest) -> Result<TxnResponse, KvError> {
        let _ = request;
        todo!()
    }

    /// The changes of revisions `from..=through`, in order, the changes of one revision together and in
    /// the order in which they were made.
    ///
    /// # Errors
    /// [`KvError::Compacted`] if `from` is at or below the compacted revision.
    pub fn events(
        &self,
        from: Revision,
        through: Revision,
    ) -> Result<impl Iterator<Item = Event> + '_, KvError> {
        let _ = (from, through);
        Ok(std::iter::empty())
    }

    /// One lease.
    #[must_use]
    pub fn lease(&self, id: LeaseId) -> Option<LeaseInfo> {
        let _ = id;
        todo!()
    }

    /// All leases' ids, ascending.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseId> {
        todo!()
    }

    /// How many keys exist.
    #[must_use]
    pub fn key_count(&self) -> usize {
        todo!()
    }

    /// About how many bytes keys, values and history take (etcd's "db size").
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        todo!()
    }

    /// The hash of the contents.
    #[must_use]
    pub fn state_hash(&self) -> u128 {
        todo!()
    }
}
