//! The versions of one key.

use std::sync::Arc;

use imbl::Vector;

use super::command::Revision;
use super::stored::StoredVersion;

/// The stored versions of one key, oldest first, tombstones included; never empty.
///
/// Most keys have one, so one costs no allocation of its own. More are in a persistent vector, so that
/// a key with a million versions still gets the next in O(log n) while readers hold older states.
///
/// Invariant: modification revisions rise strictly.
#[derive(Clone, Debug)]
pub(super) enum Versions {
    /// The only one.
    One(StoredVersion),
    /// At least one.
    Many(Arc<Vector<StoredVersion>>),
}

impl Versions {
    /// The last one, which may be a tombstone.
    pub(super) fn newest(&self) -> &StoredVersion {
        match self {
            Self::One(version) => version,
            Self::Many(versions) => versions.last().expect("a key has at least one version"),
        }
    }

    /// The first one, which may be a tombstone.
    pub(super) fn oldest(&self) -> &StoredVersion {
        match self {
            Self::One(version) => version,
            Self::Many(versions) => versions.front().expect("a key has at least one version"),
        }
    }

    /// What a reader at `point` finds, if the key exists there.
    pub(super) fn at(&self, point: ReadPoint) -> Option<&StoredVersion> {
        let found = match point {
            ReadPoint::Newest => Some(self.newest()),
            ReadPoint::At(revision) => self.newest_where(|mod_revision| mod_revision <= revision),
        };
        found.filter(|version| !version.is_tombstone())
    }

    /// What was there just before `revision`, if the key existed.
    pub(super) fn before(&self, revision: Revision) -> Option<&StoredVersion> {
        self.newest_where(|mod_revision| mod_revision < revision).filter(|version| !version.is_tombstone())
    }

    fn newest_where(&self, visible: impl Fn(Revision) -> bool) -> Option<&StoredVersion> {
        match self {
            Self::One(version) => visible(version.mod_revision()).then_some(version),
            Self::Many(versions) => {
                let end = partition_point(versions, visible);
                end.checked_sub(1).and_then(|index| versions.get(index))
            }
        }
    }

    /// Adds a newer version.
    pub(super) fn push(&mut self, version: StoredVersion) {
        let newest = self.newest().mod_revision();
        assert!(newest < version.mod_revision(), "{version:?} after {newest:?}");
        match self {
            Self::One(only) => *self = Self::Many(Arc::new([only.clone(), version].into_iter().collect())),
            Self::Many(versions) => Arc::make_mut(versions).push_back(version),
        }
    }

    /// Takes the oldest version out, unless it is the only one.
    pub(super) fn pop_oldest(&mut self) -> Option<StoredVersion> {
        let Self::Many(shared) = self else { return None };
        if shared.len() < 2 {
            return None;
        }
        let versions = Arc::make_mut(shared);
        let oldest = versions.pop_front();
        if versions.len() == 1 {
            *self = Self::One(self.newest().clone());
        }
        oldest
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

/// The index of the first element of a vector of versions by rising revision that is not on the left side.
pub(super) fn partition_point(vector: &Vector<StoredVersion>, is_left: impl Fn(Revision) -> bool) -> usize {
    let (mut low, mut high) = (0, vector.len());
    while low < high {
        let middle = low.midpoint(high);
        if is_left(vector[middle].mod_revision()) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
