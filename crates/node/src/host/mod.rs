//! The groups of a node, synchronous: one log and one store of snapshots, and of each group the replica that is here. It has no
//! thread and no clock; production's driver and the simulator both feed it.
//!
//! A turn is: [`handle`](Host::handle) any number of events, send the messages in the outputs, [`apply`](Host::apply) what is
//! committed, [`flush`](Host::flush) what must be durable; again until [`is_settled`](Host::is_settled). Messages leave before
//! the sync, so that followers write while the leader does; what may only be said after the sync is held back by the cores
//! until `flush` tells them. One sync serves all groups that wait.
//!
//! What stops one replica stops the node: the log is everybody's, and what reached it is unknown after a failure.

mod open;
mod timers;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use ruvector_protocol::{GroupId, Incarnation, Membership, NodeId, Timestamp};
use ruvector_state_machine::StateMachine;

use crate::config::Tuning;
use crate::journal::Journal;
use crate::replica::{Event, Output, PlantedBug, Replica, ReplicaError};
use timers::Timers;

pub use crate::journal::{FlushJob, Flushed, LogCounters};

/// What a host is told once.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The cluster, to which with the node all its files are bound.
    pub cluster_id: u64,
    /// This node.
    pub node: NodeId,
    /// Which start of this node it is: greater than at any start before.
    pub incarnation: Incarnation,
    /// The groups that this node is a member of, with the first membership of each.
    pub groups: BTreeMap<GroupId, Membership>,
    /// Intervals and limits, of each group the same.
    pub tuning: Tuning,
    /// Seeds the election jitter.
    pub seed: u64,
    /// A bug of the cores to show, so that a test can see it found.
    #[cfg(feature = "planted-bugs")]
    pub core_bug: Option<ruvector_protocol::PlantedBug>,
    /// A bug of the replicas to show, so that a test can see it found.
    #[cfg(feature = "planted-bugs")]
    pub planted_bug: Option<PlantedBug>,
}

/// The groups of a node.
///
/// Invariants:
/// - the log holds nothing of a group that is not here;
/// - `unapplied`, `unsynced` and `loading` name exactly the groups that want [`apply`](Self::apply),
///   [`flush`](Self::flush), or to read the log when it is free;
/// - a group that is not in `touched` has the timer that its replica wanted when it was last touched;
/// - timers and `touched` name groups that are here;
/// - `reads_begun` is the sum of what was counted of the groups, and no count falls.
#[derive(Debug)]
pub struct Host<M: StateMachine> {
    node: NodeId,
    journal: Journal,
    groups: BTreeMap<GroupId, Hosted<M>>,
    timers: Timers,
    /// Those whose timers may be wrong by now.
    touched: BTreeSet<GroupId>,
    unapplied: BTreeSet<GroupId>,
    unsynced: BTreeSet<GroupId>,
    loading: BTreeSet<GroupId>,
    /// The group that applied last: the next turn begins behind it.
    applied_last: GroupId,
    /// In all groups.
    reads_begun: u64,
    /// The segment of the log in which it was last looked for groups that keep too many.
    looked_in_segment: u64,
    held_segments_max: u64,
    segment_bytes: u64,
    #[cfg(feature = "planted-bugs")]
    planted_bug: Option<PlantedBug>,
}

/// A group's replica.
#[derive(Debug)]
struct Hosted<M: StateMachine> {
    replica: Replica<M>,
    /// As counted last.
    reads_begun: u64,
}

/// A group's entries are written once more without a snapshot if they take no more than this share of a segment.
const REWRITTEN_SHARE: u64 = 4;

/// How many entries a group applies before the next has its turn, if several want to.
const APPLY_SLICE: usize = 64;

impl<M: StateMachine> Host<M> {
    /// Gives a group's replica an event. What follows is appended to `outputs`; what it wants durable waits for
    /// [`flush`](Self::flush), what it committed for [`apply`](Self::apply). An event for a group that is not here is dropped.
    ///
    /// # Errors
    /// Any error means that this node must stop.
    pub fn handle(
        &mut self,
        now: Timestamp,
        group: GroupId,
        event: Event,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let Some(hosted) = self.groups.get_mut(&group) else {
            // No warning: a peer could fill the log with them.
            tracing::debug!("dropped an event for group {group}, which is not here");
            return Ok(());
        };
        hosted.replica.handle(now, event, outputs)?;
        self.touch(group);
        Ok(())
    }

    /// The connection to a peer broke: all groups are told.
    ///
    /// # Errors
    /// Any error means that this node must stop.
    pub fn peer_lost(
        &mut self,
        now: Timestamp,
        peer: NodeId,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        self.each(|host, group| host.handle(now, group, Event::PeerLost(peer), outputs))
    }

