//! All leases, by id and by deadline.

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};

use super::super::command::LeaseId;

/// A lease.
#[derive(Clone, Debug)]
pub(in super::super) struct Lease {
    /// The time to live it was granted, and gets again with each renewal, in seconds.
    pub(in super::super) granted_ttl_seconds: i64,
    /// When it ends, in milliseconds of cluster time.
    pub(in super::super) expires_at_ms: u64,
    /// The keys that end with it.
    pub(in super::super) keys: OrdSet<Bytes>,
}

/// All leases.
///
/// Invariant: `deadlines` has exactly the deadline and id of each lease of `by_id`.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Leases {
    by_id: OrdMap<LeaseId, Lease>,
    deadlines: OrdSet<(u64, LeaseId)>,
}

impl Leases {
    /// One lease.
    pub(in super::super) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    /// All of them, by id ascending.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = (&LeaseId, &Lease)> {
        self.by_id.iter()
    }

    /// Their ids in the order in which they end; of those that end together, the smallest first.
    pub(in super::super) fn by_deadline(&self) -> impl Iterator<Item = LeaseId> {
        self.deadlines.iter().map(|(_, id)| *id)
    }

    /// The lease that ends next and its deadline in milliseconds; of several, the one with the smallest id.
    pub(in super::super) fn next_to_expire(&self) -> Option<(u64, LeaseId)> {
        self.deadlines.get_min().copied()
    }

    pub(in super::super) fn insert(&mut self, id: LeaseId, granted_ttl_seconds: i64, expires_at_ms: u64) {
        let lease = Lease { granted_ttl_seconds, expires_at_ms, keys: OrdSet::new() };
        let replaced = self.by_id.insert(id, lease);
        assert!(replaced.is_none(), "lease {id:?} granted twice");
        self.deadlines.insert((expires_at_ms, id));
    }

    pub(in super::super) fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.by_id.remove(&id)?;
        self.deadlines.remove(&(lease.expires_at_ms, id));
        Some(lease)
    }

    /// Sets a deadline and answers with the granted time to live and the deadline before.
    pub(in super::super) fn set_deadline(&mut self, id: LeaseId, expires_at_ms: u64) -> (i64, u64) {
        let lease = self.by_id.get_mut(&id).expect("the caller has looked the lease up");
        let old = std::mem::replace(&mut lease.expires_at_ms, expires_at_ms);
        let granted_ttl_seconds = lease.granted_ttl_seconds;
        self.deadlines.remove(&(old, id));
        self.deadlines.insert((expires_at_ms, id));
        (granted_ttl_seconds, old)
    }

    /// A key that had one lease has another from now on, or none.
    pub(in super::super) fn move_key(&mut self, key: &[u8], from: Option<LeaseId>, to: Option<LeaseId>) {
        if from == to {
            return;
        }
        if let Some(from) = from {
            self.detach(from, key);
        }
        if let Some(to) = to {
            self.attach(to, key);
        }
    }

    /// Adds a key to a lease: a copy, so that the lease keeps nothing else in memory.
    pub(in super::super) fn attach(&mut self, id: LeaseId, key: &[u8]) {
        let lease = self.by_id.get_mut(&id).expect("the lease was looked up before the key was written");
        lease.keys.insert(Bytes::copy_from_slice(key));
    }

    /// Takes a key off a lease; a lease that is just ending has no list any more.
    fn detach(&mut self, id: LeaseId, key: &[u8]) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.remove(key);
        }
    }
}
