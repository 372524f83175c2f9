//! What the clients asked for and were answered, checked as it grows and as a whole.

mod by_key;

use std::collections::BTreeSet;

use ruvector_state_machine::kv::Revision;

use self::by_key::explain;
use crate::events::EventLog;
use crate::linearizability::{self, Observation, Value, Verdict};
use crate::violation::{Rule, Violation, ensure};
use crate::workload::{Freshness, Key, Reply, Request};

/// A place in an order of everything that clients do: simulated time, with the order within a microsecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// How many moments a microsecond has.
const MOMENTS: u64 = 1 << 16;

impl Moment {
    fn at(now_us: u64) -> Self {
        Self(now_us * MOMENTS)
    }
}

/// An operation's place in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationId(usize);

#[derive(Debug)]
struct Recorded {
    request: Request,
    invoked_us: u64,
    invoked: Moment,
    /// What it must at least see: the newest revision that anyone had been answered with when it began, and for a
    /// linearizable read also what any replica had applied, since all of that is committed.
    floor: Revision,
    end: End,
}

#[derive(Debug)]
enum End {
    /// Not answered, or answered that it is unknown.
    Unknown,
    /// Refused before it reached the log, or by the store.
    Refused,
    /// Answered.
    Answered { at: Moment, reply: Reply },
}

/// All operations of all clients.
#[derive(Debug, Default)]
pub struct History {
    operations: Vec<Recorded>,
    last: Moment,
    /// When the newest revision that anyone was answered with rose, and to what.
    floors: Vec<(u64, Revision)>,
    /// Values of commands that were refused.
    refused: BTreeSet<Value>,
    /// History up to here may be compacted, as far as anybody has asked for that.
    compacted: Revision,
}

impl History {
    /// A client asks, when these changes are known to have been made.
    pub fn begin(&mut self, now_us: u64, request: Request, events: &EventLog) -> OperationId {
        let invoked = self.next_moment(now_us);
        let floor = match request {
            Request::Get { level: Freshness::Strong | Freshness::Lease, .. } => {
                self.floor().max(events.newest())
            }
            Request::Get { level: Freshness::Stale(_), .. }
            | Request::Recall { .. }
            | Request::Write(_)
            | Request::Grant { .. }
            | Request::Renew(_)
            | Request::Revoke(_)
            | Request::Compact(_) => self.floor(),
        };
        if let Request::Compact(revision) = request {
            self.compacted = self.compacted.max(revision);
        }
        self.operations.push(Recorded { request, invoked_us: now_us, invoked, floor, end: End::Unknown });
        OperationId(self.operations.len() - 1)
    }

    /// The client is told that nothing was done.
    pub fn refuse(&mut self, operation: OperationId) {
        self.operations[operation.0].end = End::Refused;
        self.refused.extend(self.operations[operation.0].request.values());
    }

    /// The client is answered.
    ///
    /// # Errors
    /// If the answer contradicts the changes that were made or what was answered before the operation began.
    pub fn answer(
        &mut self,
        now_us: u64,
        operation: OperationId,
        reply: Reply,
        events: &EventLog,
    ) -> Result<(), Violation> {
        let at = self.next_moment(now_us);
        let recorded = &self.operations[operation.0];
        let request = recorded.request.clone();
        let may_be_old =
            matches!(request, Request::Get { level: Freshness::Stale(_), .. } | Request::Recall { .. });
        if !may_be_old {
            check_real_time(recorded, &reply)?;
            if reply.revision > self.floor() {
                self.floors.push((now_us, reply.revision));
            }
        }
        check_against_events(&request, &reply, events)?;
        if reply.refused {
            self.refuse(operation);
        } else {
            self.operations[operation.0].end = End::Answered { at, reply };
        }
        Ok(())
    }

    /// Checks that a read that was granted at a time saw everything that had been answered up to
    /// `staleness_us` earlier.
    ///
    /// # Errors
    /// If it did not.
    pub fn check_staleness(
        &self,
        granted_us: u64,
        staleness_us: u64,
        read: Revision,
    ) -> Result<(), Violation> {
        let since_us = granted_us.saturating_sub(staleness_us);
        let known = self.floors.partition_point(|(at_us, _)| *at_us < since_us);
        let floor = self.floors[..known].last().map_or(Revision(1), |(_, revision)| *revision);
        ensure!(
            read >= floor,
            BoundedStaleness,
            "a read granted at {granted_us} us as at most {staleness_us} us stale saw revision {}, but {} had \
             been answered by {since_us} us",
            read.0,
            floor.0
        );
        Ok(())
    }

