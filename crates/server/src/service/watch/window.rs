//! The latest changes that concern a watch, for all streams that are about to tell them.

use std::collections::VecDeque;
use std::sync::Arc;

use ruvector_node::state_machine::kv::{Event, Revision};

use super::change::Change;

/// What the changes in a window may take together, in bytes. Encoded, in both forms, they take up to twice as
/// much again.
const WINDOW_BYTES: usize = 1 << 20;

/// The latest changes that concern a watch. Streams that keep up share them; who falls behind reads the store's
/// history.
///
/// Invariants: every change at or above `first` that concerned a watch is here, oldest first; `bytes` is what
/// they take.
#[derive(Debug)]
pub(super) struct Window {
    first: Revision,
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
}

impl Window {
    /// A window that begins with this revision, of which nothing was read.
    pub(super) fn starting_at(first: Revision) -> Self {
        Self { first, changes: VecDeque::new(), bytes: 0 }
    }

    /// Adds the latest change and forgets the oldest ones that are too much.
    pub(super) fn push(&mut self, event: Event) {
        let change = Change::new(event);
        self.bytes += change.bytes();
        self.changes.push_back(Arc::new(change));
        while self.bytes > WINDOW_BYTES {
            let oldest = self.changes.pop_front().expect("nothing takes no bytes");
            self.bytes -= oldest.bytes();
            // Others of its revision may be left, but not all of them.
            self.first = Revision(oldest.revision().0 + 1);
        }
    }

    /// The changes of these revisions that concerned a watch; `None` if some may be forgotten.
    pub(super) fn between(
        &self,
        from: Revision,
        through: Revision,
    ) -> Option<impl Iterator<Item = &Arc<Change>>> {
        (from >= self.first).then(|| {
            let start = self.changes.partition_point(|change| change.revision() < from);
            self.changes.range(start..).take_while(move |change| change.revision() <= through)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ruvector_node::state_machine::kv::{EventKind, KeyValue};

    use super::*;

    fn event(revision: i64, value_bytes: usize) -> Event {
        let kv = KeyValue {
            key: "a".into(),
            value: vec![0; value_bytes].into(),
            create_revision: Revision(revision),
            mod_revision: Revision(revision),
            version: 1,
            lease: None,
        };
        Event { kind: EventKind::Put, kv: Arc::new(kv), prev_kv: None }
    }

    fn between(window: &Window, from: i64, through: i64) -> Option<Vec<i64>> {
        let changes = window.between(Revision(from), Revision(through))?;
        Some(changes.map(|change| change.revision().0).collect())
    }

    #[test]
    fn gives_exactly_the_revisions_asked_for() {
        let mut window = Window::starting_at(Revision(3));
        [3, 4, 4, 7].into_iter().for_each(|revision| window.push(event(revision, 1)));
        assert_eq!(between(&window, 2, 9), None, "2 may have had changes");
        assert_eq!(between(&window, 3, 9), Some(vec![3, 4, 4, 7]));
        assert_eq!(between(&window, 4, 6), Some(vec![4, 4]));
        assert_eq!(between(&window, 5, 6), Some(vec![]));
        assert_eq!(between(&window, 8, 9), Some(vec![]));
    }

    #[test]
    fn a_revision_that_is_forgotten_in_part_is_not_given() {
        let mut window = Window::starting_at(Revision(1));
        [1, 2, 2, 2].into_iter().for_each(|revision| window.push(event(revision, WINDOW_BYTES / 3)));
        assert_eq!(window.changes.len(), 2);
        assert_eq!(between(&window, 2, 2), None);
        assert_eq!(between(&window, 3, 3), Some(vec![]));
        window.push(event(3, 1));
        assert_eq!(between(&window, 3, 3), Some(vec![3]));
    }

    #[test]
    fn is_bounded_even_for_one_large_change() {
        let mut window = Window::starting_at(Revision(1));
        window.push(event(1, 2 * WINDOW_BYTES));
        assert_eq!((window.changes.len(), window.bytes), (0, 0));
        assert_eq!(between(&window, 1, 1), None);
    }
}
