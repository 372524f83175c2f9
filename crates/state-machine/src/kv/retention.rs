//! How long history is kept.
//!
//! How much is kept is state like any other: a command sets it, and each entry compacts what is over by its own cluster
//! time and by what was written. So replicas agree whatever each of their nodes is configured to ask for, and readers and watchers
//! see nothing but compactions.
//!
//! Nobody needs the time of every change. A mark says what was written by when; one is made after every 128th of what is
//! to be kept, and history is compacted from mark to mark. So a change is kept for as long as was asked for and at most a 128th longer,
//! and of the bytes no more than were asked for and one entry's.
//!
//! A compaction to a mark is one like any other: the changes are out of reach at once and out of memory with the entries
//! that follow. Somebody who keeps up is never cut off: all that is compacted is older, or further back, than what is to be kept.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::{Outcome, Revision};
use super::hash::RecordHash;
use super::store::Store;

/// How much history is kept beside what is current. What of both is reached first counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retention {
    /// Changes are kept for so long, in milliseconds of cluster time; `None` for ever.
    pub age_ms: Option<u64>,
    /// About so many bytes of changes are kept, keys and values and [what a version takes](super::KvView::size_bytes); `None` for any
    /// number.
    pub bytes: Option<u64>,
}

/// So many marks are made while what is to be kept is written.
const MARKS: u64 = 128;

/// What was written by when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The cluster time at which it was made.
    pub(super) time_ms: u64,
    /// The store's revision then.
    pub(super) revision: Revision,
    /// How many bytes of changes had ever been written.
    pub(super) written_bytes: u64,
}

/// What is kept, and what is known of how old it is.
///
/// Invariants: nothing is marked unless something is to be forgotten; all three numbers of the marks rise.
#[derive(Clone, Debug, Default)]
pub(super) struct Retained {
    settings: Retention,
    /// Oldest first.
    marks: Arc<VecDeque<Mark>>,
}

impl Retention {
    fn is_limited(&self) -> bool {
        *self != Self::default()
    }

    /// Whether all that was written by then is over at a time and after so many bytes.
    fn is_over(&self, mark: &Mark, time_ms: u64, written_bytes: u64) -> bool {
        // What is written from one mark to the next is kept, too.
        let bytes = self.bytes.map(|bytes| bytes - bytes / MARKS);
        self.age_ms.is_some_and(|age_ms| mark.time_ms.saturating_add(age_ms) <= time_ms)
            || bytes.is_some_and(|bytes| written_bytes - mark.written_bytes >= bytes)
    }

    /// Whether there is to be a mark after another one.
    fn is_next(&self, last: &Mark, time_ms: u64, written_bytes: u64) -> bool {
        self.age_ms.is_some_and(|age_ms| time_ms - last.time_ms >= age_ms / MARKS)
            || self.bytes.is_some_and(|bytes| written_bytes - last.written_bytes >= bytes / MARKS)
    }
}

impl Retained {
    /// How much is kept.
    pub(super) fn settings(&self) -> Retention {
        self.settings
    }

    /// The marks, oldest first.
    pub(super) fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.marks.iter()
    }

    /// When something is over, or to be marked, although nothing is written until then.
    pub(super) fn wake_at_ms(&self, revision: Revision) -> Option<u64> {
        let age_ms = self.settings.age_ms?;
        let over = self.marks.front()?.time_ms.saturating_add(age_ms);
        let last = self.marks.back().filter(|last| last.revision < revision);
        let marked = last.map(|last| last.time_ms.saturating_add(age_ms / MARKS));
        Some(marked.map_or(over, |marked| marked.min(over)))
    }
}

impl Store {
    /// Sets how much history is kept.
    pub(super) fn set_retention(&mut self, settings: Retention) -> Outcome {
        self.retained.settings = settings;
        if !settings.is_limited() {
            self.drop_all_marks();
        }
        Outcome::RetentionSet
    }

    /// Compacts what is over by now, and marks what is there.
    pub(super) fn retain(&mut self) {
        let settings = self.retained.settings;
        if !settings.is_limited() {
            return;
        }
        let written_bytes = self.history.written_bytes();
        while let Some(mark) = self.retained.marks.front().copied()
            && settings.is_over(&mark, self.time_ms, written_bytes)
        {
            if mark.revision > self.compacted {
                self.compact_to(mark.revision);
            }
            self.drop_oldest_mark();
        }
        let is_marked = match self.retained.marks.back() {
            Some(last) => {
                last.revision == self.revision || !settings.is_next(last, self.time_ms, written_bytes)
            }
            None => self.compacted == self.revision || self.history.is_empty(),
        };
        if !is_marked {
            self.add_mark(Mark { time_ms: self.time_ms, revision: self.revision, written_bytes });
        }
    }

    /// Adds the newest mark.
    pub(super) fn add_mark(&mut self, mark: Mark) {
        self.record_came(RecordHash::of_mark(&mark));
        Arc::make_mut(&mut self.retained.marks).push_back(mark);
    }

    pub(super) fn drop_all_marks(&mut self) {
        while self.drop_oldest_mark().is_some() {}
    }

    fn drop_oldest_mark(&mut self) -> Option<()> {
        let mark = Arc::make_mut(&mut self.retained.marks).pop_front()?;
        self.record_went(RecordHash::of_mark(&mark));
        Some(())
    }
}