    /// The newest revision that anyone was answered with.
    #[must_use]
    pub fn floor(&self) -> Revision {
        self.floors.last().map_or(Revision(1), |(_, revision)| *revision)
    }

    /// History up to here may be compacted: somebody has asked for that.
    #[must_use]
    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    /// Checks the history as a whole: no refused command was applied, and each key's part is linearizable.
    /// Clocks may have run fast by `drift_ppm`, which lets leases end early by as much. Returns how many keys'
    /// histories were too large to decide.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self, events: &EventLog, drift_ppm: u64) -> Result<u64, Violation> {
        let mut undecided = 0;
        for value in &self.refused {
            ensure!(
                !events.was_written(*value),
                RefusedIsNotApplied,
                "{value:?} was refused and then written"
            );
        }
        for (key, operations) in self.by_key(drift_ppm) {
            match linearizability::check(&operations, CONFIGURATIONS_MAX) {
                Verdict::Linearizable => {}
                Verdict::Undecided => undecided += 1,
                Verdict::Violation(violation) => {
                    return Err(Violation::new(Rule::Linearizability, explain(key, &operations, &violation)));
                }
            }
        }
        Ok(undecided)
    }

    fn next_moment(&mut self, now_us: u64) -> Moment {
        self.last = Moment::at(now_us).max(Moment(self.last.0 + 1));
        self.last
    }
}

/// How large a search for an order may become. What it can't decide is still held to the order of revisions.
const CONFIGURATIONS_MAX: usize = 50_000;
/// Revisions are one order of all changes of all keys: what was answered before an operation began lies
/// before it.
fn check_real_time(recorded: &Recorded, reply: &Reply) -> Result<(), Violation> {
    let writes = reply.changes(&recorded.request).is_some_and(|changes| !changes.is_empty());
    let enough = if writes { reply.revision > recorded.floor } else { reply.revision >= recorded.floor };
    ensure!(
        enough,
        RealTimeOrder,
        "{:?} was answered at revision {}, but revision {} had been made before it began",
        recorded.request,
        reply.revision.0,
        recorded.floor.0
    );
    Ok(())
}

/// The store must have done, at the revision that it names, what it says that it did, to what it held before.
fn check_against_events(request: &Request, reply: &Reply, events: &EventLog) -> Result<(), Violation> {
    if reply.refused {
        return Ok(());
    }
    let expected = reply.changes(request);
    if let (Some(expected), Some(made)) = (&expected, events.changes(reply.revision)) {
        ensure!(
            expected.is_empty() || expected == made,
            AnswerFitsHistory,
            "{request:?} was answered with {reply:?}, but revision {} made {made:?}",
            reply.revision.0
        );
    }
    let wrote = expected.is_some_and(|expected| !expected.is_empty());
    let before = Revision(reply.revision.0 - i64::from(wrote));
    if events.is_complete(before) { check_observations(request, reply, before, events) } else { Ok(()) }
}

fn check_observations(
    request: &Request,
    reply: &Reply,
    before: Revision,
    events: &EventLog,
) -> Result<(), Violation> {
    for (key, observation) in &reply.observations {
        let held = Observation::Held(events.value_at(*key, before));
        ensure!(
            held == *observation,
            AnswerFitsHistory,
            "{request:?} at revision {} saw {observation:?} in {key:?}, which held {held:?}",
            before.0
        );
    }
    for (key, counters) in &reply.counters {
        let counted = events.counters_at(*key, before);
        ensure!(
            counted == Some(*counters),
            AnswerFitsHistory,
            "at revision {} {key:?} was said to have {counters:?}, and has {counted:?}",
            before.0
        );
    }
    if let Request::Write(txn) = request {
        let holds = |(key, expected): &(Key, Option<Value>)| events.value_at(*key, before) == *expected;
        ensure!(
            reply.succeeded == txn.compare.iter().all(holds),
            AnswerFitsHistory,
            "{request:?} was answered with {reply:?}, against what keys held at revision {}",
            before.0
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
