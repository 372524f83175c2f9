//! Snapshots of the key-value machine, of any bytes and of any records.
//!
//! What must hold: no panic, and memory within a multiple of the bytes that really came. A machine that refuses a
//! snapshot stays as it was. One that takes it, also a snapshot that no machine would have written but whose hash is
//! right, can go on: it applies commands, lets time pass, and writes a snapshot that restores to the same state.

#![no_main]

use arbitrary::Unstructured;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ruvector_fuzz::{byte, piece, within_memory};
use ruvector_state_machine::kv::{
    Command, DeleteRequest, KeyRange, KvMachine, LeaseId, PutRequest, Revision,
};
use ruvector_state_machine::{Committed, RestoreError, StateMachine};

const MEMORY_FIXED_BYTES: usize = 4 << 20;
const MEMORY_FACTOR: usize = 2_000;

/// A snapshot may have a revision right below the greatest that is taken, but nobody can go on from there.
const REVISION_MAX: Revision = Revision(i64::MAX / 4);

fuzz_target!(|data: &[u8]| {
    within_memory(MEMORY_FIXED_BYTES + data.len() * MEMORY_FACTOR, || run(data));
});

fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    if byte(&mut input).is_multiple_of(4) {
        let _refused_or_not = restored(input.take_rest());
        return;
    }
    let mut records = Vec::new();
    while !input.is_empty() {
        records.push(piece(&mut input));
    }
    // The machine tells the hash that it arrives at, which is then the right one.
    let Err(text) = restored(&snapshot(&records, 0)) else { return };
    let is_known = !text.contains("format version") && !text.contains("no snapshot of this machine");
    assert!(is_known, "this target makes another format than the machine reads: {text}");
    if let Some(hash) = text.split_once("contents hash to ").map(|(_, rest)| rest.split(' ').next()) {
        let hash = hash.and_then(|hash| u128::from_str_radix(hash, 16).ok()).expect("a hash is told in hex");
        restored(&snapshot(&records, hash)).expect("the hash is the one that the machine has told");
    }
}

/// The machine's format, described where it is written.
fn snapshot(records: &[&[u8]], hash: u128) -> Vec<u8> {
    /// The variant that ends a snapshot.
    const END: u8 = 6;
    let mut bytes = b"rvkvsnap\x04\0\0\0".to_vec();
    let end = postcard::to_stdvec(&(END, records.len() as u64, hash)).expect("numbers can be encoded");
    for record in records.iter().copied().chain([&end[..]]) {
        bytes.extend_from_slice(&u32::try_from(record.len()).expect("an input is short").to_le_bytes());
        bytes.extend_from_slice(record);
    }
    bytes
}

/// Whether a machine takes these bytes, or why not.
fn restored(bytes: &[u8]) -> Result<(), String> {
    let mut machine = KvMachine::default();
    let before = machine.state_hash();
    match machine.restore(&mut &bytes[..]) {
        Ok(()) => {
            goes_on(machine);
            Ok(())
        }
        Err(RestoreError::Format(text)) => {
            assert_eq!(machine.state_hash(), before, "a refused snapshot changed the machine");
            Err(text)
        }
        Err(RestoreError::Io(error)) => panic!("bytes in memory can be read: {error}"),
    }
}

fn goes_on(mut machine: KvMachine) {
    if machine.view().revision() > REVISION_MAX {
        return;
    }
    same_by_snapshot(&machine);
    let everything = || KeyRange { key: Bytes::from_static(b"\0"), range_end: Bytes::from_static(b"\0") };
    let put = PutRequest {
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"v"),
        lease: None,
        prev_kv: true,
        ignore_value: false,
        ignore_lease: false,
    };
    let revision = machine.view().revision();
    let commands = [
        Command::Put(put),
        Command::LeaseRenew { ids: vec![LeaseId(1), LeaseId(2)] },
        Command::Compact { revision },
        Command::Delete(DeleteRequest { range: everything(), prev_kv: true }),
        Command::Compact { revision: Revision(revision.0 + 1) },
    ];
    for (index, command) in (1..).zip(&commands) {
        let entry = Committed { index, time_ms: 0, command: command.encode() };
        let _ = machine.apply(&entry).result;
    }
    machine.advance_time(10, u64::MAX / 2);
    same_by_snapshot(&machine);
}

fn same_by_snapshot(machine: &KvMachine) {
    let mut bytes = Vec::new();
    KvMachine::write_snapshot(&machine.view(), &mut bytes).expect("a vector takes everything");
    let mut twin = KvMachine::default();
    twin.restore(&mut &bytes[..]).expect("a machine reads its own snapshot");
    assert_eq!(twin.state_hash(), machine.state_hash(), "a snapshot is another state");
}
