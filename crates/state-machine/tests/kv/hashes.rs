//! What the state hash covers.

use std::collections::BTreeMap;

use ruvector_state_machine::StateMachine;
use ruvector_state_machine::kv::*;

use crate::support::*;

/// Starts all cases alike: lease 1 and 2 for 10 s, "a" in two versions, "b" attached to lease 1; revision 4.
fn after<Answer>(change: impl FnOnce(&mut Fixture) -> Answer) -> u128 {
    let mut fixture = Fixture { time_ms: 1_000, ..Fixture::default() };
    fixture.grant(1, 10);
    fixture.grant(2, 10);
    fixture.put("a", "1");
    fixture.put("a", "2");
    fixture.run(&put_with_lease("b", "1", 1));
    change(&mut fixture);
    fixture.machine.state_hash()
}

fn put_in_order(keys: [&str; 2]) -> TxnRequest {
    always(keys.iter().map(|key| TxnOp::Put(put(key, "1"))).collect())
}

fn keeping(age_ms: Option<u64>, bytes: Option<u64>) -> Command {
    Command::SetRetention(Retention { age_ms, bytes })
}

/// Two commands that change nothing, and are answered differently.
fn compaction() -> Command {
    Command::Compact { revision: Revision(0) }
}

fn renewal() -> Command {
    Command::LeaseRenew { ids: vec![] }
}

fn in_session(fixture: &mut Fixture, sequence: u64, settled_below: u64, command: &Command) {
    let session = fixture.open_session(1).unwrap();
    let _ = fixture.apply_bytes(InSession { session, sequence, settled_below }.encode(command)).result;
}

fn in_session_again(fixture: &mut Fixture, sequence: u64, command: &Command) {
    let place = InSession { session: SessionId(1), sequence, settled_below: 0 };
    let _ = fixture.apply_bytes(place.encode(command)).result;
}

#[test]
fn every_part_of_the_state_counts() {
    let cases = [
        ("nothing", after(|_| ())),
        ("another value", after(|fixture| fixture.put("a", "3"))),
        ("the same value again", after(|fixture| fixture.put("a", "2"))),
        ("another key", after(|fixture| fixture.put("c", "2"))),
        ("a deletion", after(|fixture| fixture.delete("a", ""))),
        ("a lease for a key", after(|fixture| fixture.run(&put_with_lease("b", "1", 1)))),
        ("another lease for a key", after(|fixture| fixture.run(&put_with_lease("b", "1", 2)))),
        ("no lease for a key", after(|fixture| fixture.put("b", "1"))),
        ("one more lease", after(|fixture| fixture.grant(3, 10))),
        ("one more lease with another id", after(|fixture| fixture.grant(4, 10))),
        ("one more lease with another time to live", after(|fixture| fixture.grant(3, 11))),
        ("one lease less", after(|fixture| fixture.run(&Command::LeaseRevoke { id: LeaseId(2) }))),
        ("compaction", after(|fixture| fixture.compact(3))),
        ("more compaction", after(|fixture| fixture.compact(4))),
        ("time", after(|fixture| fixture.advance_time(1_001))),
        (
            "time with renewal",
            after(|fixture| {
                fixture.time_ms = 1_001;
                fixture.run(&Command::LeaseRenew { ids: vec![LeaseId(2)] });
            }),
        ),
        ("an age to be kept", after(|fixture| fixture.run(&keeping(Some(0), None)))),
        ("a longer age", after(|fixture| fixture.run(&keeping(Some(1_000), None)))),
        ("bytes to be kept", after(|fixture| fixture.run(&keeping(None, Some(0))))),
        ("more bytes", after(|fixture| fixture.run(&keeping(None, Some(1_000))))),
        ("a session", after(|fixture| fixture.open_session(1))),
        ("another client's session", after(|fixture| fixture.open_session(2))),
        ("a session with an answer", after(|fixture| in_session(fixture, 2, 0, &compaction()))),
        ("with another number", after(|fixture| in_session(fixture, 3, 0, &compaction()))),
        ("with what is settled", after(|fixture| in_session(fixture, 2, 1, &compaction()))),
        ("with another answer", after(|fixture| in_session(fixture, 2, 0, &renewal()))),
        (
            "a session that is used again",
            after(|fixture| {
                in_session(fixture, 2, 0, &compaction());
                fixture.advance_time(1_002);
                in_session_again(fixture, 2, &compaction());
            }),
        ),
        (
            "a session that is not used again",
            after(|fixture| {
                in_session(fixture, 2, 0, &compaction());
                fixture.advance_time(1_002);
            }),
        ),
        ("two keys in one revision", after(|fixture| fixture.txn(put_in_order(["x", "y"])))),
        ("the same in the other order", after(|fixture| fixture.txn(put_in_order(["y", "x"])))),
    ];
    let mut by_hash = BTreeMap::new();
    for (name, hash) in cases {
        let same = by_hash.insert(hash, name);
        assert_eq!(same, None, "{name} hashes the same");
    }
}

#[test]
fn history_that_was_taken_out_counts() {
    let [mut ahead, mut behind] = [Fixture::default(), Fixture::default()];
    for fixture in [&mut ahead, &mut behind] {
        for value in 0..20 {
            fixture.put("a", &value.to_string());
        }
        fixture.compact(21).unwrap();
    }
    ahead.advance_time(0);
    assert_eq!(dump(&ahead.view()), dump(&behind.view()));
    assert_ne!(ahead.machine.state_hash(), behind.machine.state_hash());
}

#[test]
fn the_number_of_changes_ever_made_counts() {
    let mut fixture = Fixture::default();
    fixture.put("left", "1");
    let one_key = fixture.view().size_bytes();
    let hash_after = |keys: &[&str]| {
        let mut fixture = Fixture::default();
        fixture.txn(always(keys.iter().map(|key| TxnOp::Put(put(key, "1"))).collect()));
        fixture.delete("", "\0");
        fixture.put("left", "1");
        fixture.compact(4).unwrap();
        for _ in 0..10 {
            fixture.advance_time(0);
        }
        assert_eq!(fixture.view().size_bytes(), one_key);
        fixture.machine.state_hash()
    };
    assert_ne!(hash_after(&["a"]), hash_after(&["a", "b"]));
    assert_eq!(hash_after(&["a"]), hash_after(&["b"]));
}

#[test]
fn answers_and_refusals_do_not_count() {
    let baseline = after(|_| ());
    let reads = after(|fixture| {
        fixture.txn(always(vec![TxnOp::Range(everything())]));
        fixture.delete("x", "z");
        fixture.refuse(&Command::LeaseRevoke { id: LeaseId(9) });
        fixture.apply_bytes(bytes::Bytes::from_static(b"?"));
    });
    assert_eq!(baseline, reads);
}
