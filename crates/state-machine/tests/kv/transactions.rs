//! Transactions.

use CompareOperator::{Equal, Greater, Less, NotEqual};
use bytes::Bytes;
use ruvector_state_machine::kv::*;

use crate::support::*;

/// "a" changed twice and attached to lease 7, "b" written once, "c" absent; revision 4.
fn fixture() -> Fixture {
    let mut fixture = Fixture::default();
    fixture.grant(7, 100);
    fixture.put("a", "1");
    fixture.run(&put_with_lease("a", "2", 7));
    fixture.put("b", "1");
    fixture
}

fn holds(fixture: &Fixture, compare: Compare) -> bool {
    fixture.view().read_only_txn(&txn(vec![compare], vec![], vec![])).unwrap().succeeded
}

fn value(value: &str) -> CompareTarget {
    CompareTarget::Value(Bytes::from(value.to_owned()))
}

#[test]
fn compares_every_target_with_every_operator() {
    let fixture = fixture();
    let targets = [
        (CompareTarget::Version(1), CompareTarget::Version(2), CompareTarget::Version(3)),
        (
            CompareTarget::Create(Revision(1)),
            CompareTarget::Create(Revision(2)),
            CompareTarget::Create(Revision(3)),
        ),
        (CompareTarget::Mod(Revision(2)), CompareTarget::Mod(Revision(3)), CompareTarget::Mod(Revision(4))),
        (value("1"), value("2"), value("3")),
        (CompareTarget::Lease(6), CompareTarget::Lease(7), CompareTarget::Lease(8)),
    ];
    for (below, equal, above) in targets {
        for (operator, expected) in [
            (Equal, [false, true, false]),
            (NotEqual, [true, false, true]),
            (Greater, [true, false, false]),
            (Less, [false, false, true]),
        ] {
            let results = [&below, &equal, &above]
                .map(|target| holds(&fixture, compare("a", operator, target.clone())));
            assert_eq!(results, expected, "{operator:?} {equal:?}");
        }
    }
}

#[test]
fn a_missing_key_compares_as_zeros_but_never_by_value() {
    let fixture = fixture();
    for zero in [
        CompareTarget::Version(0),
        CompareTarget::Create(Revision(0)),
        CompareTarget::Mod(Revision(0)),
        CompareTarget::Lease(0),
    ] {
        assert!(holds(&fixture, compare("c", Equal, zero.clone())));
        assert!(!holds(&fixture, compare("c", Greater, zero)));
    }
    for operator in [Equal, NotEqual, Greater, Less] {
        assert!(!holds(&fixture, compare("c", operator, value(""))));
    }
}

#[test]
fn a_range_compares_all_its_keys_or_a_missing_one() {
    let fixture = fixture();
    let over = |range: KeyRange, operator, target| holds(&fixture, Compare { range, target, operator });
    let both = || key_range("a", "c");
    assert!(over(both(), Greater, CompareTarget::Version(0)));
    assert!(!over(both(), Greater, CompareTarget::Version(1)));
    assert!(over(both(), NotEqual, value("3")));
    let none = || key_range("c", "\0");
    assert!(over(none(), Equal, CompareTarget::Create(Revision(0))));
    assert!(!over(none(), Greater, CompareTarget::Create(Revision(0))));
    assert!(!over(none(), NotEqual, value("3")));
}

#[test]
fn no_comparisons_hold() {
    assert!(fixture().view().read_only_txn(&always(vec![])).unwrap().succeeded);
}

#[test]
fn all_changes_share_a_revision_and_reads_see_those_before_them() {
    let mut fixture = fixture();
    let response = fixture.txn(always(vec![
        TxnOp::Range(get("c")),
        TxnOp::Put(put("c", "1")),
        TxnOp::Delete(delete("b", "")),
        TxnOp::Range(range("b", "d")),
        TxnOp::Range(RangeRequest { revision: Some(Revision(4)), ..range("b", "d") }),
    ]));
    let reads =
        |kvs: Vec<_>| TxnOpResponse::Range(RangeResponse { count: kvs.len() as i64, kvs, more: false });
    let old_b = key_value("b", "1", 4, 4, 1);
    assert_eq!(
        response.responses,
        [
            reads(vec![]),
            TxnOpResponse::Put(PutResponse { prev_kv: None }),
            TxnOpResponse::Delete(DeleteResponse { deleted: 1, prev_kvs: vec![old_b.clone()] }),
            reads(vec![key_value("c", "1", 5, 5, 1)]),
            reads(vec![old_b]),
        ]
    );
    assert_eq!(fixture.view().revision(), Revision(5));
}

