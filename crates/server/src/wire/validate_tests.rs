#![allow(clippy::unwrap_used)]

use super::*;

fn put_of(key: &'static str) -> pb::RequestOp {
    let request = pb::PutRequest { key: key.into(), ..Default::default() };
    pb::RequestOp { request: Some(Request::RequestPut(request)) }
}

fn delete_of(key: &'static str, range_end: &'static str) -> pb::RequestOp {
    let request = pb::DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv: false };
    pb::RequestOp { request: Some(Request::RequestDeleteRange(request)) }
}

fn txn_of(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
    let request = pb::TxnRequest { compare: Vec::new(), success, failure };
    pb::RequestOp { request: Some(Request::RequestTxn(request)) }
}

fn check(success: Vec<pb::RequestOp>) -> Result<(), InvalidRequest> {
    txn(&pb::TxnRequest { success, ..Default::default() }, 128)
}

#[test]
fn a_key_is_needed() {
    assert_eq!(range(&pb::RangeRequest::default()), Err(InvalidRequest::EmptyKey));
    assert_eq!(put(&pb::PutRequest::default()), Err(InvalidRequest::EmptyKey));
    assert_eq!(delete(&pb::DeleteRangeRequest::default()), Err(InvalidRequest::EmptyKey));
    assert_eq!(check(vec![put_of("")]), Err(InvalidRequest::EmptyKey));
    let compare = vec![pb::Compare::default()];
    assert_eq!(txn(&pb::TxnRequest { compare, ..Default::default() }, 128), Err(InvalidRequest::EmptyKey));
}

#[test]
fn what_is_to_be_kept_must_not_be_given() {
    let base =
        pb::PutRequest { key: "k".into(), ignore_value: true, ignore_lease: true, ..Default::default() };
    assert_eq!(put(&base), Ok(()));
    assert_eq!(
        put(&pb::PutRequest { value: "v".into(), ..base.clone() }),
        Err(InvalidRequest::ValueProvided)
    );
    assert_eq!(put(&pb::PutRequest { lease: 1, ..base }), Err(InvalidRequest::LeaseProvided));
}

#[test]
fn the_longest_list_counts_and_inner_transactions_count_too() {
    let request = |count: usize| pb::TxnRequest {
        success: std::iter::repeat_n(delete_of("a", ""), count).collect(),
        ..Default::default()
    };
    assert_eq!(txn(&request(128), 128), Ok(()));
    assert_eq!(txn(&request(129), 128), Err(InvalidRequest::TooManyOperations));

    let deletes = |count| std::iter::repeat_n(delete_of("a", ""), count).collect::<Vec<_>>();
    let nested =
        |inner| pb::TxnRequest { success: vec![txn_of(deletes(inner), vec![])], ..Default::default() };
    assert_eq!(txn(&nested(127), 128), Ok(()));
    assert_eq!(txn(&nested(128), 128), Err(InvalidRequest::TooManyOperations));
}

#[test]
fn a_key_may_be_put_once() {
    assert_eq!(check(vec![put_of("a"), put_of("b")]), Ok(()));
    assert_eq!(check(vec![put_of("a"), put_of("a")]), Err(InvalidRequest::DuplicateKey));
    let both =
        pb::TxnRequest { success: vec![put_of("a")], failure: vec![put_of("a")], ..Default::default() };
    assert_eq!(txn(&both, 128), Ok(()));
}

#[test]
fn a_put_must_not_meet_a_deletion() {
    assert_eq!(check(vec![put_of("b"), delete_of("b", "")]), Err(InvalidRequest::DuplicateKey));
    assert_eq!(check(vec![put_of("b"), delete_of("a", "c")]), Err(InvalidRequest::DuplicateKey));
    assert_eq!(check(vec![put_of("b"), delete_of("a", "b")]), Ok(()));
    assert_eq!(check(vec![put_of("b"), delete_of("a", "\0")]), Err(InvalidRequest::DuplicateKey));
    assert_eq!(check(vec![put_of("b"), delete_of("c", "a")]), Ok(()));
    assert_eq!(check(vec![delete_of("a", "c"), delete_of("b", "d")]), Ok(()));
}

#[test]
fn branches_of_an_inner_transaction_exclude_each_other_but_nothing_else() {
    assert_eq!(check(vec![txn_of(vec![put_of("a")], vec![put_of("a")])]), Ok(()));
    assert_eq!(
        check(vec![txn_of(vec![put_of("a")], vec![]), txn_of(vec![], vec![put_of("a")])]),
        Err(InvalidRequest::DuplicateKey)
    );
    assert_eq!(
        check(vec![put_of("a"), txn_of(vec![put_of("a")], vec![])]),
        Err(InvalidRequest::DuplicateKey)
    );
    assert_eq!(
        check(vec![put_of("b"), txn_of(vec![], vec![delete_of("a", "c")])]),
        Err(InvalidRequest::DuplicateKey)
    );
    assert_eq!(
        check(vec![delete_of("a", "c"), txn_of(vec![put_of("b")], vec![])]),
        Err(InvalidRequest::DuplicateKey)
    );
}

/// Merging must not change what is contained: held against the plain list of intervals.
#[test]
fn merged_intervals_contain_what_their_parts_contain() {
    let keys: Vec<Bytes> = (b'a'..=b'h').map(|byte| Bytes::copy_from_slice(&[byte])).collect();
    let mut state = 7_u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    for _ in 0..2_000 {
        let mut merged = Intervals::default();
        let mut parts = Vec::new();
        for _ in 0..below(6) {
            let start = keys[below(keys.len())].clone();
            let end = match below(4) {
                0 => Bytes::new(),
                1 if below(4) == 0 => Bytes::from_static(b"\0"),
                _ => keys[below(keys.len())].clone(),
            };
            merged.insert(&start, &end);
            parts.push((start, end));
        }
        for key in &keys {
            let expected = parts.iter().any(|(start, end)| match end.as_ref() {
                [] => key == start,
                [0] => key >= start,
                _ => key >= start && key < end,
            });
            assert_eq!(merged.contains(key), expected, "{key:?} in {parts:?}");
        }
    }
}
