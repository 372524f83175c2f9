//! Replicated commands of any bytes, applied by the key-value machine.
//!
//! What must hold: no panic; two machines that apply the same give the same answers and are in the same state, also
//! if one of them was restored from a snapshot in between; a command that is refused leaves keys and revision as they
//! were; and memory stays within a multiple of the input's size.

#![no_main]

use arbitrary::Unstructured;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ruvector_fuzz::{byte, piece, within_memory};
use ruvector_state_machine::kv::{Command, KvMachine};
use ruvector_state_machine::{Committed, StateMachine};

/// What empty machines and their snapshots take, and what a byte of a command may become: an empty operation of a
/// transaction is a few bytes in the log and a few hundred in memory, on each machine.
const MEMORY_FIXED_BYTES: usize = 4 << 20;
const MEMORY_FACTOR: usize = 2_000;

fuzz_target!(|data: &[u8]| {
    within_memory(MEMORY_FIXED_BYTES + data.len() * MEMORY_FACTOR, || run(data));
});

fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut one = KvMachine::default();
    let mut other = KvMachine::default();
    let (mut index, mut time_ms) = (0, 0_u64);
    while !input.is_empty() {
        index += 1;
        // Squared, so that it can be a moment or long after any lease.
        time_ms += u64::from(byte(&mut input)).pow(3);
        let entry = Committed { index, time_ms, command: Bytes::copy_from_slice(piece(&mut input)) };
        if entry.command.is_empty() {
            other = restored(&one);
            continue;
        }
        apply(&mut one, &mut other, &entry);
    }
    assert_eq!(restored(&one).state_hash(), one.state_hash(), "a snapshot is another state");
}

fn apply(one: &mut KvMachine, other: &mut KvMachine, entry: &Committed) {
    // Leases that are due may be the work of several entries, and the next one is to do nothing but its command.
    loop {
        one.advance_time(entry.index, entry.time_ms);
        other.advance_time(entry.index, entry.time_ms);
        if one.wake_at_ms().is_none_or(|wake_at_ms| wake_at_ms > entry.time_ms) {
            break;
        }
    }
    let before = one.view();
    let response = one.apply(entry);
    assert_eq!(response, other.apply(entry), "two machines answer differently");
    assert_eq!(one.state_hash(), other.state_hash(), "two machines are in different states after {entry:?}");
    let after = one.view();
    assert_eq!(response.revision, after.revision(), "the answer tells another revision than the store has");
    if let Err(error) = &response.result {
        assert_eq!(before.revision(), after.revision(), "a refused command made a revision: {error}");
        assert_eq!(before.key_count(), after.key_count(), "a refused command changed keys: {error}");
    }
    if let Ok(command) = Command::decode(&entry.command) {
        assert_eq!(Command::decode(&command.encode()), Ok(command), "a command changes by being encoded");
    }
}

/// Another machine in the state of this one, by way of a snapshot.
fn restored(machine: &KvMachine) -> KvMachine {
    let mut bytes = Vec::new();
    KvMachine::write_snapshot(&machine.view(), &mut bytes).expect("a vector takes everything");
    let mut restored = KvMachine::default();
    restored.restore(&mut &bytes[..]).expect("a machine reads its own snapshot");
    assert_eq!(restored.state_hash(), machine.state_hash(), "a snapshot is another state");
    restored
}
