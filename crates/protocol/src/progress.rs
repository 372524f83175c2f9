//! A leader's view of one follower: what it has, what is under way to it, and when it was heard.

use std::collections::VecDeque;

use crate::log::Log;
use crate::message::FollowerStamp;
use crate::types::{Incarnation, Index, LogPosition, Timestamp};

/// After how many heartbeat intervals without progress, with the follower alive, appends count as lost.
const LOST_AFTER_HEARTBEATS: u64 = 3;

/// A follower that was not heard for so long, in microseconds, was away.
const AWAY_US: u64 = 1_000_000;

/// One follower, as its leader sees it.
///
/// Invariants: `matched < next`; in `Replicate`, what is in flight lies between the two.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Which start of the follower was last heard; an earlier one is not listened to any more.
    incarnation: Incarnation,
    /// The follower remembers nothing of its earlier starts, and counts for no quorum.
    pub(crate) is_newcomer: bool,
    /// It has committed what its leader does not have, and counts for no quorum.
    pub(crate) is_contradicting: bool,
    /// Since when it is heard and where the logs part is not found.
    pub(crate) unmatched_since: Option<Timestamp>,
    /// What it last said to have committed.
    pub(crate) committed: Option<LogPosition>,
    /// The last index known to match, durably. Falls only if the follower turns out to have forgotten everything.
    pub(crate) matched: Index,
    /// The first index of the next append.
    pub(crate) next: Index,
    pub(crate) state: ProgressState,
    /// An [`Effect::LoadEntries`](crate::Effect::LoadEntries) is not answered yet.
    pub(crate) is_loading: bool,
    /// The highest commit index that it was told.
    pub(crate) told_commit: Index,
    /// When it was last heard in this term.
    pub(crate) heard_at: Option<Timestamp>,
    /// When the newest message that it answered was sent.
    pub(crate) answered_sent_at: Option<Timestamp>,
    /// Until when it surely elects nobody else, on this node's clock.
    pub(crate) promised_until: Option<Timestamp>,
    /// The newest round of read confirmations that it answered.
    pub(crate) answered_round: u64,
    /// Its own clock at its newest answer.
    pub(crate) responded_at: Option<Timestamp>,
}

/// How a follower is sent entries (the names are those of etcd's Raft).
#[derive(Debug)]
pub(crate) enum ProgressState {
    /// Where its log and ours part is not known: one append at a time.
    Probe {
        /// When the one that is not answered yet was sent.
        sent_at: Option<Timestamp>,
    },
    /// It takes what it is sent: appends follow one another without waiting.
    Replicate(Inflight),
    /// It is behind the log, and is sent a snapshot.
    Snapshot,
}

/// Appends sent and not answered.
#[derive(Debug)]
pub(crate) struct Inflight {
    appends: VecDeque<(Index, usize)>,
    bytes: usize,
    /// When the first of them was sent, or an answer last moved `matched`.
    moved_at: Timestamp,
}

impl Inflight {
    fn new(now: Timestamp) -> Self {
        Self { appends: VecDeque::new(), bytes: 0, moved_at: now }
    }

    fn add(&mut self, last: Index, bytes: usize, now: Timestamp) {
        if self.appends.is_empty() {
            self.moved_at = now;
        }
        self.appends.push_back((last, bytes));
        self.bytes += bytes;
    }

    fn answered(&mut self, matched: Index, now: Timestamp) {
        while let Some((last, bytes)) = self.appends.front().copied().filter(|(last, _)| *last <= matched) {
            assert!(self.bytes >= bytes, "{bytes} bytes through {last} answered of {} under way", self.bytes);
            self.bytes -= bytes;
            self.appends.pop_front();
            self.moved_at = now;
        }
    }
}

impl Progress {
    /// A follower of a new leader whose log ended at `last`.
    pub(crate) fn new(last: Index) -> Self {
        Self {
            incarnation: Incarnation(0),
            is_newcomer: false,
            is_contradicting: false,
            unmatched_since: None,
            committed: None,
            matched: Index(0),
            next: last.next(),
            state: ProgressState::Probe { sent_at: None },
            is_loading: false,
            told_commit: Index(0),
            heard_at: None,
            answered_sent_at: None,
            promised_until: None,
            answered_round: 0,
            responded_at: None,
        }
    }

