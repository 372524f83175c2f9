//! Leases: granted, renewed and ended by applied entries only, on the cluster time that the entries carry.
//!
//! An entry ends so many of the leases that are due, and each of those that follow as many more, so that a million leases that end at
//! once hold nothing up for long: [`StoreLimits`](super::StoreLimits) says how many. A lease that is due and not yet
//! ended is what etcd has between a lease's end and its revocation: its keys are there, and can be read, written and detached; it
//! is listed, its id is taken, and it can be revoked. But it has no time to live, so nothing renews it, and, stricter than in
//! etcd, no key can be attached to it: it has ended for all that would prolong it, and what is left of it only shrinks.
//!
//! A lease's keys end in one revision, unless it has more of them than one entry may end.

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};

use super::command::{KvError, LeaseId, Outcome};
use super::planted::PlantedBug;
use super::store::Store;

/// The longest time to live, in seconds (etcd's `MaxLeaseTTL`).
pub const LEASE_TTL_SECONDS_MAX: i64 = 9_000_000_000;

/// A lease.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    /// The time to live it was granted, and gets again with each renewal, in seconds.
    pub(super) granted_ttl_seconds: i64,
    /// When it ends, in milliseconds of cluster time.
    pub(super) expires_at_ms: u64,
    /// The keys that end with it.
    pub(super) keys: OrdSet<Bytes>,
}

/// All leases.
///
/// Invariant: `deadlines` has exactly the deadline and id of each lease of `by_id`.
#[derive(Clone, Debug, Default)]
pub(super) struct Leases {
    by_id: OrdMap<LeaseId, Lease>,
    deadlines: OrdSet<(u64, LeaseId)>,
}

impl Leases {
    /// One lease.
    pub(super) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    /// All of them, by id ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&LeaseId, &Lease)> {
        self.by_id.iter()
    }

    /// Their ids in the order in which they end; of those that end together, the smallest first.
    pub(super) fn by_deadline(&self) -> impl Iterator<Item = LeaseId> {
        self.deadlines.iter().map(|(_, id)| *id)
    }

    /// The lease that ends next and its deadline in milliseconds; of several, the one with the smallest id.
    pub(super) fn next_to_expire(&self) -> Option<(u64, LeaseId)> {
        self.deadlines.get_min().copied()
    }

    pub(super) fn insert(&mut self, id: LeaseId, granted_ttl_seconds: i64, expires_at_ms: u64) {
        let lease = Lease { granted_ttl_seconds, expires_at_ms, keys: OrdSet::new() };
        let replaced = self.by_id.insert(id, lease);
        assert!(replaced.is_none(), "lease {id:?} granted twice");
        self.deadlines.insert((expires_at_ms, id));
    }

    pub(super) fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.by_id.remove(&id)?;
        self.deadlines.remove(&(lease.expires_at_ms, id));
        Some(lease)
    }

    /// Sets a deadline and answers with the granted time to live and the deadline before.
    pub(super) fn set_deadline(&mut self, id: LeaseId, expires_at_ms: u64) -> (i64, u64) {
        let lease = self.by_id.get_mut(&id).expect("the caller has looked the lease up");
        let old = std::mem::replace(&mut lease.expires_at_ms, expires_at_ms);
        let granted_ttl_seconds = lease.granted_ttl_seconds;
        self.deadlines.remove(&(old, id));
        self.deadlines.insert((expires_at_ms, id));
        (granted_ttl_seconds, old)
    }

    /// A key that had one lease has another from now on, or none.
    pub(super) fn move_key(&mut self, key: &[u8], from: Option<LeaseId>, to: Option<LeaseId>) {
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
    pub(super) fn attach(&mut self, id: LeaseId, key: &[u8]) {
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

impl Store {
    /// Moves the cluster time on, never back, and ends leases whose deadline has come, the earliest first
    /// and of several the one with the smallest id, as many as one entry may.
    pub(super) fn advance_time(&mut self, time_ms: u64) {
        self.time_ms = self.time_ms.max(time_ms);
        let steps_max = self.limits.expiry_steps_max;
        let mut steps_left = steps_max;
        while let Some((id, keys)) = self.next_due_lease() {
            let steps = 1 + keys;
            if steps <= steps_left {
                self.end_lease(id);
                steps_left -= steps;
            } else if steps > steps_max && steps_left == steps_max {
                // No entry has room for all of it.
                self.end_keys_of_lease(id, steps_max);
                break;
            } else {
                break;
            }
        }
    }

    /// The lease that is next to be ended, if its deadline has come, and how many keys it has.
    fn next_due_lease(&self) -> Option<(LeaseId, usize)> {
        let (deadline, id) = self.leases.next_to_expire()?;
        let keys = self.leases.get(id)?.keys.len();
        (deadline <= self.time_ms).then_some((id, keys))
    }

    /// Whether there is a lease whose deadline has not come: it can be renewed, and keys can be attached to it.
    pub(super) fn lives(&self, id: LeaseId) -> bool {
        self.leases.get(id).is_some_and(|lease| lease.expires_at_ms > self.time_ms)
    }

    /// Makes a lease that lives `ttl_seconds` from the present cluster time.
    pub(super) fn grant_lease(&mut self, id: LeaseId, ttl_seconds: i64) -> Result<Outcome, KvError> {
        if id == LeaseId(0) {
            return Err(KvError::LeaseNotFound(id));
        }
        if !(1..=LEASE_TTL_SECONDS_MAX).contains(&ttl_seconds) {
            return Err(KvError::LeaseTtlOutOfBounds(ttl_seconds));
        }
        if self.leases.get(id).is_some() {
            return Err(KvError::LeaseExists(id));
        }
        self.insert_lease(id, ttl_seconds, self.deadline_after(ttl_seconds));
        Ok(Outcome::LeaseGrant { ttl_seconds })
    }

    /// Ends a lease and its keys.
    pub(super) fn revoke_lease(&mut self, id: LeaseId) -> Result<Outcome, KvError> {
        self.end_lease(id).map(|()| Outcome::LeaseRevoke).ok_or(KvError::LeaseNotFound(id))
    }

    /// Lets leases live their full time from now on.
    pub(super) fn renew_leases(&mut self, ids: &[LeaseId]) -> Outcome {
        Outcome::LeaseRenew(ids.iter().map(|id| self.renew_lease(*id)).collect())
    }

    fn renew_lease(&mut self, id: LeaseId) -> Option<i64> {
        let ttl_seconds = self.leases.get(id).filter(|_| self.lives(id))?.granted_ttl_seconds;
        if self.planted.is(PlantedBug::RenewalForgotten) {
            return Some(ttl_seconds);
        }
        self.set_lease_deadline(id, self.deadline_after(ttl_seconds));
        Some(ttl_seconds)
    }

    fn deadline_after(&self, ttl_seconds: i64) -> u64 {
        self.time_ms.saturating_add(ttl_seconds.unsigned_abs().saturating_mul(1000))
    }
}