    /// Wakes the groups whose [`deadline`](Self::deadline) is reached.
    ///
    /// # Errors
    /// Any error means that this node must stop.
    pub fn wake(&mut self, now: Timestamp, outputs: &mut Vec<Output<M>>) -> Result<(), ReplicaError> {
        self.set_timers(now);
        for group in self.timers.due(now) {
            self.handle(now, group, Event::Wake, outputs)?;
        }
        Ok(())
    }

    /// When [`wake`](Self::wake) is due next.
    #[must_use]
    pub fn deadline(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.set_timers(now);
        self.timers.first()
    }

    /// Applies what is committed, group after group in turn, until nothing is left or `is_enough` says so. A group with a long
    /// backlog holds up no other: each applies some entries and then waits until all others have had their turn.
    ///
    /// # Errors
    /// Any error means that this node must stop.
    pub fn apply(
        &mut self,
        now: Timestamp,
        mut is_enough: impl FnMut() -> bool,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        let takes_turns = self.unapplied.len() > 1 && !self.planted(PlantedBug::GroupsNotInTurn);
        let entries_max = if takes_turns { APPLY_SLICE } else { usize::MAX };
        while let Some(group) = self.next_unapplied() {
            let hosted =
                self.groups.get_mut(&group).expect("only groups that are here have something to apply");
            let mut is_over = false;
            let is_enough_within = || {
                is_over = is_enough();
                is_over
            };
            hosted.replica.apply(now, entries_max, is_enough_within, outputs)?;
            self.touch(group);
            self.applied_last = group;
            // Whoever is alone has had all the time that there is. A replica asks only between entries of its own.
            let is_last = entries_max == usize::MAX || self.unapplied.is_empty();
            if is_over || is_last || is_enough() {
                break;
            }
        }
        Ok(())
    }

    /// The next group that has something to apply, behind the one that applied last.
    fn next_unapplied(&self) -> Option<GroupId> {
        let behind = (Bound::Excluded(self.applied_last), Bound::Unbounded);
        let next = self.unapplied.range(behind).next().filter(|_| !self.planted(PlantedBug::GroupsNotInTurn));
        next.or_else(|| self.unapplied.first()).copied()
    }

    /// Writes and syncs everything that waits, of all groups, then lets the cores say what they may now say.
    ///
    /// # Errors
    /// Any error means that this node must stop: what reached the disk is unknown.
    pub fn flush(&mut self, now: Timestamp, outputs: &mut Vec<Output<M>>) -> Result<(), ReplicaError> {
        self.journal.flush()?;
        self.tell_durable(now, outputs)
    }

    /// The same as [`flush`](Self::flush), to be done elsewhere while the replicas go on. They may be flushed meanwhile, and
    /// other jobs may be made: each write is written once, and in order.
    #[must_use]
    pub fn flush_job(&self) -> FlushJob {
        self.journal.job()
    }

    /// A job has ended: lets the cores say what they may now say.
    ///
    /// # Errors
    /// Any error means that this node must stop: what reached the disk is unknown.
    pub fn flushed(
        &mut self,
        now: Timestamp,
        flushed: Flushed,
        outputs: &mut Vec<Output<M>>,
    ) -> Result<(), ReplicaError> {
        flushed.into_result()?;
        self.tell_durable(now, outputs)
    }

    fn tell_durable(&mut self, now: Timestamp, outputs: &mut Vec<Output<M>>) -> Result<(), ReplicaError> {
        let mut durable = self.journal.take_durable();
        if self.planted(PlantedBug::OthersTakenForDurable) && !durable.is_empty() {
            let unsynced =
                self.groups.iter().filter_map(|(group, of)| Some((*group, of.replica.unsynced()?)));
            durable.extend(unsynced);
        }
        for (group, write) in durable {
            let hosted = self.groups.get_mut(&group).expect("only groups that are here write");
            hosted.replica.durable_through(now, write, outputs)?;
            self.touch(group);
        }
        for group in std::mem::take(&mut self.loading) {
            let hosted = self.groups.get_mut(&group).expect("only groups that are here read the log");
            hosted.replica.load_waiting(now, outputs)?;
            self.touch(group);
        }
        self.release_log(now, outputs)
    }

    /// A group that writes little keeps the segments that its entries are in, and so all that others wrote behind them. When
    /// they are too many, what it needs is written once more: a laggard still finds it. If that is much, the part of it that is
    /// applied goes first, behind a snapshot.
    fn release_log(&mut self, now: Timestamp, outputs: &mut Vec<Output<M>>) -> Result<(), ReplicaError> {
        if self.groups.len() < 2 || self.journal.segment() == self.looked_in_segment {
            return Ok(());
        }
        let (segment, groups) = self.journal.held_too_long(self.held_segments_max, self.segment_bytes);
        self.looked_in_segment = segment;
        for group in groups {
            let hosted = self.groups.get_mut(&group).expect("only groups that are here have a log");
            hosted.replica.release_log(now, self.segment_bytes / REWRITTEN_SHARE, outputs)?;
            self.touch(group);
        }
        Ok(())
    }

