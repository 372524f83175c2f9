//! How revisions and versions count.

use bytes::Bytes;
use ruvector_state_machine::kv::*;

use crate::support::*;

#[test]
fn an_empty_store_is_at_revision_1() {
    let fixture = Fixture::default();
    assert_eq!(fixture.view().revision(), Revision(1));
    assert_eq!(fixture.view().compacted(), Revision(0));
}

#[test]
fn each_put_is_one_revision_and_one_version() {
    let mut fixture = Fixture::default();
    assert_eq!(fixture.put("a", "1"), Revision(2));
    assert_eq!(fixture.put("b", "1"), Revision(3));
    assert_eq!(fixture.put("a", "2"), Revision(4));
    assert_eq!(fixture.get("a"), Some(key_value("a", "2", 2, 4, 2)));
    assert_eq!(fixture.get("b"), Some(key_value("b", "1", 3, 3, 1)));
}

#[test]
fn a_key_created_again_starts_over() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    fixture.put("a", "2");
    fixture.delete("a", "");
    assert_eq!(fixture.get("a"), None);
    fixture.put("a", "3");
    assert_eq!(fixture.get("a"), Some(key_value("a", "3", 5, 5, 1)));
}

#[test]
fn a_delete_of_nothing_is_no_revision() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    assert_eq!(fixture.delete("b", "").deleted, 0);
    assert_eq!(fixture.delete("b", "z").deleted, 0);
    assert_eq!(fixture.delete("z", "b").deleted, 0);
    assert_eq!(fixture.view().revision(), Revision(2));
}

#[test]
fn a_range_is_deleted_in_one_revision() {
    let mut fixture = Fixture::default();
    for key in ["a", "b", "c", "d"] {
        fixture.put(key, "x");
    }
    let response = fixture.delete("b", "d");
    assert_eq!(response.deleted, 2);
    assert_eq!(response.prev_kvs, [key_value("b", "x", 3, 3, 1), key_value("c", "x", 4, 4, 1)]);
    assert_eq!(fixture.view().revision(), Revision(6));
    assert_eq!(keys_of(&fixture.range(&everything())), ["a", "d"]);
}

#[test]
fn previous_values_are_answered_only_if_asked_for() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    let quiet_put = Command::Put(PutRequest { prev_kv: false, ..put("a", "2") });
    assert_eq!(fixture.run(&quiet_put), Outcome::Put(PutResponse { prev_kv: None }));
    let asking_put = Command::Put(put("a", "3"));
    let prev_kv = Some(key_value("a", "2", 2, 3, 2));
    assert_eq!(fixture.run(&asking_put), Outcome::Put(PutResponse { prev_kv }));
    let quiet_delete = Command::Delete(DeleteRequest { prev_kv: false, ..delete("a", "") });
    assert_eq!(fixture.run(&quiet_delete), Outcome::Delete(DeleteResponse { deleted: 1, prev_kvs: vec![] }));
}

#[test]
fn ignore_value_keeps_the_value() {
    let mut fixture = Fixture::default();
    let touch = Command::Put(PutRequest { ignore_value: true, ..put("a", "") });
    assert_eq!(fixture.refuse(&touch), KvError::KeyNotFound);
    fixture.put("a", "1");
    fixture.run(&touch);
    assert_eq!(fixture.get("a"), Some(key_value("a", "1", 2, 3, 2)));
    fixture.delete("a", "");
    assert_eq!(fixture.refuse(&touch), KvError::KeyNotFound);
}

#[test]
fn ignore_lease_keeps_the_lease() {
    let mut fixture = Fixture::default();
    fixture.grant(7, 10);
    let update = Command::Put(PutRequest { ignore_lease: true, ..put("a", "2") });
    assert_eq!(fixture.refuse(&update), KvError::KeyNotFound);
    fixture.run(&put_with_lease("a", "1", 7));
    fixture.run(&update);
    let kv = fixture.get("a").unwrap();
    assert_eq!((&kv.value[..], kv.lease), (&b"2"[..], Some(LeaseId(7))));
}

#[test]
fn keys_of_any_length_and_any_bytes_are_kept_apart() {
    let mut fixture = Fixture::default();
    let keys: Vec<Bytes> =
        (0..100_usize).flat_map(|length| [vec![0; length], vec![255; length]]).map(Bytes::from).collect();
    for key in &keys {
        fixture.run(&Command::Put(PutRequest { key: key.clone(), value: key.clone(), ..put("", "") }));
    }
    for key in &keys {
        let range = KeyRange { key: key.clone(), range_end: Bytes::new() };
        let found = fixture.range(&RangeRequest { range, ..everything() });
        assert_eq!(found.kvs.iter().map(|kv| &kv.value).collect::<Vec<_>>(), [key]);
    }
    let mut sorted = keys.clone();
    sorted.sort();
    sorted.dedup();
    let all = fixture.range(&everything());
    assert_eq!(all.kvs.iter().map(|kv| kv.key.clone()).collect::<Vec<_>>(), sorted);
}

#[test]
fn size_and_count_follow_the_contents() {
    let mut fixture = Fixture::default();
    assert_eq!((fixture.view().key_count(), fixture.view().size_bytes()), (0, 0));
    fixture.put("a", "1");
    fixture.put("b", &"x".repeat(1000));
    let size = fixture.view().size_bytes();
    assert!(size > 1000, "{size}");
    fixture.delete("b", "");
    assert_eq!(fixture.view().key_count(), 1);
    fixture.compact(4).unwrap();
    fixture.put("a", "2");
    fixture.put("a", "3");
    assert!(fixture.view().size_bytes() < 1000, "{}", fixture.view().size_bytes());
}
