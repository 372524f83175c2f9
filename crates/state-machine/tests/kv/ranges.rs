//! Reads.

use ruvector_state_machine::kv::*;

use crate::support::*;

/// Keys a..f; "c" was changed last, "e" most often.
fn letters() -> Fixture {
    let mut fixture = Fixture::default();
    for (key, value) in [("a", "6"), ("b", "5"), ("c", "4"), ("d", "3"), ("e", "2"), ("f", "1")] {
        fixture.put(key, value);
    }
    fixture.put("e", "2");
    fixture.put("e", "2");
    fixture.put("c", "4");
    fixture
}

#[test]
fn range_end_follows_the_conventions_of_etcd() {
    let fixture = letters();
    let keys = |key, end| keys_of(&fixture.range(&range(key, end))).concat();
    assert_eq!(keys("b", ""), "b");
    assert_eq!(keys("bb", ""), "");
    assert_eq!(keys("b", "d"), "bc");
    assert_eq!(keys("bb", "e"), "cd");
    assert_eq!(keys("d", "\0"), "def");
    assert_eq!(keys("\0", "\0"), "abcdef");
    assert_eq!(keys("d", "b"), "");
    assert_eq!(keys("d", "d"), "");
}

#[test]
fn the_count_is_of_the_whole_range() {
    let fixture = letters();
    let limited = fixture.range(&RangeRequest { limit: 2, ..range("b", "f") });
    assert_eq!((keys_of(&limited).concat().as_str(), limited.more, limited.count), ("bc", true, 4));
    let exact = fixture.range(&RangeRequest { limit: 4, ..range("b", "f") });
    assert_eq!((keys_of(&exact).concat().as_str(), exact.more, exact.count), ("bcde", false, 4));
    let counted = fixture.range(&RangeRequest { count_only: true, limit: 1, ..range("b", "f") });
    assert_eq!(counted, RangeResponse { kvs: vec![], more: false, count: 4 });
}

#[test]
fn filters_come_before_the_limit_and_leave_the_count_alone() {
    let fixture = letters();
    let filtered = |request: RangeRequest| {
        let response = fixture.range(&request);
        (keys_of(&response).concat(), response.more, response.count)
    };
    let recent = RangeRequest { min_mod_revision: Revision(7), ..everything() };
    assert_eq!(filtered(recent.clone()), ("cef".into(), false, 6));
    assert_eq!(filtered(RangeRequest { limit: 2, ..recent }), ("ce".into(), true, 6));
    let old = RangeRequest { max_mod_revision: Revision(5), ..everything() };
    assert_eq!(filtered(old), ("abd".into(), false, 6));
    let middle =
        RangeRequest { min_create_revision: Revision(4), max_create_revision: Revision(6), ..everything() };
    assert_eq!(filtered(middle), ("cde".into(), false, 6));
}

#[test]
fn sorts_by_every_target_before_the_limit() {
    let fixture = letters();
    let sorted = |target, order, limit| {
        let response = fixture.range(&RangeRequest { sort: Some((target, order)), limit, ..everything() });
        (keys_of(&response).concat(), response.more)
    };
    assert_eq!(sorted(SortTarget::Key, SortOrder::Ascend, 0).0, "abcdef");
    assert_eq!(sorted(SortTarget::Key, SortOrder::Descend, 2), ("fe".into(), true));
    assert_eq!(sorted(SortTarget::Value, SortOrder::Ascend, 0).0, "fedcba");
    assert_eq!(sorted(SortTarget::Value, SortOrder::Ascend, 2), ("fe".into(), true));
    assert_eq!(sorted(SortTarget::Create, SortOrder::Descend, 0).0, "fedcba");
    assert_eq!(sorted(SortTarget::Mod, SortOrder::Descend, 3), ("cef".into(), true));
    assert_eq!(sorted(SortTarget::Version, SortOrder::Descend, 2), ("ec".into(), true));
}

