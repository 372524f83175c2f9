//! For how long this replica elects nobody else after it heard a leader, and what it says of that.
//!
//! A leader's lease is what a quorum *promised*, and not what the leader's own settings say: each voter promises by its
//! own election timeout, on its own clock, so nodes may differ in their settings, as they do during every rolling
//! change. A promise outlives the process that gave it: the longest one is part of the hard state, durable before
//! it is spoken of, and a start that finds it there keeps it, whatever it is set to itself.

use crate::types::Timestamp;

/// What this replica has promised.
///
/// Invariants:
/// - `withheld_until` never falls, and is at least `own_us` after a leader was last heard;
/// - what an earlier start promised holds from this start on, since when it was given is not known.
#[derive(Debug)]
pub(crate) struct Promise {
    /// What this start promises, in microseconds.
    own_us: u64,
    /// The longest that an earlier start may have promised, in microseconds.
    earlier_us: u64,
    /// When that is over.
    earlier_until: Timestamp,
    /// Nobody gets this replica's vote before.
    withheld_until: Timestamp,
}

impl Promise {
    /// A replica starts that promises `own_us` from now on; an earlier start of it may have promised `earlier_us`.
    pub(crate) fn new(own_us: u64, earlier_us: u64, now: Timestamp) -> Self {
        let earlier_until = now.after_micros(earlier_us);
        Self {
            own_us,
            earlier_us,
            earlier_until,
            withheld_until: earlier_until.max(now.after_micros(own_us)),
        }
    }

    /// A leader was heard: it will be told of the promise.
    pub(crate) fn leader_heard(&mut self, now: Timestamp) {
        self.withheld_until = self.withheld_until.max(now.after_micros(self.own_us));
    }

    /// Until when nobody gets this replica's vote.
    pub(crate) fn withheld_until(&self) -> Timestamp {
        self.withheld_until
    }

    /// What must be durable for this start's promises to be kept by the next one, in microseconds. Falls when what
    /// earlier starts promised is over.
    pub(crate) fn to_remember_us(&self, now: Timestamp) -> u64 {
        if now < self.earlier_until { self.own_us.max(self.earlier_us) } else { self.own_us }
    }

    /// What may be told to a leader, in microseconds, given what is durable.
    pub(crate) fn spoken_us(&self, durable_us: u64) -> u64 {
        self.own_us.min(durable_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_keeps_what_an_earlier_one_promised() {
        let started = Timestamp(1_000);
        let mut promise = Promise::new(300, 1_000, started);
        assert_eq!(promise.withheld_until(), started.after_micros(1_000));
        promise.leader_heard(started.after_micros(100));
        assert_eq!(promise.withheld_until(), started.after_micros(1_000), "the earlier promise is longer");
        promise.leader_heard(started.after_micros(900));
        assert_eq!(promise.withheld_until(), started.after_micros(1_200), "its own is longer by now");
    }

    #[test]
    fn what_is_remembered_falls_when_earlier_promises_are_over() {
        let started = Timestamp(1_000);
        let promise = Promise::new(300, 1_000, started);
        assert_eq!(promise.to_remember_us(started.after_micros(999)), 1_000);
        assert_eq!(promise.to_remember_us(started.after_micros(1_000)), 300);
        assert_eq!(Promise::new(1_000, 300, started).to_remember_us(started), 1_000);
    }

    #[test]
    fn no_more_is_promised_than_is_remembered() {
        let promise = Promise::new(1_000, 300, Timestamp(0));
        assert_eq!(promise.spoken_us(300), 300);
        assert_eq!(promise.spoken_us(5_000), 1_000);
    }
}
