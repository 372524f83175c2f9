//! The state: keys with their versions, the history of changes, leases and counters.

use std::ops::Bound;

use bytes::Bytes;
use imbl::OrdMap;

use super::command::{DeleteRequest, DeleteResponse, KeyRange, LeaseId, PutRequest, PutResponse, Revision};
use super::compaction::owed::Owed;
use super::hash::{ContentHash, Counters, RecordHash};
use super::history::{History, Link, Popped, Record};
use super::key::Key;
use super::lease::table::Leases;
use super::limits::StoreLimits;
use super::planted::{Planted, PlantedBug};
use super::retention::marks::Retained;
use super::session::table::Sessions;
use super::stored::{FIRST_VERSION, StoredVersion, TOMBSTONE, Version};
use super::versions::{ReadPoint, Versions};

/// What a stored version costs beside its key and value, in bytes: for [`Store::size_bytes`] only.
const VERSION_OVERHEAD_BYTES: u64 = 128;

/// The whole state as a value: a clone shares everything and costs O(1).
///
/// Invariants:
/// * every change since the last physical compaction is in `history` and, the same allocation, in `keys`;
/// * a key has at most one version older than the start of `history`, and that is no tombstone;
/// * a key's newest version names a lease exactly if that lease lists the key;
/// * `contents` is the sum of the hashes of all versions, history records, leases, sessions, remembered answers and marks of retention;
/// * all else that decides anything later is among [`Counters`], or follows from what is hashed.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) keys: OrdMap<Key, Versions>,
    pub(super) history: History,
    pub(super) leases: Leases,
    pub(super) sessions: Sessions,
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    /// All that a compaction to this revision makes unreachable is taken out.
    pub(super) forgotten: Revision,
    /// Of so many changes of the compacted revision, which stay themselves, that which was before them is taken out.
    pub(super) stripped: u64,
    pub(super) owed: Owed,
    pub(super) retained: Retained,
    pub(super) time_ms: u64,
    pub(super) limits: StoreLimits,
    live_keys: usize,
    size_bytes: u64,
    contents: ContentHash,
    /// The mistake that it is to make.
    pub(super) planted: Planted,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            keys: OrdMap::new(),
            history: History::default(),
            leases: Leases::default(),
            sessions: Sessions::default(),
            revision: Revision(1),
            compacted: Revision(0),
            forgotten: Revision(0),
            stripped: 0,
            owed: Owed::default(),
            retained: Retained::default(),
            time_ms: 0,
            limits: StoreLimits::default(),
            live_keys: 0,
            size_bytes: 0,
            contents: ContentHash::default(),
            planted: Planted::default(),
        }
    }
}

impl Store {
    /// Goes on with the mistake of before a restore.
    pub(super) fn plant(&mut self, planted: Planted) {
        self.planted = planted;
        if planted.is(PlantedBug::HistoryLostByRestore) {
            self.history = History::starting_at(self.history.next_sequence(), self.history.written_bytes());
        }
        if planted.is(PlantedBug::AgeLostByRestore) {
            self.drop_all_marks();
        }
        if planted.is(PlantedBug::SessionUseForgotten) {
            self.use_all_sessions();
        }
    }

    /// How many keys exist.
    pub(super) fn live_keys(&self) -> usize {
        self.live_keys
    }

    /// About how many bytes all versions take.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The hash of everything in here.
    pub(super) fn state_hash(&self) -> u128 {
        // Every field is named, so that one more is thought of here.
        let Self {
            // Their records are in the contents.
            keys: _,
            leases: _,
            history,
            sessions,
            retained,
            contents,
            revision,
            compacted,
            stripped,
            owed,
            time_ms,
            // They follow from the records, or are told to all replicas alike.
            forgotten: _,
            live_keys: _,
            size_bytes: _,
            limits: _,
            planted: _,
        } = self;
        contents.with(RecordHash::of_counters(&Counters {
            revision: *revision,
            compacted: *compacted,
            owed: *owed,
            time_ms: *time_ms,
            history_first_sequence: history.first_sequence(),
            stripped: *stripped,
            history_written_bytes: history.written_bytes(),
            sessions_opened: sessions.opened(),
            retention: retained.settings(),
        }))
    }

