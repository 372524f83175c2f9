//! Snapshot files: written and then damaged, or of any bytes, in the store or on their way from a peer.
//!
//! What must hold: no panic, and no memory beyond the files' size; a file is refused with a typed error, or says
//! what it was written with and gives exactly the contents it was written with. A file of other contents than a peer
//! announced never gets a name, and leaves nothing behind.

#![no_main]

use std::io::{Read, Write};
use std::sync::Arc;

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use ruvector_fuzz::damage::{Damage, Files};
use ruvector_fuzz::{OWNER, byte, number, piece, within_memory};
use ruvector_protocol::{ClusterTime, GroupId, Index, LogPosition, Membership, NodeId, SnapshotMeta, Term};
use ruvector_storage::{Disk, SimulatedDisk, SnapshotReceiver, SnapshotStore, StorageError};

/// A few copies of the longest contents.
const MEMORY_FIXED_BYTES: usize = 8 << 20;
/// A chunk and a piece of the next.
const LONG_BYTES: usize = 300 << 10;
const DIRECTORY: &str = "snapshots";
const NAME: &str = "made";
const GROUP: GroupId = GroupId(4);

fuzz_target!(|data: &[u8]| within_memory(MEMORY_FIXED_BYTES, || run(data)));

fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    match byte(&mut input) % 3 {
        0 => any_bytes(input.take_rest()),
        1 => damaged(&mut input),
        _ => received(&mut input),
    }
}

fn any_bytes(bytes: &[u8]) {
    let disk = SimulatedDisk::new();
    disk.create_directory(DIRECTORY).expect("the disk has no fault");
    disk.set_contents(&format!("{DIRECTORY}/{NAME}.snapshot"), bytes);
    read_back(&disk);
}

fn damaged(input: &mut Unstructured<'_>) {
    let (disk, meta, contents) = written(input);
    let mut files = Files::read(&disk, DIRECTORY);
    let damage = files.damage(input);
    files.write();
    match read_back(&disk) {
        Some(read) => {
            assert_eq!(read, (meta, contents), "after {damage:?} a snapshot is not what was written");
        }
        None => assert_ne!(damage, Damage::None, "a snapshot without damage is refused"),
    }
}

/// A peer sends a file in pieces, damaged on the way or not.
fn received(input: &mut Unstructured<'_>) {
    let (disk, meta, contents) = written(input);
    let piece_bytes = 1 + usize::from(number(input));
    let announced_more = u64::from(byte(input) % 4);
    let mut files = Files::read(&disk, DIRECTORY);
    let damage = files.damage(input);
    let sent = files.contents.into_values().next().expect("there is the one file");

    let own = SimulatedDisk::new();
    let store = SnapshotStore::open(Arc::new(own.clone()), OWNER).expect("an empty store can be opened");
    let receiver = store.receive(GROUP, &meta, sent.len() as u64 + announced_more);
    let finished = take(receiver.expect("the disk has no fault"), &sent, piece_bytes);
    match finished {
        Ok(name) => {
            assert_eq!(announced_more, 0, "a file is taken although some of it is missing");
            assert_eq!(contents_of(&store, &name).expect("it was verified"), contents, "after {damage:?}");
        }
        Err(StorageError::Corrupt { .. } | StorageError::Foreign { .. } | StorageError::Mismatch(_)) => {
            assert!(damage != Damage::None || announced_more > 0, "a file without damage is refused");
            assert_eq!(
                own.list(DIRECTORY).expect("the disk has no fault"),
                [""; 0],
                "a refused file is left"
            );
        }
        Err(
            error @ (StorageError::Io { .. } | StorageError::Locked(_) | StorageError::RolledBack { .. }),
        ) => {
            panic!("not about damage: {error}")
        }
    }
}

fn take(mut receiver: SnapshotReceiver, sent: &[u8], piece_bytes: usize) -> Result<String, StorageError> {
    // Each piece is a write that the simulated disk remembers.
    for piece in sent.chunks(piece_bytes.max(sent.len() / 100)) {
        receiver.write(piece)?;
    }
    Ok(receiver.finish()?.name)
}

/// A disk with one snapshot of the input's making.
fn written(input: &mut Unstructured<'_>) -> (SimulatedDisk, SnapshotMeta, Vec<u8>) {
    let voters = (0..byte(input) % 8).map(|voter| NodeId(u64::from(voter))).collect();
    let position = LogPosition { term: Term(2), index: Index(u64::from(byte(input))) };
    let meta = SnapshotMeta { position, time: ClusterTime(7), membership: Membership { voters } };
    // Long enough contents make several chunks.
    let length = if byte(input) < 250 { usize::from(number(input)) % 1_000 } else { LONG_BYTES };
    let contents: Vec<u8> = piece(input).iter().copied().cycle().take(length).collect();
    let disk = SimulatedDisk::new();
    let store = SnapshotStore::open(Arc::new(disk.clone()), OWNER).expect("an empty store can be opened");
    let mut writer = store.create(NAME, GROUP, &meta).expect("the name is free");
    writer.write_all(&contents).expect("the disk has no fault");
    writer.finish().expect("the disk has no fault");
    (disk, meta, contents)
}

/// What the file says and holds, or nothing if it is refused as damaged.
fn read_back(disk: &SimulatedDisk) -> Option<(SnapshotMeta, Vec<u8>)> {
    let store = match SnapshotStore::open(Arc::new(disk.clone()), OWNER) {
        Ok(store) => store,
        Err(StorageError::Foreign { .. }) => return None,
        Err(error) => panic!("not about damage: {error}"),
    };
    // A damaged one is not usable, and one whose name changed is not there.
    let info = store.list().expect("it was listed when the store was opened").pop()?;
    Some((info.meta, contents_of(&store, NAME)?))
}

fn contents_of(store: &SnapshotStore, name: &str) -> Option<Vec<u8>> {
    let mut contents = Vec::new();
    let mut reader = store.open_contents(name).expect("header and trailer are good");
    match reader.read_to_end(&mut contents) {
        Ok(_) => Some(contents),
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "not about damage: {error}");
            None
        }
    }
}
