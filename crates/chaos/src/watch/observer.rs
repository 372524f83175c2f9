//! The judge of one watch.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision that made it.
    pub revision: i64,
    /// Of what.
    pub key: String,
    /// What the key then held; `None` if it was deleted.
    pub value: Option<String>,
}

/// Everything that one watch reported, and what was wrong with it. Responses must come in the order of revisions, no
/// revision may be split or repeated, and nothing may come at or below a revision that a notice of progress has
/// declared complete.
#[derive(Clone, Debug)]
pub struct Observer {
    name: String,
    changes: Vec<Change>,
    /// Everything up to here was said to be reported.
    progress: i64,
    /// How often the watch began anew behind what it had.
    pub resumptions: u64,
    /// How often a notice of progress came.
    pub notices: u64,
    violations: Vec<String>,
}

impl Observer {
    /// One that has seen nothing. The name is for messages.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let name = name.to_owned();
        Self { name, changes: Vec::new(), progress: 0, resumptions: 0, notices: 0, violations: Vec::new() }
    }

    /// A response with changes.
    pub fn observe(&mut self, changes: Vec<Change>) {
        let (reported, progress) = (self.last_revision(), self.progress);
        let mut previous = reported;
        for change in &changes {
            if change.revision <= reported {
                self.violate(format!("{change:?} after revision {reported} was reported"));
            } else if change.revision <= progress {
                self.violate(format!("{change:?} after {progress} was said to be complete"));
            } else if change.revision < previous {
                self.violate(format!("{change:?} behind revision {previous} in the same response"));
            }
            previous = change.revision;
        }
        let same = |one: &Change, other: &Change| one.revision == other.revision && one.key == other.key;
        if let Some(pair) = changes.windows(2).find(|pair| same(&pair[0], &pair[1])) {
            self.violate(format!("{:?} came twice", pair[0]));
        }
        self.changes.extend(changes);
    }

    /// A notice that everything up to a revision was reported.
    pub fn observe_progress(&mut self, revision: i64) {
        self.notices += 1;
        if revision < self.last_revision() {
            let last = self.last_revision();
            self.violate(format!("progress {revision} was told after revision {last} was reported"));
        }
        self.progress = self.progress.max(revision);
    }

    /// Something else that must not happen.
    pub fn violate(&mut self, what: String) {
        self.violations.push(format!("watch: {}: {what}", self.name));
    }

    /// The revision of the last change.
    #[must_use]
    pub fn last_revision(&self) -> i64 {
        self.changes.last().map_or(0, |change| change.revision)
    }

    /// Where to go on when the stream broke.
    #[must_use]
    pub fn next_revision(&self) -> i64 {
        self.last_revision().max(self.progress) + 1
    }

    /// It must have come as far as this.
    pub fn require(&mut self, revision: i64) {
        if self.last_revision() < revision {
            let last = self.last_revision();
            self.violate(format!("it has stopped at revision {last}, before {revision}"));
        }
    }

    /// Everything in the order in which it came.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// What was wrong.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }
}

/// All watches must have seen the same, up to a revision. Gives where they first differ from the first.
#[must_use]
pub fn compare(observers: &[Observer], up_to: i64) -> Vec<String> {
    let seen = |observer: &Observer| -> Vec<Change> {
        observer.changes.iter().filter(|change| change.revision <= up_to).cloned().collect()
    };
    let Some((first, others)) = observers.split_first() else { return Vec::new() };
    let expected = seen(first);
    let mut differences = Vec::new();
    for other in others {
        let found = seen(other);
        if found == expected {
            continue;
        }
        let at = expected.iter().zip(&found).take_while(|(expected, found)| expected == found).count();
        differences.push(format!(
            "watch: {} saw {:?} where {} saw {:?}",
            other.name,
            found.get(at),
            first.name,
            expected.get(at)
        ));
    }
    differences
}

/// Held only to add or to look; whoever panicked with it did not leave it half changed.
pub(super) fn lock(observer: &Mutex<Observer>) -> MutexGuard<'_, Observer> {
    observer.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: i64) -> Change {
        Change { revision, key: format!("key-{revision}"), value: Some("value".to_owned()) }
    }

    fn observer(responses: &[&[i64]]) -> Observer {
        let mut observer = Observer::new("watch");
        for response in responses {
            observer.observe(response.iter().map(|revision| change(*revision)).collect());
        }
        observer
    }

    #[test]
    fn what_comes_in_order_passes() {
        let mut observer = observer(&[&[2], &[3, 5]]);
        observer.observe_progress(5);
        observer.observe(vec![change(6)]);
        observer.require(6);
        assert!(observer.violations().is_empty(), "{observer:?}");
        assert_eq!(observer.next_revision(), 7);
    }

    #[test]
    fn a_repeated_change_is_a_violation() {
        assert_eq!(observer(&[&[2, 3], &[3]]).violations().len(), 1);
        assert_eq!(observer(&[&[2, 2]]).violations().len(), 1);
    }

    #[test]
    fn a_change_out_of_order_is_a_violation() {
        assert_eq!(observer(&[&[2, 4], &[3]]).violations().len(), 1);
        assert_eq!(observer(&[&[2, 4, 3]]).violations().len(), 1);
    }

    #[test]
    fn a_revision_that_is_split_is_a_violation() {
        let mut observer = observer(&[&[2]]);
        observer.observe(vec![Change { key: "another".to_owned(), ..change(2) }]);
        assert_eq!(observer.violations().len(), 1);
    }

    #[test]
    fn a_missing_change_is_a_violation() {
        let whole = observer(&[&[2, 3, 4]]);
        assert!(compare(&[whole.clone(), observer(&[&[2, 3], &[4, 5]])], 4).is_empty());
        for partial in [&[2, 4][..], &[3, 4], &[2, 3]] {
            let differences = compare(&[whole.clone(), observer(&[partial])], 4);
            assert_eq!(differences.len(), 1, "{partial:?}");
        }
        let mut late = observer(&[&[2, 3]]);
        late.require(4);
        assert_eq!(late.violations().len(), 1);
    }

    #[test]
    fn progress_ahead_of_a_change_is_a_violation() {
        let mut observer = observer(&[&[2]]);
        observer.observe_progress(3);
        observer.observe(vec![change(3)]);
        assert_eq!(observer.violations().len(), 1);
    }

    #[test]
    fn progress_below_what_was_reported_is_a_violation() {
        let mut observer = observer(&[&[2, 3]]);
        observer.observe_progress(2);
        assert_eq!(observer.violations().len(), 1);
    }
}
