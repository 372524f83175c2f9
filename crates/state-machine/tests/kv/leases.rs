//! Leases on cluster time.

use ruvector_state_machine::StateMachine;
use ruvector_state_machine::kv::*;

use crate::support::*;

fn grant(id: i64, ttl_seconds: i64) -> Command {
    Command::LeaseGrant { id: LeaseId(id), ttl_seconds }
}

fn keys(fixture: &Fixture, lease: i64) -> Option<String> {
    let info = fixture.view().lease(LeaseId(lease))?;
    Some(info.keys.iter().map(|key| std::str::from_utf8(key).unwrap()).collect())
}

#[test]
fn grants_are_checked() {
    let mut fixture = Fixture::default();
    assert_eq!(fixture.refuse(&grant(0, 10)), KvError::LeaseNotFound(LeaseId(0)));
    assert_eq!(fixture.refuse(&grant(1, 0)), KvError::LeaseTtlOutOfBounds(0));
    assert_eq!(fixture.refuse(&grant(1, -1)), KvError::LeaseTtlOutOfBounds(-1));
    let too_long = LEASE_TTL_SECONDS_MAX + 1;
    assert_eq!(fixture.refuse(&grant(1, too_long)), KvError::LeaseTtlOutOfBounds(too_long));
    assert_eq!(fixture.run(&grant(1, 10)), Outcome::LeaseGrant { ttl_seconds: 10 });
    assert_eq!(fixture.refuse(&grant(1, 20)), KvError::LeaseExists(LeaseId(1)));
    fixture.run(&grant(-5, LEASE_TTL_SECONDS_MAX));
    assert_eq!(fixture.view().revision(), Revision(1));
}

#[test]
fn leases_are_listed_in_the_order_in_which_they_end() {
    let mut fixture = Fixture::default();
    for (id, ttl_seconds) in [(1, 500), (2, 100), (-3, 300), (9, 300)] {
        fixture.run(&grant(id, ttl_seconds));
    }
    assert_eq!(fixture.view().leases(), [2, -3, 9, 1].map(LeaseId));
    fixture.advance_time(1_000);
    fixture.run(&Command::LeaseRenew { ids: vec![LeaseId(-3)] });
    assert_eq!(fixture.view().leases(), [2, 9, -3, 1].map(LeaseId));
}

#[test]
fn a_key_belongs_to_one_lease_at_most() {
    let mut fixture = Fixture::default();
    fixture.grant(1, 10);
    fixture.grant(2, 10);
    fixture.run(&put_with_lease("b", "", 1));
    fixture.run(&put_with_lease("a", "", 1));
    assert_eq!(keys(&fixture, 1).as_deref(), Some("ab"));
    fixture.run(&put_with_lease("b", "", 2));
    assert_eq!(keys(&fixture, 1).as_deref(), Some("a"));
    assert_eq!(keys(&fixture, 2).as_deref(), Some("b"));
    fixture.put("b", "");
    assert_eq!(keys(&fixture, 2).as_deref(), Some(""));
    fixture.delete("a", "");
    assert_eq!(keys(&fixture, 1).as_deref(), Some(""));
    assert_eq!(fixture.refuse(&put_with_lease("b", "", 3)), KvError::LeaseNotFound(LeaseId(3)));
    fixture.run(&put_with_lease("b", "", 0));
    assert_eq!(fixture.get("b").unwrap().lease, None);
}

#[test]
fn revoking_deletes_the_keys_in_order_in_one_revision() {
    let mut fixture = Fixture::default();
    fixture.grant(1, 10);
    for key in ["c", "a", "b"] {
        fixture.run(&put_with_lease(key, "x", 1));
    }
    fixture.put("d", "");
    assert_eq!(fixture.run(&Command::LeaseRevoke { id: LeaseId(1) }), Outcome::LeaseRevoke);
    assert_eq!(fixture.view().revision(), Revision(6));
    let events: Vec<_> = fixture.view().events(Revision(6), Revision(6)).unwrap().collect();
    let deleted: Vec<_> = events.iter().map(|event| (event.kind, &event.kv.key[..])).collect();
    assert_eq!(
        deleted,
        [(EventKind::Delete, &b"a"[..]), (EventKind::Delete, b"b"), (EventKind::Delete, b"c")]
    );
    assert_eq!(fixture.machine.wake_at_ms(), None);
    let again = Command::LeaseRevoke { id: LeaseId(1) };
    assert_eq!(fixture.refuse(&again), KvError::LeaseNotFound(LeaseId(1)));
}

