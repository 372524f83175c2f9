//! The changes as events.

use super::command::Revision;
use super::history::Record;
use super::store::Store;
use super::stored::{FIRST_VERSION, StoredVersion, Version};
use super::view::{Event, EventKind};

impl Store {
    /// The changes of revisions `from..=through`, all of which must be there, as events.
    pub(super) fn events(&self, from: Revision, through: Revision) -> impl Iterator<Item = Event> {
        self.history.between(from, through).map(|record| {
            let parts = record.version.parts();
            Event {
                kind: if parts.is_tombstone() { EventKind::Delete } else { EventKind::Put },
                kv: record.version.key_value(),
                prev_kv: self.before(record, &parts).map(StoredVersion::key_value),
            }
        })
    }

    /// What was there just before a change, if its key existed.
    fn before<'store>(
        &'store self,
        record: &'store Record,
        changed: &Version<'_>,
    ) -> Option<&'store StoredVersion> {
        if changed.version == FIRST_VERSION {
            return None;
        }
        let before = match self.history.get(record.previous) {
            Some(before) => Some(&before.version),
            None => self.keys.get(changed.key)?.base(&self.history),
        };
        before.filter(|version| !version.is_tombstone())
    }
}
