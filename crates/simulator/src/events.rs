//! The sequence of changes that all replicas must agree on, as their views tell it.

use std::collections::{BTreeMap, BTreeSet};

use ruvector_state_machine::kv::{Event, EventKind, KvError, KvView, Revision};

use crate::encoding::{key_of, value_of};
use crate::linearizability::Value;
use crate::violation::{Violation, ensure};
use crate::workload::Key;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// What it holds from then on; `None` if it was deleted.
    pub value: Option<Value>,
}

/// What the store counts of a key that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// The revision that created it.
    pub created: Revision,
    /// The revision that changed it last.
    pub changed: Revision,
    /// How many changes since it was created.
    pub version: i64,
}

/// All changes so far, by revision, as the first replica that applied them told them.
#[derive(Debug, Default)]
pub struct EventLog {
    /// The changes of revision 2 and on; `None` where history was compacted before anyone could look.
    revisions: Vec<Option<Vec<Change>>>,
    /// How many of them are known from the first on without a gap.
    complete: usize,
    /// For each key when it changed and to what.
    by_key: BTreeMap<Key, Vec<(Revision, Option<Value>)>>,
    /// Every value that was ever written.
    written: BTreeSet<Value>,
}

/// A store that was never written is at this revision.
const FIRST: Revision = Revision(1);

impl EventLog {
    /// Takes the changes of a replica's newest version that are newer than `seen`: those known already must
    /// be the same, the others are added.
    ///
    /// # Errors
    /// If this replica's changes differ from those of another one, or a value was written twice.
    pub fn absorb(&mut self, view: &KvView, seen: Revision) -> Result<(), Violation> {
        let from = Revision(seen.0.max(FIRST.0) + 1).max(view.compacted());
        let through = view.revision();
        if from > through {
            return Ok(());
        }
        let mut changes: BTreeMap<Revision, Vec<Change>> = BTreeMap::new();
        let events = view.events(from, through);
        for event in events.map_err(|error: KvError| broken(format!("events {from:?}..: {error}")))? {
            changes.entry(event.kv.mod_revision).or_default().push(change(&event)?);
        }
        for revision in from.0..=through.0 {
            let made = changes.remove(&Revision(revision)).unwrap_or_default();
            ensure!(!made.is_empty(), EventAgreement, "revision {revision} has no changes");
            self.agree(Revision(revision), made)?;
        }
        ensure!(changes.is_empty(), EventAgreement, "changes of revisions not asked for: {changes:?}");
        Ok(())
    }

    fn agree(&mut self, revision: Revision, made: Vec<Change>) -> Result<(), Violation> {
        let place = usize::try_from(revision.0 - FIRST.0 - 1).expect("revisions rise from the first");
        while self.revisions.len() <= place {
            self.revisions.push(None);
        }
        if let Some(known) = &self.revisions[place] {
            ensure!(
                *known == made,
                EventAgreement,
                "revision {}: one replica made {known:?}, another {made:?}",
                revision.0
            );
            return Ok(());
        }
        for change in &made {
            if let Some(value) = change.value {
                let first_time = self.written.insert(value);
                ensure!(first_time, EventAgreement, "{value:?} was written twice, again at {revision:?}");
            }
            let history = self.by_key.entry(change.key).or_default();
            let place = history.partition_point(|(earlier, _)| *earlier <= revision);
            history.insert(place, (revision, change.value));
        }
        self.revisions[place] = Some(made);
        while self.revisions.get(self.complete).is_some_and(Option::is_some) {
            self.complete += 1;
        }
        Ok(())
    }

    /// The newest revision that any replica has applied.
    #[must_use]
    pub fn newest(&self) -> Revision {
        Revision(FIRST.0 + i64::try_from(self.revisions.len()).expect("a simulation is short"))
    }

    /// The changes of a revision, if they are known.
    #[must_use]
    pub fn changes(&self, revision: Revision) -> Option<&[Change]> {
        let place = usize::try_from(revision.0 - FIRST.0 - 1).ok()?;
        self.revisions.get(place)?.as_deref()
    }

    /// What a key held at a revision, as far as changes are known.
    #[must_use]
    pub fn value_at(&self, key: Key, revision: Revision) -> Option<Value> {
        self.changes_until(key, revision).last().and_then(|(_, value)| *value)
    }

    /// The counters of a key at a revision through which all changes are known; `None` if it did not exist.
    #[must_use]
    pub fn counters_at(&self, key: Key, revision: Revision) -> Option<Counters> {
        let puts = self.changes_until(key, revision).iter().rev().take_while(|(_, value)| value.is_some());
        puts.fold(None, |counters, &(created, _)| {
            let later = counters.unwrap_or(Counters { created, changed: created, version: 0 });
            Some(Counters { created, version: later.version + 1, ..later })
        })
    }

    fn changes_until(&self, key: Key, revision: Revision) -> &[(Revision, Option<Value>)] {
        let Some(history) = self.by_key.get(&key) else { return &[] };
        &history[..history.partition_point(|(changed, _)| *changed <= revision)]
    }

    /// Whether all changes up to a revision are known.
    #[must_use]
    pub fn is_complete(&self, through: Revision) -> bool {
        usize::try_from(through.0 - FIRST.0).is_ok_and(|count| count <= self.complete)
    }

    /// Whether a value was ever written.
    #[must_use]
    pub fn was_written(&self, value: Value) -> bool {
        self.written.contains(&value)
    }
}

/// What an event tells.
pub(crate) fn change(event: &Event) -> Result<Change, Violation> {
    let key = key_of(&event.kv.key).ok_or_else(|| broken(format!("unknown key {:?}", event.kv.key)))?;
    let value = match event.kind {
        EventKind::Delete => None,
        EventKind::Put => Some(
            value_of(&event.kv.value).ok_or_else(|| broken(format!("unknown value {:?}", event.kv.value)))?,
        ),
    };
    Ok(Change { key, value })
}

fn broken(details: String) -> Violation {
    Violation::new(crate::violation::Rule::EventAgreement, details)
}
