//! A published, immutable version of the store, and everything that can be read from it.

use std::sync::Arc;

use super::command::{
    KeyValue, KvError, LeaseId, RangeRequest, RangeResponse, Retention, Revision, TxnRequest, TxnResponse,
};
use super::planted::PlantedBug;
use super::store::Store;

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
pub struct KvView {
    store: Arc<Store>,
}

impl KvView {
    pub(super) fn of(store: Store) -> Self {
        Self { store: Arc::new(store) }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The revision of this version.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.store.revision
    }

    /// History below this revision is forgotten; 0 if nothing ever was. The keys as of this revision can
    /// still be read, and its changes too.
    #[must_use]
    pub fn compacted(&self) -> Revision {
        self.store.compacted
    }

    /// The cluster time of the last entry applied, in milliseconds.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.store.time_ms
    }

    /// Reads keys.
    ///
    /// # Errors
    /// [`KvError::Compacted`], [`KvError::FutureRevision`].
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        self.store.range(request)
    }

    /// Evaluates a transaction that writes nothing in either branch.
    ///
    /// # Errors
    /// As [`range`](Self::range), and [`KvError::UnknownCommand`] if it does write or is nested too deep.
    pub fn read_only_txn(&self, request: &TxnRequest) -> Result<TxnResponse, KvError> {
        self.store.read_only_txn(request)
    }

    /// The changes of revisions `from..=through`, in order, the changes of one revision together and in
    /// the order in which they were made. What was before the changes of the compacted revision is compacted.
    ///
    /// # Errors
    /// [`KvError::Compacted`] if `from` is below the compacted revision.
    pub fn events(
        &self,
        from: Revision,
        through: Revision,
    ) -> Result<impl Iterator<Item = Event> + '_, KvError> {
        let compacted = self.store.compacted;
        if from < compacted {
            return Err(KvError::Compacted { requested: from, compacted });
        }
        Ok(self.store.events(from, through).map(move |event| match event.kv.mod_revision == compacted {
            true => Event { prev_kv: None, ..event },
            false => event,
        }))
    }

    /// The same for somebody who has followed the changes since before `from`, and so has a claim on what was
    /// compacted a moment ago: the changes are given as long as they are there, which is until the entries
    /// after the compaction have taken them out.
    ///
    /// # Errors
    /// [`KvError::Compacted`] if some of the changes may be gone.
    pub fn recent_events(
        &self,
        from: Revision,
        through: Revision,
    ) -> Result<impl Iterator<Item = Event> + '_, KvError> {
        let compacted = self.store.compacted;
        // Of the oldest revision that is left some changes may be gone, of those after it none.
        let is_whole = self.store.history.oldest().is_some_and(|oldest| oldest.mod_revision() < from);
        let is_unnoticed = self.store.planted.is(PlantedBug::CompactionUnnoticed);
        if from < compacted && !is_whole && !is_unnoticed {
            return Err(KvError::Compacted { requested: from, compacted });
        }
        Ok(self.store.events(from, through))
    }

    /// One lease.
    #[must_use]
    pub fn lease(&self, id: LeaseId) -> Option<LeaseInfo> {
        self.store.leases.get(id).map(|lease| LeaseInfo {
            id,
            granted_ttl_seconds: lease.granted_ttl_seconds,
            expires_at_ms: lease.expires_at_ms,
            keys: lease.keys.iter().cloned().collect(),
        })
    }

    /// All leases' ids, those first that end first without renewal.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseId> {
        self.store.leases.by_deadline().collect()
    }

    /// How much history is kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.store.retained.settings()
    }

    /// How many changes are in memory, those that were compacted and are not taken out yet counted too.
    #[must_use]
    pub fn history_count(&self) -> usize {
        self.store.history.len()
    }

    /// How many keys exist.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.store.live_keys()
    }

    /// About how many bytes keys, values and history take (etcd's "db size").
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.store.size_bytes()
    }

    /// The hash of the contents.
    #[must_use]
    pub fn state_hash(&self) -> u128 {
        self.store.state_hash()
    }
}