#[test]
fn leases_end_when_the_cluster_time_says_so() {
    let mut fixture = Fixture { time_ms: 1_000, ..Fixture::default() };
    fixture.grant(1, 5);
    fixture.run(&put_with_lease("a", "", 1));
    assert_eq!(fixture.machine.wake_at_ms(), Some(6_000));
    fixture.advance_time(5_999);
    assert!(fixture.get("a").is_some());
    fixture.advance_time(6_000);
    assert_eq!(fixture.get("a"), None);
    assert_eq!((fixture.view().revision(), fixture.view().leases()), (Revision(3), vec![]));
}

#[test]
fn an_entry_ends_leases_before_its_command_is_done() {
    let mut fixture = Fixture::default();
    fixture.grant(1, 1);
    fixture.run(&put_with_lease("a", "old", 1));
    fixture.time_ms = 1_000;
    let Outcome::Put(response) = fixture.run(&Command::Put(put("a", "new"))) else { panic!() };
    assert_eq!(response.prev_kv, None);
    assert_eq!(fixture.get("a"), Some(key_value("a", "new", 4, 4, 1)));
    let renew = Command::LeaseRenew { ids: vec![LeaseId(1)] };
    assert_eq!(fixture.run(&renew), Outcome::LeaseRenew(vec![None]));
}

#[test]
fn leases_end_by_deadline_then_id_each_in_a_revision() {
    let mut fixture = Fixture::default();
    for (id, ttl_seconds, key) in [(4, 2, "d"), (3, 1, "c"), (2, 2, "b"), (1, 3, "a"), (9, 1, "")] {
        fixture.grant(id, ttl_seconds);
        if !key.is_empty() {
            fixture.run(&put_with_lease(key, "", id));
        }
    }
    fixture.advance_time(10_000);
    let events: Vec<_> = fixture.view().events(Revision(6), Revision(99)).unwrap().collect();
    let order: Vec<_> = events.iter().map(|event| (&event.kv.key[..], event.kv.mod_revision.0)).collect();
    assert_eq!(order, [(&b"c"[..], 6), (b"b", 7), (b"d", 8), (b"a", 9)]);
    assert_eq!(fixture.view().leases(), []);
}

#[test]
fn a_batch_of_renewals_answers_each() {
    let mut fixture = Fixture::default();
    fixture.grant(1, 5);
    fixture.grant(2, 7);
    fixture.time_ms = 3_000;
    let renew = Command::LeaseRenew { ids: vec![LeaseId(2), LeaseId(3), LeaseId(1), LeaseId(2)] };
    assert_eq!(fixture.run(&renew), Outcome::LeaseRenew(vec![Some(7), None, Some(5), Some(7)]));
    assert_eq!(fixture.view().lease(LeaseId(1)).unwrap().expires_at_ms, 8_000);
    assert_eq!(fixture.view().lease(LeaseId(2)).unwrap().expires_at_ms, 10_000);
    assert_eq!(fixture.machine.wake_at_ms(), Some(8_000));
    assert_eq!(fixture.view().revision(), Revision(1));
}

#[test]
fn time_never_goes_back() {
    let mut fixture = Fixture::default();
    fixture.advance_time(10_000);
    fixture.time_ms = 4_000;
    fixture.grant(1, 5);
    assert_eq!(fixture.view().lease(LeaseId(1)).unwrap().expires_at_ms, 15_000);
    assert_eq!(fixture.view().time_ms(), 10_000);
}

#[test]
fn the_end_of_time_overflows_nothing() {
    let mut fixture = Fixture { time_ms: u64::MAX - 1, ..Fixture::default() };
    fixture.grant(1, LEASE_TTL_SECONDS_MAX);
    assert_eq!(fixture.machine.wake_at_ms(), Some(u64::MAX));
}

/// A machine that ends leases in so many steps an entry.
fn ending_in(expiry_steps_max: usize) -> Fixture {
    Fixture::with_limits(StoreLimits { expiry_steps_max, ..StoreLimits::default() })
}

#[test]
fn leases_that_end_at_once_end_over_many_entries_the_next_of_which_is_due_at_once() {
    let mut fixture = ending_in(10);
    for id in 1..=100 {
        fixture.grant(id, 1);
        fixture.run(&put_with_lease(&format!("{id:03}"), "", id));
    }
    for (time_ms, left) in (1_000..).zip((0..100).step_by(5).rev()) {
        assert_eq!(fixture.machine.wake_at_ms(), Some(1_000), "it is late already, so at once");
        fixture.advance_time(time_ms);
        assert_eq!((fixture.view().leases().len(), fixture.view().key_count()), (left, left));
        assert!(fixture.view().leases().iter().all(|id| id.0 > 100 - left as i64), "the smallest id first");
    }
    assert_eq!(fixture.machine.wake_at_ms(), None);
}