#[test]
fn a_transaction_that_changes_nothing_is_no_revision() {
    let mut fixture = fixture();
    fixture.txn(always(vec![TxnOp::Range(everything()), TxnOp::Delete(delete("x", "z"))]));
    assert_eq!(fixture.view().revision(), Revision(4));
}

#[test]
fn nested_comparisons_are_decided_before_anything_is_written() {
    let mut fixture = fixture();
    let c_is_absent = || vec![compare("c", Equal, CompareTarget::Version(0))];
    let nested =
        txn(c_is_absent(), vec![TxnOp::Put(put("d", "absent"))], vec![TxnOp::Put(put("d", "there"))]);
    let response = fixture.txn(always(vec![TxnOp::Put(put("c", "1")), TxnOp::Txn(nested)]));
    assert!(response.succeeded);
    assert_eq!(fixture.get("d"), Some(key_value("d", "absent", 5, 5, 1)));
}

#[test]
fn the_failure_branch_is_done_if_a_comparison_does_not_hold() {
    let mut fixture = fixture();
    let response = fixture.txn(txn(
        vec![compare("a", Equal, value("2")), compare("b", Equal, value("2"))],
        vec![TxnOp::Put(put("c", "success"))],
        vec![TxnOp::Put(put("c", "failure"))],
    ));
    assert!(!response.succeeded);
    assert_eq!(&fixture.get("c").unwrap().value[..], b"failure");
}

#[test]
fn a_failing_operation_undoes_all() {
    let mut fixture = fixture();
    fixture.compact(3).unwrap();
    let at = |revision| TxnOp::Range(RangeRequest { revision: Some(Revision(revision)), ..get("a") });
    let no_lease = TxnOp::Put(PutRequest { lease: Some(LeaseId(8)), ..put("y", "") });
    let no_key = TxnOp::Put(PutRequest { ignore_value: true, ..put("y", "") });
    let neither = TxnOp::Put(PutRequest { ignore_value: true, lease: Some(LeaseId(8)), ..put("y", "") });
    let cases = [
        (at(2), KvError::Compacted { requested: Revision(2), compacted: Revision(3) }),
        (at(5), KvError::FutureRevision { requested: Revision(5), current: Revision(4) }),
        (no_lease, KvError::LeaseNotFound(LeaseId(8))),
        (no_key, KvError::KeyNotFound),
        (neither, KvError::KeyNotFound),
        (at(-1), KvError::Compacted { requested: Revision(-1), compacted: Revision(3) }),
    ];
    for (failing, expected) in cases {
        let writes = [TxnOp::Put(put("x", "1")), TxnOp::Delete(delete("a", "c"))];
        let nested = TxnOp::Txn(always(vec![failing.clone()]));
        let last = always(writes.iter().cloned().chain([failing.clone()]).collect());
        let inside = always(writes.iter().cloned().chain([nested]).collect());
        for request in [last, inside] {
            assert_eq!(fixture.refuse(&Command::Txn(request)), expected);
        }
        fixture.txn(txn(vec![], vec![], vec![failing]));
    }
}

#[test]
fn of_two_things_that_are_missing_the_first_in_order_is_told() {
    let mut fixture = fixture();
    let no_lease = || TxnOp::Put(PutRequest { lease: Some(LeaseId(8)), ..put("x", "") });
    let no_key = || TxnOp::Put(PutRequest { ignore_lease: true, ..put("y", "") });
    let refuse = |fixture: &mut Fixture, ops| fixture.refuse(&Command::Txn(always(ops)));
    let nested = TxnOp::Txn(always(vec![no_key()]));
    assert_eq!(refuse(&mut fixture, vec![no_lease(), no_key()]), KvError::LeaseNotFound(LeaseId(8)));
    assert_eq!(refuse(&mut fixture, vec![no_key(), no_lease()]), KvError::KeyNotFound);
    assert_eq!(refuse(&mut fixture, vec![nested, no_lease()]), KvError::KeyNotFound);
    // A put that stands alone looks for its lease first.
    let both = PutRequest { ignore_value: true, lease: Some(LeaseId(8)), ..put("y", "") };
    assert_eq!(fixture.refuse(&Command::Put(both)), KvError::LeaseNotFound(LeaseId(8)));
}