    /// Whether something waits for [`flush`](Self::flush).
    #[must_use]
    pub fn needs_flush(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// How many groups wait for [`flush`](Self::flush).
    #[must_use]
    pub fn unsynced_count(&self) -> usize {
        self.unsynced.len()
    }

    /// Whether something waits for [`apply`](Self::apply).
    #[must_use]
    pub fn needs_apply(&self) -> bool {
        !self.unapplied.is_empty()
    }

    /// Whether nothing waits for [`flush`](Self::flush) or [`apply`](Self::apply).
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.needs_flush() && !self.needs_apply()
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The groups that are here.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.keys().copied()
    }

    /// A group's replica, to look at.
    #[must_use]
    pub fn replica(&self, group: GroupId) -> Option<&Replica<M>> {
        self.groups.get(&group).map(|hosted| &hosted.replica)
    }

    /// What the log can tell of itself.
    #[must_use]
    pub fn log_counters(&self) -> LogCounters {
        self.journal.counters()
    }

    /// How many reads the groups have had a part in, for whoever wants to know whether there were any of late.
    pub(crate) fn reads_begun(&self) -> u64 {
        self.reads_begun
    }

    /// Whether this host is to show a certain bug. Never without the feature `planted-bugs`.
    #[cfg(feature = "planted-bugs")]
    fn planted(&self, bug: PlantedBug) -> bool {
        self.planted_bug == Some(bug)
    }

    /// Whether this host is to show a certain bug. Never without the feature `planted-bugs`.
    #[cfg(not(feature = "planted-bugs"))]
    #[allow(clippy::unused_self)]
    const fn planted(&self, _bug: PlantedBug) -> bool {
        false
    }

    fn each(
        &mut self,
        mut action: impl FnMut(&mut Self, GroupId) -> Result<(), ReplicaError>,
    ) -> Result<(), ReplicaError> {
        let groups: Vec<_> = self.groups().collect();
        groups.into_iter().try_for_each(|group| action(self, group))
    }

    /// Keeps what is remembered of a group true.
    fn touch(&mut self, group: GroupId) {
        let hosted = self.groups.get_mut(&group).expect("a group that is here was touched");
        let replica = &hosted.replica;
        #[cfg(any(test, feature = "planted-bugs"))]
        replica.check_invariants();
        let reads_begun = replica.reads_begun();
        assert!(
            reads_begun >= hosted.reads_begun,
            "group {group} has begun {reads_begun} reads, and had begun {}",
            hosted.reads_begun
        );
        self.reads_begun += reads_begun - std::mem::replace(&mut hosted.reads_begun, reads_begun);
        keep(&mut self.unapplied, group, replica.needs_apply());
        keep(&mut self.unsynced, group, replica.needs_flush());
        keep(&mut self.loading, group, replica.needs_load());
        self.touched.insert(group);
    }

    fn set_timers(&mut self, now: Timestamp) {
        #[cfg(any(test, feature = "planted-bugs"))]
        self.check_invariants();
        for group in std::mem::take(&mut self.touched) {
            let hosted = self.groups.get(&group).expect("only groups that are here are touched");
            self.timers.set(group, hosted.replica.deadline(now));
        }
    }

    /// Sees that what always holds between two calls does. Costs as much as there are groups.
    ///
    /// # Panics
    /// If it does not.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub fn check_invariants(&self) {
        for (group, Hosted { replica, reads_begun }) in &self.groups {
            let kept = [&self.unapplied, &self.unsynced, &self.loading].map(|set| set.contains(group));
            let wanted = [replica.needs_apply(), replica.needs_flush(), replica.needs_load()];
            assert_eq!(kept, wanted, "group {group} is to apply, to sync, to load");
            assert_eq!(*reads_begun, replica.reads_begun(), "reads that group {group} has begun");
        }
        let counted: u64 = self.groups.values().map(|hosted| hosted.reads_begun).sum();
        assert_eq!(self.reads_begun, counted, "reads that all groups have begun");
        // With the above: a set that has none but those of the groups has exactly those that it should.
        let sets = [&self.unapplied, &self.unsynced, &self.loading, &self.touched].into_iter().flatten();
        for group in sets.chain(self.timers.groups()) {
            assert!(self.groups.contains_key(group), "group {group} is remembered and is not here");
        }
    }
}

fn keep(set: &mut BTreeSet<GroupId>, group: GroupId, is_in: bool) {
    if is_in {
        set.insert(group)
    } else {
        set.remove(&group)
    };
}
