//! Forgetting history.

use ruvector_state_machine::StateMachine;
use ruvector_state_machine::kv::*;

use crate::support::*;

fn at(fixture: &Fixture, revision: i64) -> Result<RangeResponse, KvError> {
    fixture.view().range(&RangeRequest { revision: Some(Revision(revision)), ..everything() })
}

#[test]
fn reads_below_are_refused_at_once_and_at_the_revision_still_served() {
    let mut fixture = Fixture::default();
    for value in ["1", "2", "3"] {
        fixture.put("a", value);
    }
    fixture.put("b", "1");
    fixture.delete("b", "");
    let [at_5, at_6] = [at(&fixture, 5).unwrap(), at(&fixture, 6).unwrap()];
    fixture.compact(5).unwrap();
    let error = KvError::Compacted { requested: Revision(4), compacted: Revision(5) };
    assert_eq!(at(&fixture, 4), Err(error));
    assert_eq!(at(&fixture, 5), Ok(at_5));
    assert_eq!(at(&fixture, 6), Ok(at_6));
}

#[test]
fn the_future_and_what_is_compacted_are_refused() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    fixture.put("a", "2");
    let compact = |revision| Command::Compact { revision: Revision(revision) };
    assert_eq!(
        fixture.refuse(&compact(4)),
        KvError::FutureRevision { requested: Revision(4), current: Revision(3) }
    );
    assert_eq!(fixture.run(&compact(3)), Outcome::Compact);
    for refused in [3, 2, 0, -1] {
        let error = KvError::Compacted { requested: Revision(refused), compacted: Revision(3) };
        assert_eq!(fixture.refuse(&compact(refused)), error);
    }
    assert_eq!(fixture.view().revision(), Revision(3));
}

#[test]
fn memory_is_given_back_by_the_entries_that_follow() {
    let mut fixture = Fixture::default();
    fixture.put("kept", "1");
    for number in 0..200 {
        fixture.put("changing", &number.to_string());
        fixture.put(&format!("deleted {number}"), "");
    }
    fixture.delete("deleted", "e");
    let full = fixture.view().size_bytes();
    let revision = fixture.view().revision();
    fixture.compact(revision.0).unwrap();
    let answers = dump(&fixture.view());
    assert!(fixture.view().size_bytes() > full * 9 / 10, "one entry did all the work");
    for time_ms in 0..1000 {
        fixture.advance_time(time_ms);
    }
    assert_eq!(dump(&fixture.view()), Dump { time_ms: 999, ..answers });
    // Two keys, and the deletions of the revision compacted to, from which a watch may begin.
    let two_keys_and_deletions = (2 + 200) * 150;
    assert!(
        fixture.view().size_bytes() < two_keys_and_deletions,
        "{} of {full}",
        fixture.view().size_bytes()
    );
    fixture.put("kept", "2");
    fixture.compact(revision.0 + 1).unwrap();
    for time_ms in 1000..2000 {
        fixture.advance_time(time_ms);
    }
    assert!(fixture.view().size_bytes() < 2 * 150, "{} of {full} left", fixture.view().size_bytes());
}

#[test]
fn writers_do_not_outrun_it() {
    let mut fixture = Fixture::default();
    for round in 0..400 {
        let puts = (0..20).map(|key| TxnOp::Put(put(&format!("{key}"), &round.to_string()))).collect();
        let revision = fixture.apply(&Command::Txn(always(puts))).revision;
        fixture.compact(revision.0).unwrap();
    }
    let size = fixture.view().size_bytes();
    assert!(size < 20 * 200 * 4, "{size}");
}

#[test]
fn four_puts_take_out_five_records() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    let version_bytes = fixture.view().size_bytes();
    for _ in 1..400 {
        fixture.put("a", "1");
    }
    fixture.compact(401).unwrap();
    for _ in 0..160 {
        fixture.put("a", "1");
    }
    // The compaction takes out two, as it adds none, and what was taken out last is kept as what the key was.
    let left = 400 - 2 - 5 * 40 + 160 + 1;
    assert_eq!(
        fixture.view().size_bytes() / version_bytes,
        left,
        "more slows puts down, fewer fill the memory"
    );
    for _ in 0..160 {
        fixture.put("a", "1");
    }
    assert_eq!(fixture.view().size_bytes() / version_bytes, 160 + 160 + 1);
}

#[test]
fn a_key_created_again_after_compaction_starts_over() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    fixture.delete("a", "");
    fixture.put("b", "1");
    fixture.compact(4).unwrap();
    for time_ms in 0..10 {
        fixture.advance_time(time_ms);
    }
    let one_key = fixture.view().size_bytes();
    fixture.delete("b", "");
    fixture.compact(5).unwrap();
    for time_ms in 10..20 {
        fixture.advance_time(time_ms);
    }
    assert!(fixture.view().size_bytes() < one_key, "only the deletion is left");
    fixture.put("a", "2");
    assert_eq!(fixture.get("a"), Some(key_value("a", "2", 6, 6, 1)));
}

#[test]
fn a_transaction_that_reads_a_compacted_revision_is_refused_wherever_it_is_applied() {
    let mut fixture = Fixture::default();
    for value in ["1", "2", "3", "4"] {
        fixture.put("a", value);
    }
    fixture.compact(4).unwrap();
    let reading = |revision| {
        let old = RangeRequest { revision: Some(Revision(revision)), ..get("a") };
        Command::Txn(always(vec![TxnOp::Put(put("b", "written")), TxnOp::Range(old)]))
    };
    let error = KvError::Compacted { requested: Revision(3), compacted: Revision(4) };
    // One replica after another: with all of what was compacted still there, with less and less of it, with none.
    for time_ms in 0..6 {
        let mut copy = restored(&fixture);
        for replica in [&mut fixture, &mut copy] {
            assert_eq!(replica.refuse(&reading(3)), error);
        }
        assert_eq!(copy.machine.state_hash(), fixture.machine.state_hash());
        fixture.advance_time(time_ms);
    }
    assert!(matches!(fixture.run(&reading(4)), Outcome::Txn(_)));
}

#[test]
fn a_snapshot_is_whole_while_a_revision_of_many_keys_is_being_forgotten() {
    let mut fixture = Fixture::default();
    let all_keys =
        |value: &str| always((0..20).map(|key| TxnOp::Put(put(&key.to_string(), value))).collect());
    fixture.txn(all_keys("old"));
    fixture.txn(all_keys("new"));
    fixture.delete("1", "2");
    fixture.compact(4).unwrap();
    for time_ms in 0..40 {
        fixture.advance_time(time_ms);
        let copy = restored(&fixture);
        assert_eq!(dump(&copy.view()), dump(&fixture.view()));
        assert_eq!(copy.machine.state_hash(), fixture.machine.state_hash());
    }
    assert_eq!(fixture.view().revision(), Revision(4), "nothing that is forgotten takes the revision back");
}
