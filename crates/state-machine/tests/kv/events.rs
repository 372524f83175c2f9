//! The history that watches read.

use ruvector_state_machine::kv::*;

use crate::support::*;

#[test]
fn who_follows_is_refused_a_revision_of_which_a_part_is_taken_out() {
    let mut fixture = Fixture::default();
    let many = |value: &str| always((0..9).map(|key| TxnOp::Put(put(&key.to_string(), value))).collect());
    fixture.txn(many("1"));
    fixture.txn(many("2"));
    fixture.compact(3).unwrap();
    let follows = |fixture: &Fixture, from| {
        let view = fixture.view();
        view.recent_events(Revision(from), Revision(3)).map(Iterator::count)
    };
    let refused = |requested| KvError::Compacted { requested: Revision(requested), compacted: Revision(3) };
    // Two changes of revision 2 are taken out already.
    assert_eq!(follows(&fixture, 2), Err(refused(2)));
    assert_eq!(follows(&fixture, 3), Ok(9));
}

fn events(fixture: &Fixture, from: i64, through: i64) -> Vec<Event> {
    fixture.view().events(Revision(from), Revision(through)).unwrap().collect()
}

fn tombstone(key: &str, revision: i64) -> std::sync::Arc<KeyValue> {
    key_value(key, "", 0, revision, 0)
}

#[test]
fn tells_every_change_with_what_was_before() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    fixture.put("a", "2");
    fixture.delete("a", "");
    fixture.put("a", "3");
    let first = key_value("a", "1", 2, 2, 1);
    let second = key_value("a", "2", 2, 3, 2);
    let third = key_value("a", "3", 5, 5, 1);
    let expected = [
        Event { kind: EventKind::Put, kv: first.clone(), prev_kv: None },
        Event { kind: EventKind::Put, kv: second.clone(), prev_kv: Some(first) },
        Event { kind: EventKind::Delete, kv: tombstone("a", 4), prev_kv: Some(second) },
        Event { kind: EventKind::Put, kv: third, prev_kv: None },
    ];
    assert_eq!(events(&fixture, 1, 5), expected);
    assert_eq!(events(&fixture, 3, 4), expected[1..3]);
    assert_eq!(events(&fixture, 6, 9), []);
    assert_eq!(events(&fixture, 4, 3), []);
}

#[test]
fn changes_of_one_revision_keep_the_order_in_which_they_were_made() {
    let mut fixture = Fixture::default();
    fixture.put("m", "old");
    fixture.txn(always(vec![
        TxnOp::Put(put("z", "1")),
        TxnOp::Delete(delete("m", "")),
        TxnOp::Txn(always(vec![TxnOp::Put(put("b", "1")), TxnOp::Put(put("a", "1"))])),
    ]));
    let events = events(&fixture, 3, 3);
    let keys: Vec<_> = events.iter().map(|event| &event.kv.key[..]).collect();
    assert_eq!(keys, [b"z", b"m", b"b", b"a"]);
    assert!(events.iter().all(|event| event.kv.mod_revision == Revision(3)));
}

#[test]
fn compacted_changes_are_refused_and_the_rest_is_complete() {
    let mut fixture = Fixture::default();
    for value in ["1", "2", "3", "4"] {
        fixture.put("a", value);
    }
    let complete = events(&fixture, 4, 9);
    fixture.compact(3).unwrap();
    let error = KvError::Compacted { requested: Revision(2), compacted: Revision(3) };
    assert_eq!(fixture.view().events(Revision(2), Revision(9)).err(), Some(error));
    assert_eq!(events(&fixture, 4, 9), complete);
    assert_eq!(complete[0].prev_kv, Some(key_value("a", "2", 2, 3, 2)));
}

#[test]
fn the_changes_of_the_compacted_revision_itself_stay_until_the_next_compaction() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    fixture.put("b", "1");
    fixture.txn(always(vec![TxnOp::Put(put("a", "2")), TxnOp::Delete(delete("b", ""))]));
    fixture.put("a", "3");
    fixture.compact(4).unwrap();
    let third = key_value("a", "3", 2, 5, 3);
    let second = key_value("a", "2", 2, 4, 2);
    let expected = [
        Event { kind: EventKind::Put, kv: second.clone(), prev_kv: None },
        Event { kind: EventKind::Delete, kv: tombstone("b", 4), prev_kv: None },
        Event { kind: EventKind::Put, kv: third, prev_kv: Some(second) },
    ];
    let full = fixture.view().size_bytes();
    for time_ms in 0..10 {
        assert_eq!(events(&fixture, 4, 9), expected);
        fixture.advance_time(time_ms);
    }
    assert!(fixture.view().size_bytes() < full, "what was before them is taken out");
    fixture.compact(5).unwrap();
    for time_ms in 10..20 {
        assert_eq!(events(&fixture, 5, 9)[..], [Event { prev_kv: None, ..expected[2].clone() }]);
        fixture.advance_time(time_ms);
    }
}

#[test]
fn who_followed_the_changes_gets_those_that_were_just_compacted_while_they_are_there() {
    let mut fixture = Fixture::default();
    for value in 1..=10 {
        fixture.put("a", &value.to_string());
    }
    fixture.txn(always(vec![TxnOp::Put(put("a", "11")), TxnOp::Put(put("b", "11"))]));
    let complete = events(&fixture, 8, 12);
    fixture.compact(12).unwrap();
    assert!(fixture.view().events(Revision(8), Revision(12)).is_err());
    let recent = |fixture: &Fixture| {
        let view = fixture.view();
        view.recent_events(Revision(8), Revision(12)).map(Iterator::collect::<Vec<_>>)
    };
    let mut entries = 0;
    while let Ok(recent) = recent(&fixture) {
        assert_eq!(recent, complete);
        fixture.grant(100 + entries, 60);
        entries += 1;
    }
    assert!(entries > 1, "they were there for {entries} entries");
    let error = KvError::Compacted { requested: Revision(8), compacted: Revision(12) };
    assert_eq!(recent(&fixture), Err(error));
}

#[test]
fn a_long_history_keeps_every_change_in_order() {
    const CHANGES: i64 = 12_000;
    let mut fixture = Fixture::default();
    let mut views = Vec::new();
    for number in 0..CHANGES {
        fixture.put(&format!("key {}", number % 37), &number.to_string());
        if number % 1000 == 999 {
            fixture.compact(number - 400).unwrap();
            views.push(fixture.view());
        }
    }
    for view in &views {
        let from = Revision(view.compacted().0 + 1);
        let mut expected = from;
        for event in view.events(from, view.revision()).unwrap() {
            assert_eq!(event.kv.mod_revision, expected);
            assert_eq!(&event.kv.value[..], (expected.0 - 2).to_string().as_bytes());
            let previous = event.prev_kv.map(|kv| kv.mod_revision);
            assert_eq!(previous, (expected.0 >= 39).then_some(Revision(expected.0 - 37)));
            expected.0 += 1;
        }
        assert_eq!(expected.0, view.revision().0 + 1);
    }
}