#[test]
fn keys_only_leaves_values_out_and_the_rest_in() {
    let fixture = letters();
    let response = fixture.range(&RangeRequest { keys_only: true, ..get("e") });
    assert_eq!(response.kvs, [key_value("e", "", 6, 9, 3)]);
    let sorted = Some((SortTarget::Value, SortOrder::Ascend));
    let response = fixture.range(&RangeRequest { keys_only: true, sort: sorted, ..everything() });
    assert_eq!(keys_of(&response).concat(), "fedcba");
}

#[test]
fn past_revisions_stay_readable() {
    let mut fixture = letters();
    fixture.delete("c", "");
    let at = |revision, key| {
        let request = RangeRequest { revision: Some(Revision(revision)), ..get(key) };
        fixture.view().range(&request).unwrap().kvs.pop()
    };
    assert_eq!(at(3, "c"), None);
    assert_eq!(at(4, "c"), Some(key_value("c", "4", 4, 4, 1)));
    assert_eq!(at(9, "c"), Some(key_value("c", "4", 4, 4, 1)));
    assert_eq!(at(10, "c"), Some(key_value("c", "4", 4, 10, 2)));
    assert_eq!(at(11, "c"), None);
    assert_eq!(at(0, "e"), fixture.get("e"));
    let future = RangeRequest { revision: Some(Revision(12)), ..get("c") };
    let error = KvError::FutureRevision { requested: Revision(12), current: Revision(11) };
    assert_eq!(fixture.view().range(&future), Err(error));
}

#[test]
fn a_view_stays_as_it_was() {
    let mut fixture = letters();
    let view = fixture.view();
    let before = dump(&view);
    let hash = view.state_hash();
    fixture.put("a", "new");
    fixture.delete("b", "\0");
    fixture.compact(10).unwrap();
    for _ in 0..20 {
        fixture.put("z", "1");
    }
    assert_eq!(dump(&view), before);
    assert_eq!(view.state_hash(), hash);
}

#[test]
fn who_visits_a_range_piece_by_piece_finds_what_it_held_then_whatever_happens_meanwhile() {
    let mut fixture = letters();
    let then = fixture.view().revision();
    let request = RangeRequest { revision: Some(then), ..range("b", "f") };
    let expected = fixture.range(&request).kvs;
    let mut visited = Vec::new();
    let mut left = request.clone();
    while visited.len() < expected.len() {
        let mut next = None;
        let visiting = fixture.view().visit(&left, |version| {
            let kv = version.key_value();
            if next.is_some() {
                next = Some(kv.key.to_vec());
                return false;
            }
            next = Some(kv.key.to_vec());
            visited.push((kv.key.to_vec(), kv.value.to_vec(), kv.mod_revision, kv.version, kv.lease));
            true
        });
        visiting.unwrap();
        left.range.key = next.unwrap().into();
        fixture.put("b", "later");
        fixture.put("bb", "new");
        fixture.delete(std::str::from_utf8(&left.range.key).unwrap(), "");
    }
    let parts = |kv: &std::sync::Arc<KeyValue>| {
        (kv.key.to_vec(), kv.value.to_vec(), kv.mod_revision, kv.version, kv.lease)
    };
    assert_eq!(visited, expected.iter().map(parts).collect::<Vec<_>>());
}

#[test]
fn what_bounds_of_revisions_admit_is_what_a_range_answers() {
    let fixture = letters();
    for bound in 0..10 {
        for request in [
            RangeRequest { min_mod_revision: Revision(bound), ..everything() },
            RangeRequest { max_mod_revision: Revision(bound), ..everything() },
            RangeRequest { min_create_revision: Revision(bound), ..everything() },
            RangeRequest { max_create_revision: Revision(bound), ..everything() },
        ] {
            let mut admitted = Vec::new();
            fixture
                .view()
                .visit(&request, |version| {
                    let kv = version.key_value();
                    if request.admits(&kv) {
                        admitted.push(String::from_utf8(kv.key.to_vec()).unwrap());
                    }
                    true
                })
                .unwrap();
            assert_eq!(admitted, keys_of(&fixture.range(&request)));
        }
    }
}
