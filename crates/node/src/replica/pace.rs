//! How fast a snapshot is sent to a peer: as fast as it takes it, or with rests while the log grows.

use ruvector_protocol::Timestamp;

/// How many chunks may be under way to a peer while the log does not grow; one otherwise.
const CHUNKS_UNDER_WAY_MAX: u64 = 4;
/// The log grows as long as it has grown within this, in microseconds.
const GROWS_FOR_US: u64 = 100_000;
/// The rest after a chunk, in times of what the chunk took from its sending to its answer.
const REST_FACTOR: u64 = 3;
/// The longest rest, in microseconds. A peer that is far away, or slow, takes little from those who write, and is not to be kept
/// waiting.
const REST_MAX_US: u64 = 8_000;
/// There is no rest if the log has grown by more than one in so many bytes sent.
const AHEAD_FACTOR: u64 = 2;

/// The pace of one transfer.
///
/// To read, send, receive and write a snapshot as fast as it goes takes the processors, the network and the disk from those who
/// write. A transfer has time: its receiver counts for no quorum meanwhile. So while the log grows, one chunk is under way at a
/// time, and after its answer comes a rest that is longer the longer it took.
///
/// Invariants: a transfer that rests has a [`deadline`](Self::deadline); it does not rest unless it was [`AHEAD_FACTOR`] times as
/// fast as the log grew, from the answer before to this one. So the log that its receiver will need does not outgrow the snapshot,
/// and is not dropped behind the next one, before this one was sent.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the newest chunk was sent.
    sent_at: Timestamp,
    rests_until: Option<Timestamp>,
    /// Bytes of the log at the last answer, and when they were seen to have grown.
    log_bytes: u64,
    grew_at: Option<Timestamp>,
}

impl Pace {
    /// Of a transfer that begins while the log has so many bytes.
    pub(super) fn new(now: Timestamp, log_bytes: u64) -> Self {
        Self { sent_at: now, rests_until: None, log_bytes, grew_at: None }
    }

    /// A chunk leaves.
    pub(super) fn sent(&mut self, now: Timestamp) {
        self.sent_at = now;
    }

    /// A chunk of so many bytes was answered when the log had so many.
    pub(super) fn answered(&mut self, now: Timestamp, chunk_bytes: u64, log_bytes: u64) {
        // Less after a compaction.
        let grown = log_bytes.saturating_sub(self.log_bytes);
        self.log_bytes = log_bytes;
        if grown > 0 {
            self.grew_at = Some(now);
        }
        if self.log_grows(now) && self.rests_until.is_none() && grown * AHEAD_FACTOR <= chunk_bytes {
            let took = now.micros_since(self.sent_at);
            self.rests_until = Some(now.after_micros((took * REST_FACTOR).min(REST_MAX_US)));
        }
    }

    /// How many chunks may be under way now; ends a rest that is over.
    pub(super) fn window(&mut self, now: Timestamp) -> u64 {
        self.rests_until.take_if(|until| *until <= now);
        match self.rests_until {
            Some(_) => 0,
            None if self.log_grows(now) => 1,
            None => CHUNKS_UNDER_WAY_MAX,
        }
    }

    /// When the present rest is over.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.rests_until
    }

    fn log_grows(&self, now: Timestamp) -> bool {
        self.grew_at.is_some_and(|at| now.micros_since(at) < GROWS_FOR_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = 1_000;

    fn at(micros: u64) -> Timestamp {
        Timestamp(1_000_000 + micros)
    }

    #[test]
    fn while_the_log_does_not_grow_there_are_no_rests() {
        let mut pace = Pace::new(at(0), 500);
        for chunk in 1..10 {
            pace.answered(at(chunk * 1_000), CHUNK, 500);
            assert_eq!((pace.window(at(chunk * 1_000)), pace.deadline()), (CHUNKS_UNDER_WAY_MAX, None));
            pace.sent(at(chunk * 1_000));
        }
    }

    #[test]
    fn a_rest_is_as_long_as_the_chunk_took_and_more_but_not_longer_than_the_longest() {
        for (took, rest) in [(0, 0), (500, 1_500), (2_000, 6_000), (50_000, REST_MAX_US)] {
            let mut pace = Pace::new(at(0), 0);
            pace.answered(at(took), CHUNK, 10);
            assert_eq!(pace.deadline(), Some(at(took + rest)));
            if rest > 0 {
                assert_eq!(pace.window(at(took + rest - 1)), 0);
            }
            assert_eq!((pace.window(at(took + rest)), pace.deadline()), (1, None));
        }
    }

    #[test]
    fn it_stays_ahead_of_the_log() {
        let mut pace = Pace::new(at(0), 0);
        pace.answered(at(1_000), CHUNK, CHUNK / AHEAD_FACTOR);
        assert!(pace.deadline().is_some());
        assert_eq!(pace.window(at(20_000)), 1);
        pace.sent(at(20_000));
        pace.answered(at(21_000), CHUNK, CHUNK + 1);
        assert_eq!((pace.window(at(21_000)), pace.deadline()), (1, None));
    }

    #[test]
    fn it_is_quick_again_soon_after_the_log_has_stopped_to_grow() {
        let mut pace = Pace::new(at(0), 0);
        pace.answered(at(1_000), CHUNK, 10);
        assert_eq!(pace.window(at(1_000 + GROWS_FOR_US - 1)), 1);
        assert_eq!(pace.window(at(1_000 + GROWS_FOR_US)), CHUNKS_UNDER_WAY_MAX);
    }
}
