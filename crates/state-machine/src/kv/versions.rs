//! The versions of one key.

use std::mem;
use std::sync::Arc;

use imbl::Vector;

use super::command::Revision;
use super::history::{History, Link, partition_point};
use super::stored::StoredVersion;

/// A version with a number that is a multiple of this is a milestone.
const VERSIONS_TO_A_MILESTONE: i64 = 64;

/// The versions of one key: the newest itself, and the way to the others.
///
/// Most reads want the newest and most keys have only that, so it lies in the map's node. The older versions are
/// records of [`History`] anyway, each of which names the key's record before it: a write replaces the newest and does
/// nothing else, where a list for each key would be one more place in memory to wait for, and to keep. So that a key with a
/// million versions can be read at any revision without following a million links, some of its records are
/// milestones, and those are found by binary search.
///
/// Invariants:
/// * the newest version is in history, or is the only one and no tombstone;
/// * following the links from the newest, modification revisions fall strictly;
/// * the version that is older than history, if the key has one beside a newer one, is `base`, and is no tombstone;
/// * of the records of the key in history, `milestones` has those whose version number is a multiple of
///   [`VERSIONS_TO_A_MILESTONE`], tombstones (number 0) included: so at most that many links lie between two.
#[derive(Clone, Debug)]
pub(super) struct Versions {
    newest: StoredVersion,
    /// Of the newest version.
    link: Link,
    older: Option<Arc<Older>>,
}

/// What few keys have.
#[derive(Clone, Debug, Default)]
struct Older {
    base: Option<StoredVersion>,
    /// Oldest first.
    milestones: Vector<Link>,
}

impl Versions {
    /// Of a key whose only version is older than history.
    pub(super) fn of_base(version: StoredVersion) -> Self {
        Self { newest: version, link: Link::NONE, older: None }
    }

    /// Of a key whose only version is this record of history.
    pub(super) fn of_record(version: StoredVersion, number: i64, link: Link) -> Self {
        let mut versions = Self { newest: version, link, older: None };
        versions.mark_milestone(number);
        versions
    }

    /// The last one, which may be a tombstone.
    pub(super) fn newest(&self) -> &StoredVersion {
        &self.newest
    }

    /// The record of the newest one in history, if it is still there.
    pub(super) fn link(&self) -> Link {
        self.link
    }

    /// The version that is older than history, if there is one.
    pub(super) fn base(&self, history: &History) -> Option<&StoredVersion> {
        if history.holds(self.link) { self.older.as_ref()?.base.as_ref() } else { Some(&self.newest) }
    }

    /// What a reader at `point` finds, if the key exists there.
    pub(super) fn at<'store>(
        &'store self,
        point: ReadPoint,
        history: &'store History,
    ) -> Option<&'store StoredVersion> {
        let found = match point {
            ReadPoint::At(revision) if self.newest.mod_revision() > revision => {
                self.older_at(revision, history)
            }
            ReadPoint::At(_) | ReadPoint::Newest => Some(&self.newest),
        };
        found.filter(|version| !version.is_tombstone())
    }

    /// The last version up to a revision that the newest is later than.
    fn older_at<'store>(
        &'store self,
        revision: Revision,
        history: &'store History,
    ) -> Option<&'store StoredVersion> {
        let mut link = self.first_milestone_after(revision, history).unwrap_or(self.link);
        while let Some(record) = history.get(link) {
            if record.version.mod_revision() <= revision {
                return Some(&record.version);
            }
            link = record.previous;
        }
        self.base(history).filter(|base| base.mod_revision() <= revision)
    }

    fn first_milestone_after(&self, revision: Revision, history: &History) -> Option<Link> {
        let milestones = &self.older.as_ref()?.milestones;
        let first = partition_point(milestones, |link| {
            history.get(*link).is_none_or(|record| record.version.mod_revision() <= revision)
        });
        milestones.get(first).copied()
    }

    /// Adds a newer version, which history holds at `link`. Returns the one that was the newest.
    pub(super) fn push(
        &mut self,
        version: StoredVersion,
        number: i64,
        link: Link,
        history: &History,
    ) -> StoredVersion {
        let newest = self.newest.mod_revision();
        assert!(newest < version.mod_revision(), "{version:?} after {newest:?}");
        let replaced = mem::replace(&mut self.newest, version);
        if !history.holds(mem::replace(&mut self.link, link)) {
            self.older_mut().base = Some(replaced.clone());
        }
        self.mark_milestone(number);
        replaced
    }

    /// The newest version has this number.
    fn mark_milestone(&mut self, number: i64) {
        if number % VERSIONS_TO_A_MILESTONE == 0 {
            let link = self.link;
            self.older_mut().milestones.push_back(link);
        }
    }

    /// Whether [`forget`](Self::forget) would change nothing.
    pub(super) fn stays_when_forgotten(&self, link: Link) -> bool {
        self.link == link && self.older.is_none()
    }

    /// The key's oldest record in history was taken out of there. It becomes the base, unless it is a tombstone or
    /// still the newest. Returns what was the base until then, which nobody can reach any more.
    pub(super) fn forget(&mut self, link: Link, version: &StoredVersion) -> Option<StoredVersion> {
        let becomes_base = link != self.link && !version.is_tombstone();
        let older = self.older_mut();
        if older.milestones.front() == Some(&link) {
            older.milestones.pop_front();
        }
        let forgotten = mem::replace(&mut older.base, becomes_base.then(|| version.clone()));
        self.drop_older_if_empty();
        forgotten
    }

    /// Takes out the version that is older than history, beside a newer one.
    pub(super) fn forget_base(&mut self) -> Option<StoredVersion> {
        self.older.as_ref()?;
        let forgotten = self.older_mut().base.take();
        self.drop_older_if_empty();
        forgotten
    }

    fn drop_older_if_empty(&mut self) {
        if self.older.as_ref().is_some_and(|older| older.base.is_none() && older.milestones.is_empty()) {
            self.older = None;
        }
    }

    fn older_mut(&mut self) -> &mut Older {
        Arc::make_mut(self.older.get_or_insert_default())
    }
}

/// At which point of history a read looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadPoint {
    /// After everything applied, in a transaction also after its own changes so far.
    Newest,
    /// After this revision.
    At(Revision),
}

#[cfg(test)]
mod tests;
