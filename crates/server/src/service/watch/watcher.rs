//! One watch of a stream.

use bytes::Bytes;
use ruvector_node::state_machine::kv::{Event, EventKind, Revision};

use super::range::WatchRange;

/// A watch that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NewWatch {
    /// Its number in the stream; the next free one if there is none.
    pub(crate) id: Option<i64>,
    pub(crate) key: Bytes,
    /// As of a range.
    pub(crate) range_end: Bytes,
    /// It is told changes from this revision on, or those to come.
    pub(crate) start: Option<Revision>,
    pub(crate) form: WatchForm,
    /// It is told now and then how far it is when nothing happens.
    pub(crate) progress_notify: bool,
}

/// What a watch wants of the changes in its range, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WatchForm {
    /// No puts.
    pub(crate) no_put: bool,
    /// No deletions.
    pub(crate) no_delete: bool,
    /// With what was there before.
    pub(crate) with_previous: bool,
    /// In several pieces where they are too large for one.
    pub(crate) fragment: bool,
}

/// One watch of a stream.
pub(crate) struct Watcher {
    pub(crate) range: WatchRange,
    /// Changes before this revision are not for it, or were told already.
    pub(crate) next: Revision,
    /// Whether the hub marks the stream for it; otherwise it catches up.
    pub(super) joined: bool,
    /// Told now and then how far it is when nothing happens.
    pub(super) progress_notify: bool,
    /// Told something since the last time that idle watches were looked for.
    pub(super) told: bool,
    pub(crate) form: WatchForm,
}

impl Watcher {
    /// A watch as it is asked for, when the store is at a revision; `None` if no key can be in its range.
    pub(crate) fn new(asked: NewWatch, current: Revision) -> Option<Self> {
        let NewWatch { id: _, key, range_end, start, form, progress_notify } = asked;
        Some(Self {
            range: WatchRange::new(key, range_end)?,
            next: start.unwrap_or(Revision(current.0 + 1)),
            joined: false,
            progress_notify,
            told: true,
            form,
        })
    }

    /// Whether an event in its range is for it.
    pub(crate) fn wants(&self, event: &Event) -> bool {
        let filtered = match event.kind {
            EventKind::Put => self.form.no_put,
            EventKind::Delete => self.form.no_delete,
        };
        event.kv.mod_revision >= self.next && !filtered
    }
}