#[test]
fn a_read_in_a_transaction_may_ask_for_revision_minus_one_until_something_is_compacted() {
    let mut fixture = fixture();
    let at = |revision| {
        always(vec![TxnOp::Range(RangeRequest { revision: Some(Revision(revision)), ..get("a") })])
    };
    let present = fixture.txn(at(0)).responses;
    assert_eq!(fixture.txn(at(-1)).responses, present);
    let refused = |revision, compacted| KvError::Compacted { requested: Revision(revision), compacted };
    assert_eq!(fixture.refuse(&Command::Txn(at(-2))), refused(-2, Revision(0)));
    fixture.compact(2).unwrap();
    assert_eq!(fixture.refuse(&Command::Txn(at(-1))), refused(-1, Revision(2)));
    // A read of its own has the present.
    let alone = RangeRequest { revision: Some(Revision(-2)), ..get("a") };
    assert_eq!(vec![TxnOpResponse::Range(fixture.view().range(&alone).unwrap())], present);
}

#[test]
fn what_is_not_known_of_a_comparison_lets_it_hold() {
    let mut fixture = fixture();
    let mut holds = |compare| fixture.txn(txn(vec![compare], vec![], vec![])).succeeded;
    for key in ["a", "missing"] {
        assert!(holds(compare(key, CompareOperator::Unknown, CompareTarget::Version(99))), "{key}");
        assert!(holds(compare(key, Equal, CompareTarget::Unknown)), "{key}");
        assert!(holds(compare(key, CompareOperator::Unknown, CompareTarget::Unknown)), "{key}");
        for operator in [NotEqual, Greater, Less] {
            assert!(!holds(compare(key, operator, CompareTarget::Unknown)), "{key}");
        }
    }
    assert!(holds(compare("a", CompareOperator::Unknown, value("other"))));
    assert!(!holds(compare("missing", CompareOperator::Unknown, value(""))), "by value never");
}

#[test]
fn a_key_may_not_be_written_twice_in_one_branch() {
    let put = |key| TxnOp::Put(put(key, ""));
    let delete = |key, end| TxnOp::Delete(delete(key, end));
    let both = |success, failure| TxnOp::Txn(txn(vec![], success, failure));
    let refused = [
        vec![put("x"), put("x")],
        vec![put("x"), delete("x", "")],
        vec![delete("x", ""), put("x")],
        vec![put("x"), delete("w", "y")],
        vec![delete("w", "\0"), put("x")],
        vec![put("x"), both(vec![put("x")], vec![])],
        vec![both(vec![], vec![put("x")]), put("x")],
        vec![both(vec![put("x")], vec![]), both(vec![], vec![put("x")])],
        vec![both(vec![put("x")], vec![]), both(vec![delete("x", "")], vec![])],
        vec![both(vec![delete("a", "z")], vec![]), both(vec![], vec![both(vec![put("x")], vec![])])],
    ];
    let allowed = [
        vec![put("x"), put("y")],
        vec![delete("x", ""), delete("w", "y")],
        vec![put("x"), delete("y", "x")],
        vec![put("x"), delete("a", "x")],
        vec![both(vec![put("x")], vec![put("x")])],
        vec![both(vec![put("x")], vec![delete("x", "")])],
        vec![both(vec![both(vec![put("x")], vec![])], vec![delete("x", "")]), put("y")],
    ];
    let mut fixture = fixture();
    for ops in refused {
        assert_eq!(fixture.refuse(&Command::Txn(always(ops.clone()))), KvError::DuplicateKey, "{ops:?}");
        let untaken = txn(vec![], vec![], ops.clone());
        assert_eq!(fixture.refuse(&Command::Txn(untaken)), KvError::DuplicateKey, "{ops:?}");
    }
    for ops in allowed {
        assert_eq!(always(ops.clone()).check_duplicate_keys(), Ok(()), "{ops:?}");
        fixture.txn(always(ops));
    }
}

#[test]
fn a_view_evaluates_reads_and_refuses_writes() {
    let fixture = fixture();
    let view = fixture.view();
    let nested = TxnOp::Txn(always(vec![TxnOp::Range(get("b"))]));
    let response = view.read_only_txn(&always(vec![TxnOp::Range(get("a")), nested])).unwrap();
    assert_eq!(response.responses.len(), 2);
    for write in [TxnOp::Put(put("a", "")), TxnOp::Delete(delete("a", ""))] {
        let request = txn(vec![], vec![], vec![TxnOp::Txn(always(vec![write]))]);
        assert!(!request.is_read_only());
        assert!(matches!(view.read_only_txn(&request), Err(KvError::UnknownCommand(_))));
    }
    let old = always(vec![TxnOp::Range(RangeRequest { revision: Some(Revision(9)), ..get("a") })]);
    let error = KvError::FutureRevision { requested: Revision(9), current: Revision(4) };
    assert_eq!(view.read_only_txn(&old), Err(error));
}
