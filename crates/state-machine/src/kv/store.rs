//! The state: keys with their versions, the history of changes, leases and counters.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use super::command::{
    DeleteRequest, DeleteResponse, KeyRange, KeyValue, LeaseId, PutRequest, PutResponse, Revision,
};
use super::hash::{ContentHash, RecordHash};
use super::history::History;
use super::key::Key;
use super::lease::Leases;
use super::session::Sessions;
use super::versions::{ReadPoint, Versions, is_tombstone};

/// What a stored version costs beside its key and value, in bytes: for [`Store::size_bytes`] only.
const VERSION_OVERHEAD_BYTES: u64 = 128;

/// The whole state as a value: a clone shares everything and costs O(1).
///
/// Invariants:
/// * every change since the last physical compaction is in `history` and, the same allocation, in `keys`;
/// * a key has at most one version older than the start of `history`, and that is no tombstone;
/// * a key's newest version names a lease exactly if that lease lists the key;
/// * `contents` is the sum of the hashes of all versions, history records, leases, sessions and remembered answers.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) keys: OrdMap<Key, Versions>,
    pub(super) history: History,
    pub(super) leases: Leases,
    pub(super) sessions: Sessions,
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    pub(super) time_ms: u64,
    live_keys: usize,
    size_bytes: u64,
    contents: ContentHash,
    /// The mistake that it is to make.
    #[cfg(feature = "planted-bugs")]
    pub(super) planted_bug: Option<ruvector_protocol::PlantedBug>,
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
            time_ms: 0,
            live_keys: 0,
            size_bytes: 0,
            contents: ContentHash::default(),
            #[cfg(feature = "planted-bugs")]
            planted_bug: None,
        }
    }
}

impl Store {
    /// Goes on with the mistake of before a restore.
    #[cfg(feature = "planted-bugs")]
    pub(super) fn plant(&mut self, bug: Option<ruvector_protocol::PlantedBug>) {
        self.planted_bug = bug;
        if bug == Some(ruvector_protocol::PlantedBug::HistoryLostByRestore) {
            self.history = History::starting_at(self.history.next_sequence());
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
        self.contents.with(RecordHash::of_counters(
            self.revision,
            self.compacted,
            self.time_ms,
            self.history.first_sequence(),
            self.sessions.opened(),
        ))
    }

    /// Something that the hash of the contents counts has come.
    pub(super) fn record_came(&mut self, record: RecordHash) {
        self.contents.add(record);
    }

    /// Something that the hash of the contents counts has gone.
    pub(super) fn record_went(&mut self, record: RecordHash) {
        self.contents.remove(record);
    }

    /// The present version of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Arc<KeyValue>> {
        self.keys.get(key)?.at(ReadPoint::Newest)
    }

