//! What is kept of history, and marks that say how old it is.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::command::{Retention, Revision};

/// So many marks are made while what is to be kept is written.
const MARKS: u64 = 128;

/// What was written by when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Mark {
    /// The cluster time at which it was made.
    pub(in super::super) time_ms: u64,
    /// The store's revision then.
    pub(in super::super) revision: Revision,
    /// How many bytes of changes had ever been written.
    pub(in super::super) written_bytes: u64,
}

/// What is kept, and what is known of how old it is.
///
/// Invariants: nothing is marked unless something is to be forgotten; all three numbers of the marks rise.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Retained {
    pub(super) settings: Retention,
    /// Oldest first.
    pub(super) marks: Arc<VecDeque<Mark>>,
}

impl Retention {
    pub(super) fn is_limited(&self) -> bool {
        *self != Self::default()
    }

    /// Whether all that was written by then is over at a time and after so many bytes.
    pub(super) fn is_over(&self, mark: &Mark, time_ms: u64, written_bytes: u64) -> bool {
        // What is written from one mark to the next is kept, too.
        let bytes = self.bytes.map(|bytes| bytes - bytes / MARKS);
        self.age_ms.is_some_and(|age_ms| mark.time_ms.saturating_add(age_ms) <= time_ms)
            || bytes.is_some_and(|bytes| written_bytes - mark.written_bytes >= bytes)
    }

    /// Whether there is to be a mark after another one.
    pub(super) fn is_next(&self, last: &Mark, time_ms: u64, written_bytes: u64) -> bool {
        self.age_ms.is_some_and(|age_ms| time_ms - last.time_ms >= age_ms / MARKS)
            || self.bytes.is_some_and(|bytes| written_bytes - last.written_bytes >= bytes / MARKS)
    }
}

impl Retained {
    /// How much is kept.
    pub(in super::super) fn settings(&self) -> Retention {
        self.settings
    }

    /// The marks, oldest first.
    pub(in super::super) fn marks(&self) -> impl Iterator<Item = &Mark> {
        self.marks.iter()
    }

    /// When something is over, or to be marked, although nothing is written until then.
    pub(in super::super) fn wake_at_ms(&self, revision: Revision) -> Option<u64> {
        let age_ms = self.settings.age_ms?;
        let over = self.marks.front()?.time_ms.saturating_add(age_ms);
        let last = self.marks.back().filter(|last| last.revision < revision);
        let marked = last.map(|last| last.time_ms.saturating_add(age_ms / MARKS));
        Some(marked.map_or(over, |marked| marked.min(over)))
    }
}
