//! Forgetting history.

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
    let two_keys = 2 * 150;
    assert!(fixture.view().size_bytes() < two_keys, "{} of {full} left", fixture.view().size_bytes());
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
fn a_key_created_again_after_compaction_starts_over() {
    let mut fixture = Fixture::default();
    fixture.put("a", "1");
    fixture.delete("a", "");
    fixture.compact(3).unwrap();
    for time_ms in 0..10 {
        fixture.advance_time(time_ms);
    }
    assert_eq!(fixture.view().size_bytes(), 0);
    fixture.put("a", "2");
    assert_eq!(fixture.get("a"), Some(key_value("a", "2", 4, 4, 1)));
}
