//! A bounded number of changes, for the watches of one stream.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use ruvector_node::state_machine::kv::Revision;

use super::change::Change;
use super::index::WatchIndex;
use super::watcher::Watcher;

/// A batch is full when its changes take this many bytes; the last revision in it is told whole.
const BATCH_BYTES: usize = 128 << 10;
/// How many revisions of history a batch covers at most, so that reading it keeps nobody waiting.
const BATCH_REVISIONS: i64 = 1_000;
/// What it takes to tell one watch of a change, beyond the change, which is shared.
const TOLD_BYTES: usize = 16;

/// What each watch of a stream is to be told.
pub(super) type Told = BTreeMap<i64, Vec<Arc<Change>>>;

/// Sorts changes by the watches of a stream that want them.
pub(super) struct Batch<'a> {
    index: &'a WatchIndex<i64>,
    watchers: &'a BTreeMap<i64, Watcher>,
    told: Told,
}

impl<'a> Batch<'a> {
    pub(super) fn new(index: &'a WatchIndex<i64>, watchers: &'a BTreeMap<i64, Watcher>) -> Self {
        Self { index, watchers, told: Told::new() }
    }

    /// Takes a change in; answers how many bytes the batch grows by.
    pub(super) fn take(&mut self, change: &Arc<Change>) -> usize {
        let mut bytes = 0;
        self.index.find(&change.event().kv.key, |id| {
            if self.watchers[&id].wants(change.event()) {
                self.told.entry(id).or_default().push(Arc::clone(change));
                bytes += TOLD_BYTES;
            }
        });
        if bytes == 0 { 0 } else { bytes + change.bytes() }
    }

    pub(super) fn told(self) -> Told {
        self.told
    }
}

/// The last revision that a batch of history from a revision on may cover.
pub(super) fn batch_end(from: Revision, through: Revision) -> Revision {
    through.min(Revision(from.0.saturating_add(BATCH_REVISIONS - 1)))
}

/// Reads whole revisions through the given one until a batch is full. `take` answers how many bytes a change adds to
/// it. Returns the revision that was read through.
pub(super) fn read_batch<C: Borrow<Arc<Change>>>(
    changes: impl Iterator<Item = C>,
    through: Revision,
    mut take: impl FnMut(&Arc<Change>) -> usize,
) -> Revision {
    let mut bytes = 0;
    let mut revision = None;
    for change in changes {
        let change = change.borrow();
        if bytes >= BATCH_BYTES && revision != Some(change.revision()) {
            return Revision(change.revision().0 - 1);
        }
        revision = Some(change.revision());
        bytes += take(change);
    }
    through
}
