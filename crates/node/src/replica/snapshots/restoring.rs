//! Restoring a machine from a snapshot on two processors.

use ruvector_state_machine::{RestoreError, StateMachine};
use ruvector_storage::SnapshotReader;

/// How many parts may wait to be put into the machine. Few are enough: neither half waits long for the other.
const WAITING_MAX: usize = 8;
/// What is smaller is restored before a thread is worth its while.
const LARGE_BYTES: u64 = 1 << 20;

/// Replaces a machine's state by what the reader still has. On an error the machine is unchanged.
///
/// Of a large snapshot one thread reads, checks, hashes and unpacks, while this one fills the machine: a node is not of
/// use before it is done, and has nothing else to do.
pub(super) fn restore<M: StateMachine>(
    machine: &mut M,
    reader: &mut SnapshotReader,
) -> Result<(), RestoreError> {
    if reader.info().file_bytes < LARGE_BYTES {
        return machine.restore(reader);
    }
    std::thread::scope(|scope| {
        let (parts, waiting) = crossbeam_channel::bounded(WAITING_MAX);
        let read = move || {
            // A machine that refuses a part takes no more.
            M::read_snapshot(reader).try_for_each(|part| parts.send(part)).unwrap_or_default();
        };
        std::thread::Builder::new().name("restore".to_owned()).spawn_scoped(scope, read)?;
        machine.restore_parts(waiting.into_iter())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use bytes::Bytes;
    use ruvector_protocol::{GroupId, NodeId, SnapshotMeta};
    use ruvector_state_machine::Committed;
    use ruvector_state_machine::kv::{Command, KvMachine, PutRequest};
    use ruvector_storage::{Owner, RealDisk, SnapshotStore};
    use tempfile::TempDir;

    use super::*;

    const OWNER: Owner = Owner { cluster_id: 1, node: NodeId(1) };

    fn put(machine: &mut KvMachine, number: u64) {
        let request = PutRequest {
            key: Bytes::copy_from_slice(&number.to_be_bytes()),
            value: vec![b'v'; 1_000].into(),
            lease: None,
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        };
        let command = Command::Put(request).encode();
        let _ = machine.apply(&Committed { index: number, time_ms: 0, command });
    }

    /// A machine and a snapshot of it that is large.
    fn large(directory: &TempDir) -> (KvMachine, SnapshotStore) {
        let mut machine = KvMachine::default();
        (1..=5_000).for_each(|number| put(&mut machine, number));
        let store = SnapshotStore::open(Arc::new(RealDisk::new(directory.path())), OWNER).unwrap();
        let mut writer = store.create("large", GroupId(1), &SnapshotMeta::default()).unwrap();
        KvMachine::write_snapshot(&machine.view(), &mut writer).unwrap();
        assert!(writer.finish().unwrap().file_bytes > LARGE_BYTES);
        (machine, store)
    }

    #[test]
    fn a_large_snapshot_makes_the_machine_that_it_is_of() {
        let directory = TempDir::new().unwrap();
        let (machine, store) = large(&directory);
        let mut restored = KvMachine::default();
        restore(&mut restored, &mut store.open_contents("large").unwrap()).unwrap();
        assert_eq!(restored.state_hash(), machine.state_hash());
    }

    #[test]
    fn damage_in_a_large_snapshot_is_named_and_changes_nothing() {
        let directory = TempDir::new().unwrap();
        let (_, store) = large(&directory);
        let path = directory.path().join("snapshots/large.snapshot");
        let mut bytes = fs::read(&path).unwrap();
        bytes[4 << 20] ^= 1;
        fs::write(&path, bytes).unwrap();
        let mut machine = KvMachine::default();
        put(&mut machine, 7);
        let before = machine.state_hash();
        let error = restore(&mut machine, &mut store.open_contents("large").unwrap()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("large.snapshot") && text.contains("checksum"), "{text}");
        assert_eq!(machine.state_hash(), before);
    }
}