    /// What status displays call the state.
    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            ProgressState::Probe { .. } => "probe",
            ProgressState::Replicate(_) => "replicate",
            ProgressState::Snapshot => "snapshot",
        }
    }

    pub(crate) fn is_replicating(&self) -> bool {
        matches!(self.state, ProgressState::Replicate(_))
    }

    /// How much is under way to it.
    pub(crate) fn inflight_bytes(&self) -> usize {
        match &self.state {
            ProgressState::Replicate(inflight) => inflight.bytes,
            ProgressState::Probe { .. } | ProgressState::Snapshot => 0,
        }
    }

    /// Whether an append may be sent now, to a log that ends at `last`.
    pub(crate) fn may_send(&self, last: Index, inflight_bytes_max: usize) -> bool {
        match &self.state {
            _ if self.is_loading => false,
            ProgressState::Probe { sent_at } => sent_at.is_none(),
            ProgressState::Replicate(inflight) => self.next <= last && inflight.bytes < inflight_bytes_max,
            ProgressState::Snapshot => false,
        }
    }

    /// An append with the commit index `commit` went out that ends at `last` and weighs `bytes`.
    pub(crate) fn sent(&mut self, last: Index, bytes: usize, commit: Index, now: Timestamp) {
        self.told_commit = commit;
        match &mut self.state {
            ProgressState::Probe { sent_at } => *sent_at = Some(now),
            ProgressState::Replicate(inflight) => {
                if last >= self.next {
                    inflight.add(last, bytes, now);
                    self.next = last.next();
                }
            }
            ProgressState::Snapshot => {}
        }
    }

    /// The follower speaks, as which start of it, and whether that is a newcomer. Returns whether it is to be
    /// listened to: not if a later start was heard. What a newcomer's earlier starts had is forgotten with them.
    pub(crate) fn meet(&mut self, incarnation: Incarnation, is_newcomer: bool, last: Index) -> bool {
        if incarnation < self.incarnation {
            return false;
        }
        if incarnation > self.incarnation {
            if is_newcomer {
                *self = Self::new(last);
            } else if self.is_replicating() {
                // It commits nothing before it has seen that the logs match.
                self.probe_again();
            }
        }
        self.incarnation = incarnation;
        self.is_newcomer = is_newcomer;
        true
    }

    /// The latest start of the follower that was heard.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// What of the follower's counts for a quorum: `value`, or if it is a newcomer or contradicts its leader nothing.
    pub(crate) fn counted<T: Default>(&self, value: T) -> T {
        if self.is_newcomer || self.is_contradicting { T::default() } else { value }
    }

    /// Something arrived from the follower in this term. Its promise runs for `promised_us` on this node's clock at
    /// least, counted from when it was sent what it answers: it heard that later.
    pub(crate) fn heard(&mut self, stamp: &FollowerStamp, promised_us: u64, now: Timestamp) {
        self.promised_until = self.promised_until.max(Some(stamp.echo.after_micros(promised_us)));
        let was_away = self.heard_at.is_none_or(|heard_at| now.micros_since(heard_at) > AWAY_US);
        self.unmatched_since = match self.state {
            ProgressState::Probe { .. } => self.unmatched_since.filter(|_| !was_away).or(Some(now)),
            ProgressState::Replicate(_) | ProgressState::Snapshot => None,
        };
        self.heard_at = Some(now);
        self.committed = self.committed.max(Some(stamp.committed));
        if self.answered_sent_at <= Some(stamp.echo) {
            self.answered_sent_at = Some(stamp.echo);
            self.responded_at = Some(stamp.responded_at);
        }
        self.answered_round = self.answered_round.max(stamp.read_round);
    }

    /// The follower's log matches through `matched`.
    pub(crate) fn accepted(&mut self, matched: Index, base: Index, now: Timestamp) {
        self.matched = self.matched.max(matched);
        let confirmed = match &mut self.state {
            ProgressState::Probe { .. } => matched.next() >= self.next,
            ProgressState::Snapshot => matched >= base,
            ProgressState::Replicate(inflight) => {
                inflight.answered(matched, now);
                false
            }
        };
        if confirmed {
            self.state = ProgressState::Replicate(Inflight::new(now));
        }
        self.next = self.next.max(self.matched.next());
    }

    /// The follower refused an append behind `previous`; at most through `candidate` can its log match.
    pub(crate) fn rejected(&mut self, previous: LogPosition, candidate: LogPosition, log: &Log) {
        let is_current = match &self.state {
            ProgressState::Probe { .. } => Some(previous.index) == self.next.previous(),
            ProgressState::Replicate(_) => previous.index < self.next,
            ProgressState::Snapshot => false,
        };
        // A refusal at or below what matches is older than the match.
        if !is_current || previous.index <= self.matched {
            return;
        }
        let shared =
            log.highest_at_most(candidate.index, candidate.term).map_or(Index(0), |found| found.index);
        self.probe_from(shared.next().min(previous.index));
    }

    /// Whether appends were lost, as an answer to a heartbeat sent at `echo` shows.
    pub(crate) fn seems_lost(&self, echo: Timestamp, heartbeat_interval_us: u64) -> bool {
        match &self.state {
            ProgressState::Probe { sent_at } => {
                sent_at.is_some_and(|sent_at| echo >= sent_at.after_micros(heartbeat_interval_us))
            }
            ProgressState::Replicate(inflight) => {
                let patience_us = heartbeat_interval_us.saturating_mul(LOST_AFTER_HEARTBEATS);
                !inflight.appends.is_empty() && echo >= inflight.moved_at.after_micros(patience_us)
            }
            ProgressState::Snapshot => false,
        }
    }

    /// Begins again from what is known to match.
    pub(crate) fn probe_again(&mut self) {
        self.probe_from(match self.state {
            ProgressState::Probe { .. } => self.next,
            ProgressState::Replicate(_) | ProgressState::Snapshot => self.matched.next(),
        });
    }

    /// The connection broke: what was under way is lost, and a probe waits until the follower is heard.
    pub(crate) fn connection_lost(&mut self, now: Timestamp) {
        if self.is_replicating() {
            self.probe_again();
            self.state = ProgressState::Probe { sent_at: Some(now) };
        }
    }

    /// The transfer of a snapshot ended. What comes of it shows at the next heartbeat.
    pub(crate) fn snapshot_sent(&mut self, position: Option<LogPosition>, now: Timestamp) {
        if matches!(self.state, ProgressState::Snapshot) {
            self.probe_from(position.map_or(Index(0), |position| position.index).next());
            self.state = ProgressState::Probe { sent_at: Some(now) };
        }
    }

    fn probe_from(&mut self, next: Index) {
        self.next = next.max(self.matched.next());
        self.state = ProgressState::Probe { sent_at: None };
        self.told_commit = Index(0);
    }
}
