//! Snapshots, whole and damaged.

use std::io::{self, Read, Write};

use ruvector_state_machine::kv::*;
use ruvector_state_machine::{RestoreError, StateMachine};

use crate::support::*;

/// A store with everything in it: history, a deletion, leases, one of which is due, sessions with answers, marks of retention, a
/// compaction that is not finished.
fn full() -> Fixture {
    let limits = StoreLimits { expiry_steps_max: 2, ..StoreLimits::default() };
    let mut fixture = Fixture { time_ms: 1_000, ..Fixture::with_limits(limits) };
    fixture.run(&Command::SetRetention(Retention { age_ms: Some(100_000), bytes: Some(1 << 20) }));
    let sessions = [7 << 100, 8].map(|client| fixture.open_session(client).unwrap());
    fixture.grant(5, 1);
    for key in ["due 1", "due 2", "due 3"] {
        fixture.run(&put_with_lease(key, "1", 5));
    }
    fixture.time_ms = 5_000;
    for (session, sequence) in [(sessions[0], 3), (sessions[0], 9), (sessions[1], 2)] {
        let place = InSession { session, sequence, settled_below: 2 };
        fixture.apply_bytes(place.encode(&Command::Put(put("in session", "1")))).result.unwrap();
        fixture.time_ms += 1;
    }
    fixture.grant(7, 100);
    fixture.grant(-3, 50);
    for number in 0..30 {
        fixture.put(&format!("key {number}"), &number.to_string());
    }
    fixture.run(&put_with_lease("leased", "1", 7));
    fixture.delete("key 1", "key 2");
    fixture.put("key 1", "again");
    fixture.compact(20).unwrap();
    fixture.put("key 5", "after");
    fixture.time_ms += 1_000;
    fixture.put("key 6", "marked");
    fixture
}

fn snapshot(fixture: &Fixture) -> Vec<u8> {
    let mut bytes = Vec::new();
    KvMachine::write_snapshot(&fixture.view(), &mut bytes).unwrap();
    bytes
}

fn restore(mut bytes: &[u8]) -> Result<KvMachine, RestoreError> {
    let mut machine = KvMachine::default();
    machine.restore(&mut bytes).map(|()| machine)
}

#[test]
fn restores_everything_whatever_was_there_before() {
    let original = full();
    let mut other = Fixture::default();
    other.put("gone", "1");
    other.grant(1, 1);
    other.machine.restore(&mut &snapshot(&original)[..]).unwrap();
    assert_eq!(dump(&other.view()), dump(&original.view()));
    assert_eq!(other.machine.state_hash(), original.machine.state_hash());
    assert_eq!(snapshot(&other), snapshot(&original));
}

#[test]
fn an_empty_store_has_a_snapshot_too() {
    let restored = restore(&snapshot(&Fixture::default())).unwrap();
    assert_eq!(restored.state_hash(), KvMachine::default().state_hash());
}

#[test]
fn a_snapshot_is_of_its_view_and_not_of_the_present() {
    let mut fixture = full();
    let view = fixture.view();
    let before = snapshot(&fixture);
    fixture.delete("", "\0");
    let mut bytes = Vec::new();
    KvMachine::write_snapshot(&view, &mut bytes).unwrap();
    assert_eq!(bytes, before);
}

#[test]
fn a_truncated_snapshot_is_refused_and_changes_nothing() {
    let bytes = snapshot(&full());
    let mut fixture = Fixture::default();
    fixture.put("here", "1");
    let hash = fixture.machine.state_hash();
    for length in 0..bytes.len() {
        let result = fixture.machine.restore(&mut &bytes[..length]);
        assert!(matches!(result, Err(RestoreError::Format(_))), "{length}: {result:?}");
    }
    assert_eq!(fixture.machine.state_hash(), hash);
}

#[test]
fn any_changed_byte_is_noticed() {
    let bytes = snapshot(&full());
    for index in 0..bytes.len() {
        for mask in [0x01, 0x10, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[index] ^= mask;
            let result = restore(&damaged);
            assert!(matches!(result, Err(RestoreError::Format(_))), "{index} ^ {mask:#x}: {result:?}");
        }
    }
}

/// Only the first part of the snapshot has keys with a lease.
#[test]
fn leases_keep_their_keys_over_a_snapshot_of_many_parts() {
    let mut original = Fixture::default();
    original.grant(1, 1);
    for key in ["a", "b", "c"] {
        original.run(&put_with_lease(key, "", 1));
    }
    for number in 0..4_000 {
        original.put(&format!("key {number}"), "");
    }
    let bytes = snapshot(&original);
    assert!(KvMachine::read_snapshot(&mut &bytes[..]).count() > 3, "that are too few parts");
    let mut copy = restored(&original);
    assert_eq!(copy.view().lease(LeaseId(1)), original.view().lease(LeaseId(1)));
    copy.advance_time(1_000);
    assert_eq!((copy.get("a"), copy.view().key_count()), (None, 4_000));
}

#[test]
fn a_session_keeps_its_answers_over_a_snapshot_of_many_parts() {
    let mut original = Fixture::default();
    let session = original.open_session(1).unwrap();
    let send = |fixture: &mut Fixture, sequence: u64| {
        let place = InSession { session, sequence, settled_below: 1 };
        fixture.apply_bytes(place.encode(&Command::Put(put("key", &sequence.to_string()))))
    };
    let answers: Vec<_> = (1..=4_000).map(|sequence| send(&mut original, sequence)).collect();
    let mut copy = restored(&original);
    for (sequence, answer) in (1..).zip(answers) {
        assert_eq!(send(&mut copy, sequence), answer);
    }
    assert_eq!(copy.machine.state_hash(), original.machine.state_hash());
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut bytes = snapshot(&full());
    bytes.push(0);
    assert!(restore(&bytes).is_err());
}

#[test]
fn a_claimed_length_takes_no_memory() {
    let bytes = snapshot(&Fixture::default());
    for claimed in [1 << 29, u32::MAX] {
        let mut damaged = bytes[..12].to_vec();
        damaged.extend(claimed.to_le_bytes());
        damaged.extend([0; 10]);
        assert!(restore(&damaged).is_err());
    }
}

#[test]
fn errors_of_the_reader_and_the_writer_come_out() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    assert!(matches!(KvMachine::default().restore(&mut Broken), Err(RestoreError::Io(_))));
    assert!(KvMachine::write_snapshot(&full().view(), &mut Broken).is_err());
}
