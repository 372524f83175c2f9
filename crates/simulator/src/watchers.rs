//! Clients that watch all keys: each reads the changes of one node, and goes on at another one when that is gone.

use ruvector_state_machine::kv::{Event, KvError, KvView, Revision};

use crate::events::change;
use crate::trace::Place;
use crate::violation::{Violation, ensure};
use crate::world::{Happening, World};

/// A client that watches.
///
/// It has been told every change before `next`, but for those that were compacted before it came to them.
#[derive(Debug)]
pub struct Watcher {
    /// The node that it watches.
    node: usize,
    /// That node's life in which it was told everything there was; then it follows, and may be told also what was
    /// compacted a moment ago.
    follows_life: Option<u64>,
    /// The first revision that it was not told yet.
    next: Revision,
    /// How long it takes between two looks at most, in microseconds.
    pace_us: u64,
}

/// How many of a thousand looks are at another node.
const MOVES_PER_MILLE: u64 = 30;
/// How many revisions a watch is told at a time at most.
const BATCH_MAX: u64 = 50;

impl Watcher {
    /// A client that wants to know everything that happens from now on, as nothing has happened yet.
    #[must_use]
    pub fn new(pace_us: u64) -> Self {
        Self { node: 0, follows_life: None, next: Revision(2), pace_us }
    }
}

impl World {
    /// A watcher looks what is new, and plans to look again.
    pub(crate) fn look(&mut self, watcher: usize) -> Result<(), Violation> {
        let pace_us = self.random.between(1, self.watchers[watcher].pace_us);
        self.plan(self.now_us + pace_us, Happening::Look(watcher));
        let is_up = self.hosts[self.watchers[watcher].node].process.is_some();
        if !is_up || self.random.chance(MOVES_PER_MILLE) {
            let node = self.random.index(self.hosts.len());
            self.watchers[watcher].node = node;
            self.watchers[watcher].follows_life = None;
        }
        let batch = self.random.magnitude(1, BATCH_MAX).cast_signed();
        self.tell(watcher, batch)
    }

    /// Tells a watcher some of what is new to it at its node.
    fn tell(&mut self, watcher: usize, batch: i64) -> Result<(), Violation> {
        let Watcher { node, follows_life, next, .. } = self.watchers[watcher];
        let host = &self.hosts[node];
        let Some(process) = &host.process else { return Ok(()) };
        let view = &process.published;
        if next.0 > view.revision().0 + 1 {
            self.marks.watches_ahead += 1;
        }
        let through = view.revision().min(Revision(next.0 + batch - 1));
        if through < next {
            return Ok(());
        }
        let follows = follows_life == Some(host.life);
        match new_events(view, next, through, follows) {
            Ok(told) => {
                let is_up_to_date = through == view.revision();
                self.judge_told(watcher, through, &told)?;
                self.statistics.watch_events += told.len() as u64;
                let life = self.hosts[node].life;
                let watcher = &mut self.watchers[watcher];
                watcher.next = Revision(through.0 + 1);
                watcher.follows_life = (follows || is_up_to_date).then_some(life);
                Ok(())
            }
            Err(error) => self.outrun(watcher, &error),
        }
    }

    /// Every change of every revision, each once, in order.
    fn judge_told(&mut self, watcher: usize, through: Revision, told: &[Event]) -> Result<(), Violation> {
        let mut left = told.iter().peekable();
        for revision in (self.watchers[watcher].next.0..=through.0).map(Revision) {
            let mut made = Vec::new();
            while let Some(event) = left.next_if(|event| event.kv.mod_revision == revision) {
                made.push(change(event)?);
            }
            let known = self.events.changes(revision);
            ensure!(
                known.is_none_or(|known| known == made),
                WatchGuarantee,
                "watcher {watcher} was told {made:?} of revision {}, which made {known:?}",
                revision.0
            );
        }
        let extra = left.next();
        ensure!(extra.is_none(), WatchGuarantee, "watcher {watcher} was told {extra:?} out of order");
        self.trace.record(self.now_us, Place::World, through.0, || {
            format!("watcher {watcher} was told {} changes through {}", told.len(), through.0)
        });
        Ok(())
    }

    /// What a watcher is to be told is compacted: that must have been asked for.
    fn outrun(&mut self, watcher: usize, error: &KvError) -> Result<(), Violation> {
        let next = self.watchers[watcher].next;
        let asked_for = self.history.compacted();
        let compacted =
            if let KvError::Compacted { compacted, .. } = error { Some(*compacted) } else { None };
        ensure!(
            compacted.is_some_and(|compacted| {
                next < compacted && (compacted <= asked_for || self.retention_asked)
            }),
            WatchGuarantee,
            "watcher {watcher} is to be told revision {} on: {error}; compacted may be {}",
            next.0,
            asked_for.0
        );
        self.marks.watches_outrun += 1;
        self.watchers[watcher].next = compacted.unwrap_or(next);
        self.watchers[watcher].follows_life = None;
        Ok(())
    }

    /// Every watcher is told all there is, by any node that runs.
    ///
    /// # Errors
    /// If one can't be.
    pub(crate) fn tell_everything(&mut self) -> Result<(), Violation> {
        let Some(node) = self.hosts.iter().position(|host| host.process.is_some()) else { return Ok(()) };
        for watcher in 0..self.watchers.len() {
            if self.watchers[watcher].node != node {
                self.watchers[watcher].node = node;
                self.watchers[watcher].follows_life = None;
            }
            // Twice, as the first time it may learn only what is compacted.
            self.tell(watcher, i64::from(u32::MAX))?;
            self.tell(watcher, i64::from(u32::MAX))?;
            let revision = self.hosts[node].process.as_ref().map(|process| process.published.revision());
            ensure!(
                revision.is_some_and(|revision| self.watchers[watcher].next.0 == revision.0 + 1),
                WatchGuarantee,
                "watcher {watcher} was told everything before {:?}, node {} is at {revision:?}",
                self.watchers[watcher].next,
                node + 1
            );
        }
        Ok(())
    }
}

fn new_events(
    view: &KvView,
    from: Revision,
    through: Revision,
    follows: bool,
) -> Result<Vec<Event>, KvError> {
    if follows {
        Ok(view.recent_events(from, through)?.collect())
    } else {
        Ok(view.events(from, through)?.collect())
    }
}
