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

pub(super) mod marks;

use std::sync::Arc;

use super::command::{Outcome, Retention};
use super::hash::RecordHash;
use super::store::Store;
use marks::Mark;

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