    /// Something that the hash of the contents counts has come.
    pub(super) fn record_came(&mut self, record: RecordHash) {
        self.contents.add(record);
    }

    /// Something that the hash of the contents counts has gone.
    pub(super) fn record_went(&mut self, record: RecordHash) {
        self.contents.remove(record);
    }

    /// All records of a sum have gone.
    pub(super) fn records_went(&mut self, records: ContentHash) {
        self.contents.remove_all(records);
    }

    /// The present version of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&StoredVersion> {
        self.keys.get(key)?.at(ReadPoint::Newest, &self.history)
    }

    /// The keys of a range that exist at `point`, ascending.
    pub(super) fn visible<'store>(
        &'store self,
        range: &'store KeyRange,
        point: ReadPoint,
    ) -> impl Iterator<Item = &'store StoredVersion> {
        let (single, interval) = match range.bounds() {
            RangeBounds::Single(key) => (self.keys.get(key), None),
            RangeBounds::Interval(bounds) => (None, Some(self.keys.range::<_, [u8]>(bounds))),
            RangeBounds::Empty => (None, None),
        };
        let interval = interval.into_iter().flatten().map(|(_, versions)| versions);
        single.into_iter().chain(interval).filter_map(move |versions| versions.at(point, &self.history))
    }

    /// Runs a change at the next revision, which becomes the present one if the change changed a key.
    pub(super) fn change<Answer>(&mut self, change: impl FnOnce(&mut Self, Revision) -> Answer) -> Answer {
        let next = Revision(self.revision.0 + 1);
        let sequence_before = self.history.next_sequence();
        let answer = change(self, next);
        if self.history.next_sequence() != sequence_before {
            self.revision = next;
        }
        answer
    }

    /// Writes a key at a revision. The request must have been checked against this state: its lease exists,
    /// and so does the key if the old value or lease is to stay.
    pub(super) fn put(&mut self, at: Revision, request: &PutRequest) -> PutResponse {
        let previous = self.append(&request.key, |before| {
            let kept_value = before.filter(|_| request.ignore_value).map(|before| before.value);
            let lease = match before {
                Some(before) if request.ignore_lease => before.lease,
                Some(_) | None => request.lease.filter(|lease| *lease != LeaseId(0)),
            };
            let version = Version {
                key: &request.key,
                value: kept_value.unwrap_or(&request.value),
                create_revision: before.map_or(at, |before| before.create_revision),
                mod_revision: at,
                version: before.map_or(FIRST_VERSION, |before| before.version + 1),
                lease,
            };
            version.into()
        });
        let answered = previous.as_ref().filter(|_| request.prev_kv);
        PutResponse { prev_kv: answered.map(StoredVersion::key_value) }
    }

    /// Deletes the existing keys of a range at a revision.
    pub(super) fn delete(&mut self, at: Revision, request: &DeleteRequest) -> DeleteResponse {
        let doomed: Vec<_> = self.visible(&request.range, ReadPoint::Newest).cloned().collect();
        for version in &doomed {
            self.bury(at, version);
        }
        DeleteResponse {
            deleted: i64::try_from(doomed.len()).expect("memory holds fewer than 2^63 keys"),
            prev_kvs: doomed.iter().filter(|_| request.prev_kv).map(StoredVersion::key_value).collect(),
        }
    }

    /// Ends the existence of a key at a revision.
    pub(super) fn bury(&mut self, at: Revision, version: &StoredVersion) {
        let key = version.parts().key;
        self.append(key, |_| Version::tombstone(key, at).into());
    }

    /// Adds a version as the latest change of all, and returns the one before it if the key existed. `make` makes it from that
    /// one. The key is searched for once: most of what a write takes is waiting for the memory on the way to it.
    pub(super) fn append(
        &mut self,
        key: &[u8],
        make: impl FnOnce(Option<&Version<'_>>) -> StoredVersion,
    ) -> Option<StoredVersion> {
        let slot = self.keys.get_mut(key);
        let before = slot.as_deref().map(|versions| versions.newest().parts());
        let before = before.filter(|before| !before.is_tombstone());
        let version = make(before.as_ref());
        let existed = before.is_some();
        let parts = version.parts();
        self.leases.move_key(key, before.and_then(|before| before.lease), parts.lease);
        self.contents.add(RecordHash::of_history(self.history.next_sequence(), &parts));
        self.contents.add(RecordHash::of_version(&parts));
        let bytes = version_bytes(&parts);
        self.size_bytes += bytes;
        self.live_keys -= usize::from(existed);
        self.live_keys += usize::from(!parts.is_tombstone());
        let link = self.history.next_link();
        let (previous, replaced) = match slot {
            Some(versions) => {
                let previous = versions.link();
                (previous, Some(versions.push(version.clone(), parts.version, link, &self.history)))
            }
            None => {
                let versions = Versions::of_record(version.clone(), parts.version, link);
                self.keys.insert(Key::from(key), versions);
                (Link::NONE, None)
            }
        };
        self.history.push(Record { version, previous }, bytes);
        replaced.filter(|_| existed)
    }

    /// Adds the version of a key that the start of history rests on, while a store is rebuilt. Refuses it, after which
    /// the store is of no use, if the key has a version.
    pub(super) fn insert_base(&mut self, key: Key, version: StoredVersion) -> Result<(), OutOfOrder> {
        self.live_keys += 1;
        match self.keys.insert(key, Versions::of_base(version)) {
            None => Ok(()),
            Some(_) => Err(OutOfOrder),
        }
    }

    /// Adds a version as the latest change of all, while a store is rebuilt. Refuses it, after which the store is of no
    /// use, if it is not newer than those that the key has.
    ///
    /// Most keys are new then, so that the map is searched only once for them.
    pub(super) fn insert_change(
        &mut self,
        key: Key,
        version: StoredVersion,
        number: i64,
    ) -> Result<(), OutOfOrder> {
        let link = self.history.next_link();
        let replaced = self.keys.insert(key.clone(), Versions::of_record(version.clone(), number, link));
        let previous = replaced.as_ref().map_or(Link::NONE, Versions::link);
        self.history.push_again(Record { version: version.clone(), previous });
        self.live_keys += usize::from(number != TOMBSTONE);
        let Some(mut versions) = replaced else { return Ok(()) };
        let newest = versions.newest();
        if newest.mod_revision() >= version.mod_revision() {
            return Err(OutOfOrder);
        }
        self.live_keys -= usize::from(!newest.is_tombstone());
        let _ = versions.push(version, number, link, &self.history);
        self.keys.insert(key, versions);
        Ok(())
    }

    /// Counts versions that are inserted while a store is rebuilt.
    pub(super) fn account_for_all(&mut self, tally: Tally) {
        self.contents.add_all(tally.contents);
        self.size_bytes += tally.size_bytes;
    }

    /// Takes the oldest record out of history, with all that it makes unreachable: the version before it,
    /// and itself if it is a deletion.
    pub(super) fn forget_oldest_change(&mut self) {
        let Some(Popped { version, sequence, link }) = self.history.pop() else { return };
        let parts = version.parts();
        self.contents.remove(RecordHash::of_history(sequence, &parts));
        if parts.is_tombstone() {
            self.no_longer_account_for(&parts);
        }
        let versions = self.keys.get(parts.key).expect("every key of history has versions");
        let is_gone = parts.is_tombstone() && versions.link() == link;
        // Memory that was not looked at for long: nothing is that need not be.
        if !versions.stays_when_forgotten(link) {
            let versions = self.keys.get_mut(parts.key).expect("it was there a moment ago");
            if let Some(forgotten) = versions.forget(link, &version) {
                self.no_longer_account_for(&forgotten.parts());
            }
        }
        if is_gone {
            self.keys.remove(parts.key);
        }
    }

    /// Takes out what was before the `stripped`-th change of the compacted revision; false if it has fewer. Only for when no
    /// earlier revision is left in history.
    pub(super) fn strip_compacted_change(&mut self) -> bool {
        let Some(change) = usize::try_from(self.stripped).ok().and_then(|index| self.history.nth(index))
        else {
            return false;
        };
        if change.mod_revision() != self.compacted {
            return false;
        }
        let key = Key::from(change.parts().key);
        self.stripped += 1;
        let versions = self.keys.get(&key).expect("every key of history has versions");
        // As in `forget_oldest_change`: most memory is only looked at.
        if versions.base(&self.history).is_some() {
            let versions = self.keys.get_mut(&key).expect("it was there a moment ago");
            if let Some(forgotten) = versions.forget_base() {
                self.no_longer_account_for(&forgotten.parts());
            }
        }
        true
    }

    fn no_longer_account_for(&mut self, version: &Version<'_>) {
        self.contents.remove(RecordHash::of_version(version));
        self.size_bytes -= version_bytes(version);
    }

    /// Adds a lease; its id must be free.
    pub(super) fn insert_lease(&mut self, id: LeaseId, granted_ttl_seconds: i64, expires_at_ms: u64) {
        self.leases.insert(id, granted_ttl_seconds, expires_at_ms);
        self.contents.add(RecordHash::of_lease(id, granted_ttl_seconds, expires_at_ms));
    }

    /// Gives a lease a new deadline, in milliseconds of cluster time; it must exist.
    pub(super) fn set_lease_deadline(&mut self, id: LeaseId, expires_at_ms: u64) {
        let (granted_ttl_seconds, old) = self.leases.set_deadline(id, expires_at_ms);
        self.contents.remove(RecordHash::of_lease(id, granted_ttl_seconds, old));
        self.contents.add(RecordHash::of_lease(id, granted_ttl_seconds, expires_at_ms));
    }

    /// Ends a lease, if it exists, and deletes its keys in one revision, ascending.
    pub(super) fn end_lease(&mut self, id: LeaseId) -> Option<()> {
        let lease = self.leases.remove(id)?;
        self.contents.remove(RecordHash::of_lease(id, lease.granted_ttl_seconds, lease.expires_at_ms));
        if self.planted.is(PlantedBug::KeysOutliveLease) {
            return Some(());
        }
        self.bury_all(&lease.keys);
        Some(())
    }

    /// Deletes so many keys of a lease in one revision, the first ones; the others stay its keys.
    pub(super) fn end_keys_of_lease(&mut self, id: LeaseId, count: usize) {
        let Some(lease) = self.leases.get(id) else { return };
        let keys: Vec<_> = lease.keys.iter().take(count).cloned().collect();
        self.bury_all(&keys);
    }

    /// Deletes keys that exist, in one revision.
    fn bury_all<'keys>(&mut self, keys: impl IntoIterator<Item = &'keys Bytes>) {
        self.change(|store, at| {
            for key in keys {
                let version = store.get(key).expect("a key of a lease exists").clone();
                store.bury(at, &version);
            }
        });
    }
}

