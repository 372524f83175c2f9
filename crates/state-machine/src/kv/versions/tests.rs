//! Keys with many versions, read everywhere while history is taken out from under them.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;

use super::super::command::{DeleteRequest, KeyRange, PutRequest};
use super::super::snapshot;
use super::super::store::Store;
use super::*;

/// Put again and again,
const BUSY: &[u8] = b"busy";
/// put and deleted in turn,
const FLEETING: &[u8] = b"fleeting";
/// put once.
const QUIET: &[u8] = b"quiet";
const KEYS: [&[u8]; 3] = [BUSY, FLEETING, QUIET];

/// A store, and what it was told.
struct Told {
    store: Store,
    /// The keys' values, absent after a deletion, in the order of revisions.
    changes: Vec<(Revision, &'static [u8], Option<Bytes>)>,
}

impl Told {
    fn put(&mut self, key: &'static [u8]) {
        let value = Bytes::from(format!("{} of {key:?}", self.changes.len()));
        let request = PutRequest {
            key: Bytes::from_static(key),
            value: value.clone(),
            lease: None,
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        };
        self.store.change(|store, at| store.put(at, &request));
        self.changes.push((self.store.revision, key, Some(value)));
    }

    fn delete(&mut self, key: &'static [u8]) {
        let range = KeyRange { key: Bytes::from_static(key), range_end: Bytes::new() };
        self.store.change(|store, at| store.delete(at, &DeleteRequest { range, prev_kv: false }));
        self.changes.push((self.store.revision, key, None));
    }

    fn value(&self, key: &[u8], at: Revision) -> Option<&Bytes> {
        let before = self.changes.iter().rev().skip_while(|change| change.0 > at);
        before.filter(|change| change.1 == key).map(|change| change.2.as_ref()).next().flatten()
    }

    /// Every key is found as it was at every revision that can still be read, by few steps.
    fn check(&self, store: &Store) {
        let forgotten =
            self.changes.len() as u64 - (store.history.next_sequence() - store.history.first_sequence());
        let first_readable = usize::try_from(forgotten).unwrap().saturating_sub(1);
        for at in self.changes[first_readable..].iter().map(|change| change.0) {
            for key in KEYS {
                let found = store.keys.get(key).and_then(|versions| {
                    assert!(links_followed(versions, at, store) <= VERSIONS_TO_A_MILESTONE, "{key:?} {at:?}");
                    versions.at(ReadPoint::At(at), &store.history)
                });
                let value = found.map(|version| version.parts().value);
                assert_eq!(value, self.value(key, at).map(|value| &value[..]), "{key:?} {at:?}");
            }
        }
        for versions in store.keys.values() {
            let older = versions.older.as_ref();
            let milestones = older.map_or_else(Vec::new, |older| older.milestones.iter().collect());
            assert!(
                milestones.iter().all(|link| store.history.holds(**link)),
                "{milestones:?} are forgotten"
            );
        }
    }
}

/// How many records a read of an old version looks at after its binary search.
fn links_followed(versions: &Versions, at: Revision, store: &Store) -> i64 {
    let start = versions.first_milestone_after(at, &store.history).unwrap_or(versions.link);
    let records =
        std::iter::successors(store.history.get(start), |record| store.history.get(record.previous));
    let later = records.take_while(|record| record.version.mod_revision() > at);
    later.count().try_into().unwrap()
}

fn told() -> Told {
    let mut told = Told { store: Store::default(), changes: Vec::new() };
    told.put(QUIET);
    for round in 0..500 {
        told.put(BUSY);
        told.put(BUSY);
        if round % 2 == 0 { told.put(FLEETING) } else { told.delete(FLEETING) }
    }
    told
}

#[test]
fn every_revision_is_found_by_few_steps_until_it_is_forgotten() {
    let mut told = told();
    let mut store = told.store.clone();
    while store.history.oldest().is_some() {
        told.check(&store);
        for _ in 0..101 {
            store.forget_oldest_change();
        }
    }
    told.check(&store);
    assert_eq!(store.keys.len(), 2, "what is deleted leaves nothing");
    // And what is written on top of it.
    told.store = store;
    told.put(BUSY);
    told.put(FLEETING);
    told.delete(QUIET);
    told.check(&told.store);
}

#[test]
fn a_restored_store_finds_its_way_as_well() {
    let mut told = told();
    for _ in 0..333 {
        told.store.forget_oldest_change();
    }
    // Nobody reads below, so that a base is a compacted version, as snapshots require it.
    told.store.compacted = told.changes[332].0;
    let mut bytes = Vec::new();
    snapshot::write(&told.store, &mut bytes).unwrap();
    let mut reader = &bytes[..];
    let restored = snapshot::rebuild(snapshot::parts(&mut reader)).unwrap();
    told.check(&restored);
    assert_eq!(restored.state_hash(), told.store.state_hash());
}
