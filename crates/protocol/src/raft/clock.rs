//! Cluster time, and how old a replica's knowledge is.

use crate::message::LeaderStamp;
use crate::types::{ClusterTime, Index, Term, Timestamp};

/// Replicated time as this replica knows it: a value heard or reached at some moment, and this node's own
/// clock from then on.
#[derive(Debug)]
pub(crate) struct ClusterClock {
    base: ClusterTime,
    at: Timestamp,
    /// Which leader's message `base` is from, and when that leader sent it: an older one changes nothing.
    heard: Option<(Term, Timestamp)>,
}

impl ClusterClock {
    pub(crate) fn new(base: ClusterTime, now: Timestamp) -> Self {
        Self { base, at: now, heard: None }
    }

    /// Cluster time now.
    pub(crate) fn read(&self, now: Timestamp) -> ClusterTime {
        ClusterTime(self.base.0.saturating_add(now.micros_since(self.at) / 1000))
    }

    /// A leader told its cluster time.
    pub(crate) fn hear(&mut self, term: Term, stamp: &LeaderStamp, now: Timestamp) {
        let heard = Some((term, stamp.sent_at));
        if heard > self.heard {
            *self = Self { base: stamp.cluster_time, at: now, heard };
        }
    }

    /// This replica leads from now on: time continues from the latest that is known of it.
    pub(crate) fn lead(&mut self, last_entry: ClusterTime, now: Timestamp) {
        *self = Self { base: self.read(now).max(last_entry), at: now, heard: self.heard };
    }
}

/// As of when a replica's applied state is known to be complete.
///
/// A leader that sends `answering = a` with `commit = c` says: I led and knew of commits through `c` after
/// you sent something at `a`. So once `c` is applied, the state is no older than `a`. A leader tells itself the
/// same of when it last surely led.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    complete_as_of: Option<Timestamp>,
    /// What will be known once enough is applied: the next, which is kept until it is reached, so that
    /// newer ones can't starve it, and the newest.
    next: Option<Claim>,
    newest: Option<Claim>,
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    as_of: Timestamp,
    needs: Index,
}

impl Freshness {
    pub(crate) fn complete_as_of(&self) -> Option<Timestamp> {
        self.complete_as_of
    }

    pub(crate) fn hear(
        &mut self,
        answering: Option<Timestamp>,
        commit: Index,
        applied: Index,
        now: Timestamp,
    ) {
        let Some(as_of) = answering.filter(|as_of| *as_of <= now) else { return };
        let claim = Claim { as_of, needs: commit };
        if self.next.is_none() {
            self.next = Some(claim);
        } else if self.newest.is_none_or(|newest| newest.as_of <= as_of) {
            self.newest = Some(claim);
        }
        self.applied(applied);
    }

    pub(crate) fn applied(&mut self, applied: Index) {
        while let Some(claim) = self.next.filter(|claim| claim.needs <= applied) {
            self.complete_as_of = self.complete_as_of.max(Some(claim.as_of));
            self.next = self.newest.take();
        }
    }
}