/// A key's versions come in another order than they were made in.
#[derive(Debug)]
pub(super) struct OutOfOrder;

/// What versions that are not in a store yet will add to its hash and its size.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    contents: ContentHash,
    size_bytes: u64,
}

impl Tally {
    /// A version of a key.
    pub(super) fn add_version(&mut self, version: &Version<'_>) {
        self.contents.add(RecordHash::of_version(version));
        self.size_bytes += version_bytes(version);
    }

    /// A version's place in history.
    pub(super) fn add_change(&mut self, sequence: u64, version: &Version<'_>) {
        self.contents.add(RecordHash::of_history(sequence, version));
    }
}

/// About how many bytes a version takes.
pub(super) fn version_bytes(version: &Version<'_>) -> u64 {
    (version.key.len() + version.value.len()) as u64 + VERSION_OVERHEAD_BYTES
}

/// A [`KeyRange`] as a map understands it.
pub(super) enum RangeBounds<'range> {
    /// One key.
    Single(&'range [u8]),
    /// All keys between.
    Interval((Bound<&'range [u8]>, Bound<&'range [u8]>)),
    /// No key: the end is not after the start.
    Empty,
}

impl KeyRange {
    /// Reads etcd's conventions for `range_end`.
    pub(super) fn bounds(&self) -> RangeBounds<'_> {
        let start = Bound::Included(&self.key[..]);
        match &self.range_end[..] {
            [] => RangeBounds::Single(&self.key),
            [0] => RangeBounds::Interval((start, Bound::Unbounded)),
            end if end <= &self.key[..] => RangeBounds::Empty,
            end => RangeBounds::Interval((start, Bound::Excluded(end))),
        }
    }
}