    /// The keys of a range that exist at `point`, ascending.
    pub(super) fn visible<'store>(
        &'store self,
        range: &'store KeyRange,
        point: ReadPoint,
    ) -> impl Iterator<Item = &'store Arc<KeyValue>> {
        let (single, interval) = match range.bounds() {
            RangeBounds::Single(key) => (self.keys.get(key), None),
            RangeBounds::Interval(bounds) => (None, Some(self.keys.range::<_, [u8]>(bounds))),
            RangeBounds::Empty => (None, None),
        };
        let interval = interval.into_iter().flatten().map(|(_, versions)| versions);
        single.into_iter().chain(interval).filter_map(move |versions| versions.at(point))
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
    pub(super) fn put(&mut self, at: Revision, request: PutRequest) -> PutResponse {
        let newest = self.keys.get(&request.key[..]).map(Versions::newest);
        let previous = newest.filter(|newest| !is_tombstone(newest)).cloned();
        let (value, lease) = match &previous {
            Some(previous) => (
                if request.ignore_value { previous.value.clone() } else { request.value },
                if request.ignore_lease { previous.lease } else { request.lease },
            ),
            None => (request.value, request.lease),
        };
        let kv = Arc::new(KeyValue {
            key: request.key,
            value,
            create_revision: previous.as_ref().map_or(at, |previous| previous.create_revision),
            mod_revision: at,
            version: previous.as_ref().map_or(1, |previous| previous.version + 1),
            lease: lease.filter(|lease| *lease != LeaseId(0)),
        });
        self.move_between_leases(&kv.key, previous.as_ref().and_then(|previous| previous.lease), kv.lease);
        self.append(kv);
        PutResponse { prev_kv: previous.filter(|_| request.prev_kv) }
    }

    /// Deletes the existing keys of a range at a revision.
    pub(super) fn delete(&mut self, at: Revision, request: &DeleteRequest) -> DeleteResponse {
        let doomed: Vec<_> = self.visible(&request.range, ReadPoint::Newest).cloned().collect();
        for kv in &doomed {
            self.bury(at, kv);
        }
        DeleteResponse {
            deleted: i64::try_from(doomed.len()).expect("memory holds fewer than 2^63 keys"),
            prev_kvs: if request.prev_kv { doomed } else { Vec::new() },
        }
    }

    /// Ends the existence of a key at a revision.
    pub(super) fn bury(&mut self, at: Revision, kv: &KeyValue) {
        self.move_between_leases(&kv.key, kv.lease, None);
        self.append(Arc::new(KeyValue {
            key: kv.key.clone(),
            value: Bytes::new(),
            create_revision: Revision(0),
            mod_revision: at,
            version: 0,
            lease: None,
        }));
    }

    fn move_between_leases(&mut self, key: &Bytes, from: Option<LeaseId>, to: Option<LeaseId>) {
        if from == to {
            return;
        }
        if let Some(from) = from {
            self.leases.detach(from, key);
        }
        if let Some(to) = to {
            self.leases.attach(to, key.clone());
        }
    }

    /// Adds a version as the latest change of all.
    pub(super) fn append(&mut self, kv: Arc<KeyValue>) {
        self.contents.add(RecordHash::of_history(self.history.next_sequence(), &kv));
        self.history.push(kv.clone());
        self.account_for(&kv);
        let exists = !is_tombstone(&kv);
        let existed = match self.keys.get_mut(&kv.key[..]) {
            Some(versions) => {
                let existed = !is_tombstone(versions.newest());
                versions.push(kv);
                existed
            }
            None => {
                self.keys.insert(Key::from(&kv.key), Versions::One(kv));
                false
            }
        };
        self.live_keys = self.live_keys + usize::from(exists) - usize::from(existed);
    }

    /// Adds the version of a key that the start of history rests on; the key must be new here.
    pub(super) fn insert_base(&mut self, kv: Arc<KeyValue>) {
        assert!(!is_tombstone(&kv), "a tombstone at the base of history: {kv:?}");
        self.account_for(&kv);
        self.live_keys += 1;
        let replaced = self.keys.insert(Key::from(&kv.key), Versions::One(kv));
        assert!(replaced.is_none(), "two base versions of one key: {replaced:?}");
    }

    /// Takes the oldest record out of history, with all that it makes unreachable: the version before it,
    /// and itself if it is a deletion.
    pub(super) fn forget_oldest_change(&mut self) {
        let Some((sequence, record)) = self.history.pop() else { return };
        self.contents.remove(RecordHash::of_history(sequence, &record));
        let key = &record.key[..];
        let versions = self.keys.get(key).expect("every key of history has versions");
        let has_older = versions.oldest().mod_revision < record.mod_revision;
        let has_newer = versions.newest().mod_revision > record.mod_revision;
        if has_older {
            self.forget_oldest_version(key);
        }
        if is_tombstone(&record) {
            if has_newer {
                self.forget_oldest_version(key);
            } else {
                self.keys.remove(key);
                self.no_longer_account_for(&record);
            }
        }
    }

    fn forget_oldest_version(&mut self, key: &[u8]) {
        let versions = self.keys.get_mut(key).expect("every key of history has versions");
        let forgotten = versions.pop_oldest().expect("a newer version follows");
        self.no_longer_account_for(&forgotten);
    }

    fn account_for(&mut self, kv: &KeyValue) {
        self.contents.add(RecordHash::of_version(kv));
        self.size_bytes += version_bytes(kv);
    }

    fn no_longer_account_for(&mut self, kv: &KeyValue) {
        self.contents.remove(RecordHash::of_version(kv));
        self.size_bytes -= version_bytes(kv);
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
        #[cfg(feature = "planted-bugs")]
        if self.planted_bug == Some(ruvector_protocol::PlantedBug::KeysOutliveLease) {
            return Some(());
        }
        self.change(|store, at| {
            for key in &lease.keys {
                let kv = store.get(key).expect("a key of a lease exists").clone();
                store.bury(at, &kv);
            }
        });
        Some(())
    }
}

fn version_bytes(kv: &KeyValue) -> u64 {
    (kv.key.len() + kv.value.len()) as u64 + VERSION_OVERHEAD_BYTES
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
