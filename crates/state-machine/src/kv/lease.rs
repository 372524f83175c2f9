//! Leases: granted, renewed and ended by applied entries only, on the cluster time that the entries carry.
//!
//! An entry ends so many of the leases that are due, and each of those that follow as many more, so that a million leases that end at
//! once hold nothing up for long: [`StoreLimits`](super::StoreLimits) says how many. A lease that is due and not yet
//! ended is what etcd has between a lease's end and its revocation: its keys are there, and can be read, written and detached; it
//! is listed, its id is taken, and it can be revoked. But it has no time to live, so nothing renews it, and, stricter than in
//! etcd, no key can be attached to it: it has ended for all that would prolong it, and what is left of it only shrinks.
//!
//! A lease's keys end in one revision, unless it has more of them than one entry may end.

pub(super) mod table;

use super::command::{KvError, LeaseId, Outcome};
use super::planted::PlantedBug;
use super::store::Store;

/// The longest time to live, in seconds (etcd's `MaxLeaseTTL`).
pub const LEASE_TTL_SECONDS_MAX: i64 = 9_000_000_000;

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