#[test]
fn no_entry_ends_more_than_a_server_does_between_two_heartbeats() {
    let mut fixture = Fixture::default();
    for id in 1..=3_000 {
        fixture.grant(id, 1);
        fixture.run(&put_with_lease(&format!("{id}"), "", id));
    }
    fixture.time_ms = 2_000;
    fixture.put("other", "");
    let ended = 3_001 - fixture.view().key_count();
    assert!((100..=1_024).contains(&ended), "{ended}");
}

#[test]
fn a_lease_with_more_keys_than_one_entry_may_end_ends_in_pieces() {
    let mut fixture = ending_in(10);
    fixture.grant(1, 1);
    fixture.grant(2, 1);
    for key in 0..25 {
        fixture.run(&put_with_lease(&format!("{key:02}"), "", 2));
    }
    let before = fixture.view().revision();
    let left = [(); 4].map(|()| {
        fixture.advance_time(2_000);
        (fixture.view().leases().len(), fixture.view().key_count())
    });
    assert_eq!(left, [(1, 25), (1, 15), (1, 5), (0, 0)]);
    assert_eq!(fixture.machine.wake_at_ms(), None);
    let events: Vec<_> = fixture.view().events(Revision(before.0 + 1), Revision(99)).unwrap().collect();
    let keys: Vec<_> = events.iter().map(|event| &event.kv.key[..]).collect();
    assert!(keys.is_sorted() && keys.len() == 25, "{keys:?}");
    assert_eq!(fixture.view().revision(), Revision(before.0 + 3));
}

#[test]
fn a_lease_that_one_entry_can_end_ends_in_one_revision() {
    let mut fixture = ending_in(10);
    fixture.grant(1, 1);
    fixture.grant(2, 1);
    for key in 0..9 {
        fixture.run(&put_with_lease(&format!("of 1: {key}"), "", 1));
        fixture.run(&put_with_lease(&format!("of 2: {key}"), "", 2));
    }
    let before = fixture.view().revision();
    fixture.advance_time(1_000);
    assert_eq!((fixture.view().revision(), fixture.view().key_count()), (Revision(before.0 + 1), 9));
    fixture.advance_time(1_000);
    assert_eq!((fixture.view().revision(), fixture.view().key_count()), (Revision(before.0 + 2), 0));
}

/// One entry is not enough for lease 2, which is due and has keys.
fn half_ended() -> Fixture {
    let mut fixture = ending_in(4);
    for id in [1, 2] {
        fixture.grant(id, 1);
        for key in ["a", "b"] {
            fixture.run(&put_with_lease(&format!("{key}{id}"), "1", id));
        }
    }
    fixture.time_ms = 1_000;
    fixture
}

#[test]
fn nothing_prolongs_a_lease_that_is_due() {
    let renew = Command::LeaseRenew { ids: vec![LeaseId(1), LeaseId(2)] };
    assert_eq!(half_ended().run(&renew), Outcome::LeaseRenew(vec![None, None]));
    let attach = put_with_lease("c", "", 2);
    assert_eq!(half_ended().apply(&attach).result, Err(KvError::LeaseNotFound(LeaseId(2))));
    assert_eq!(half_ended().apply(&grant(2, 9)).result, Err(KvError::LeaseExists(LeaseId(2))));
    let mut fixture = half_ended();
    fixture.run(&grant(1, 9));
    assert_eq!(keys(&fixture, 1).as_deref(), Some(""), "it has ended, so its id is free");
}

#[test]
fn keys_of_a_lease_that_is_due_are_there_until_it_ends() {
    let mut fixture = half_ended();
    assert_eq!(fixture.put("kept", ""), Revision(7), "lease 1 ended before");
    assert_eq!(keys(&fixture, 1), None);
    assert_eq!(keys(&fixture, 2).as_deref(), Some("a2b2"));
    let mut fixture = half_ended();
    fixture.put("b2", "detached");
    fixture.advance_time(1_000);
    assert_eq!(keys_of(&fixture.range(&everything())), ["b2"]);
    let mut fixture = half_ended();
    assert_eq!(fixture.run(&Command::LeaseRevoke { id: LeaseId(2) }), Outcome::LeaseRevoke);
    assert_eq!(fixture.view().key_count(), 0);
    let mut fixture = half_ended();
    let kept = PutRequest { ignore_lease: true, ..put("b2", "2") };
    fixture.run(&Command::Put(kept));
    fixture.advance_time(1_000);
    assert_eq!(fixture.view().key_count(), 0, "it stays the lease's key");
}
